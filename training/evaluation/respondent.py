"""A student asked batch by batch: functions over Arrow batches, so that several machines can ask it.

Each process loads a student of its own at its first batch. Invariant: which rows are asked together depends on the rows alone,
never on who asks, because padding and its neighbours move the last bits of a row's probabilities.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from graduand.gateway.adapters import adapter
from graduand.gateway.errors import AdapterError
from graduand.rollout.answers.tasks import Task
from graduand.training.data import arrow, labels
from graduand.training.data.samples import Sample
from graduand.training.engines.engine import Engine, Function, cut, in_order
from graduand.training.evaluation.answers import Answer
from graduand.training.evaluation.local import Student, alike
from graduand.training.stages.progress import Progress, Silent

BATCH_BYTES = 12_000  # of prompts that are asked together: about as many tokens as go through the model at once
BATCH_TEXTS = 4  # answers that are written one after the other, so that progress is seen
SAID = pa.schema({"answer": pa.string(), "shares": pa.list_(pa.float64())})
LOST = pa.schema({"loss": pa.float64(), "tokens": pa.int64()})


class Respondent:
    """The adapter of `digest` on `base`; `threads` as in Student. Picklable until it was asked."""

    def __init__(self, base: str, path: Path, digest: str, threads: int, task: Task, most_tokens: int) -> None:
        self._base = base
        self._path = path.absolute()  # a worker has another working directory
        self._digest = digest
        self._threads = threads
        self._task = task
        self._most_tokens = most_tokens
        self._student: Student | None = None

    def label(self, batch: pa.Table) -> pa.Table:
        """A line of SAID for each sample: the likeliest label, and the probability of each in the task's order."""
        names = labels.names(self._task)
        found = self._loaded().label_answers(self._task, arrow.samples(batch), Silent())
        lines = [{"answer": each.text, "shares": [each.shares[name] for name in names]} for each in found]
        return pa.Table.from_pylist(lines, SAID)

    def write(self, batch: pa.Table) -> pa.Table:
        """A line of SAID for each sample, without probabilities."""
        found = self._loaded().text_answers(arrow.samples(batch), self._most_tokens, Silent())
        return pa.Table.from_pylist([{"answer": each.text} for each in found], SAID)

    def lose(self, batch: pa.Table) -> pa.Table:
        """A line of LOST for each sample, of which `wanted` was the answer."""
        pairs = zip(arrow.samples(batch), batch["wanted"].to_pylist(), strict=True)
        found = [self._loaded().loss(sample, wanted) for sample, wanted in pairs]
        return pa.Table.from_pylist([{"loss": loss, "tokens": tokens} for loss, tokens in found], LOST)

    def _loaded(self) -> Student:
        if self._student is None:
            found = adapter.read(self._path).digest
            if found != self._digest:
                raise AdapterError(f"{self._path} is {found} here, and {self._digest} is evaluated; share its folder")
            self._student = Student(self._base, self._path, self._threads)
        return self._student


def answers(
    respondent: Respondent, task: Task, samples: Sequence[Sample], engine: Engine, progress: Progress
) -> list[Answer]:
    """What the student says to each sample."""
    if task.kind != "label":
        parts = cut(range(len(samples)), BATCH_TEXTS)
        return [Answer(str(line["answer"])) for line in _asked(respondent.write, samples, parts, engine, progress)]
    names = labels.names(task)
    lines = _asked(respondent.label, samples, list(together(samples)), engine, progress)
    return [Answer(line["answer"], dict(zip(names, line["shares"], strict=True))) for line in lines]


def together(samples: Sequence[Sample]) -> Iterator[list[int]]:
    """Places of samples that are asked together: of similar length, about BATCH_BYTES a batch."""
    return alike([_bytes(sample) for sample in samples], BATCH_BYTES)


def _bytes(sample: Sample) -> int:
    texts = [sample.prompt or ""] if sample.messages is None else [message["content"] for message in sample.messages]
    return sum(len(text.encode()) for text in texts)


def losses(
    respondent: Respondent, samples: Sequence[Sample], wanted: Sequence[str], engine: Engine, progress: Progress
) -> list[tuple[float, int]]:
    """Of each wanted answer: the sum of its tokens' cross-entropies, and how many they are."""
    batches = [
        arrow.table([samples[place] for place in part]).append_column("wanted", [[wanted[place] for place in part]])
        for part in cut(range(len(samples)), BATCH_TEXTS)
    ]
    found = in_order(engine, respondent.lose, batches, progress, "measured")
    return [(line["loss"], line["tokens"]) for outcome in found for line in outcome.to_pylist()]


def _asked(
    function: Function, samples: Sequence[Sample], parts: Sequence[Sequence[int]], engine: Engine, progress: Progress
) -> list[dict[str, Any]]:
    batches = [arrow.table([samples[place] for place in part]) for part in parts]
    found: list[dict[str, Any]] = [{}] * len(samples)
    for part, outcome in zip(parts, in_order(engine, function, batches, progress, "asked"), strict=True):
        for place, line in zip(part, outcome.to_pylist(), strict=True):
            found[place] = line
    return found
