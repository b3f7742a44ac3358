"""The stage `train baselines`: the table, as report, figures and picture."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.rollout.answers.tasks import Task
from graduand.training.baselines import table, zero_shot
from graduand.training.baselines.table import Row
from graduand.training.data import labels, scores
from graduand.training.data.frozen import read_frozen
from graduand.training.data.leaks import refuse_leaks
from graduand.training.data.samples import Sample, read_samples
from graduand.training.stages import markdown, plots
from graduand.training.stages.parts import Parts
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work
from graduand.training.teacher import prompts

ZERO_SHOT = "zero-shot student"


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """What the baselines are measured by; `sources` say where training labels come from."""

    task: Task
    sources: tuple[str, ...]
    about: str
    base: str
    zero_shot: int
    threshold: float

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        named = {name: getattr(self, name) for name in ("about", "base", "zero_shot", "threshold")}
        return {"task": labels.as_json(self.task), "labels_from": list(self.sources), **named}


def work(files: Mapping[str, Path], tests: Path, settings: BaselineSettings) -> Work:
    """The stage's work: train on each of `files`, judge on the frozen test sets in the folder `tests`."""

    def run(folder: Path, progress: Progress) -> Outcome:
        frozen, parts = read_frozen(tests), Parts(folder)
        rows: list[Row] = []
        for name, path in files.items():
            samples = read_samples(path)
            progress.say(f"{name}: {len(samples)} rows, checked for leaks")
            refuse_leaks(samples, frozen, settings.threshold)
            for source in settings.sources:
                progress.say(f"{name}: training on labels by {source}")
                rows += _trained(name, samples, source, frozen, settings, parts)
        rows += _zero_shot(frozen, settings, parts, progress)
        rows += table.recorded(settings.task, frozen)
        picture = plots.intervals(folder / "baselines.png", "Accuracy, 95% intervals", table.points(rows))
        report = ["# Baselines", table.as_markdown(rows), markdown.picture(picture, "accuracy"), _remark()]
        return Outcome({"rows": [row.as_json() for row in rows]}, "\n\n".join(part for part in report if part))

    return run


def _trained(
    name: str, samples: Sequence[Sample], source: str, tests: table.Tests, settings: BaselineSettings, parts: Parts
) -> list[Row]:
    def figures() -> list[dict[str, Any]]:
        return [row.as_json() for row in table.trained(settings.task, name, samples, source, tests)]

    return [table.row_of(value) for value in parts.once(f"{name}/{source}", figures)]


def _zero_shot(tests: table.Tests, settings: BaselineSettings, parts: Parts, progress: Progress) -> list[Row]:
    missing = "not asked for (--zero-shot 0)"
    if settings.zero_shot and importlib.util.find_spec("transformers") is None:
        missing = "needs pip install 'graduand[engine]'"
    elif settings.zero_shot:
        return [_asked(name, samples, settings, parts, progress) for name, samples in tests.items()]
    return [Row(ZERO_SHOT, "", name, None, missing) for name in tests]


def _asked(name: str, samples: Sequence[Sample], settings: BaselineSettings, parts: Parts, progress: Progress) -> Row:
    kept, gold, _ = labels.labelled(settings.task, samples, "gold")
    # A sample that is fixed by the rows' ids: the files of a balanced test set are often sorted by label.
    order = sorted(range(len(kept)), key=lambda place: hashlib.sha256(kept[place].id.encode()).digest())
    chosen = order[: settings.zero_shot]
    how = prompts.prompt(prompts.SIMPLE, settings.task, settings.about)
    raw = zero_shot.answers(settings.base, [kept[place] for place in chosen], how, parts, progress)
    said = zero_shot.read(settings.task, raw)
    found = scores.score([gold[place] for place in chosen], said, labels.names(settings.task))
    return Row(f"{ZERO_SHOT}, {settings.base}", "", name, found)


def _remark() -> str:
    return (
        "An answer that cannot be read is wrong. Precision, recall and F1 are of the last of two labels, else the mean over "
        "labels. A student that does not beat the baselines is not worth serving."
    )
