"""The stage `train assess`: one page on whether a route is fit for a student."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graduand.rollout.answers.answers import Unparsed
from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.tasks import Task, read
from graduand.training.assess import curve, facts
from graduand.training.assess.facts import Outputs
from graduand.training.assess.verdict import TARGET, Agreement, Finding, Reached, findings, verdict
from graduand.training.data import labels
from graduand.training.data.logs import Counts, records, row_of
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, read_samples
from graduand.training.stages import markdown, plots
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work
from graduand.training.teacher import ledger as books
from graduand.training.teacher import prompts
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.labelling import Purse, of_teacher
from graduand.training.teacher.ledger import Entry


@dataclass(frozen=True, slots=True)
class CardSettings:
    """What is assessed, and which teacher may be asked how often."""

    route: str | None
    task: Task | None
    limit: int
    teacher: Teacher | None
    twice: int

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        return {
            "route": self.route,
            "task": labels.as_json(self.task) if self.task else None,
            "limit": self.limit,
            "teacher": self.teacher.as_json() if self.teacher else None,
            "twice": self.twice if self.teacher else None,
        }


def work(source: Path, settings: CardSettings, purse: Purse) -> Work:
    """The stage's work on a log folder (with a route) or a file of samples."""

    def run(folder: Path, progress: Progress) -> Outcome:
        samples = (
            logged(source, settings.route)[-settings.limit :]
            if settings.route
            else read_samples(source)[: settings.limit]
        )
        answered = [sample for sample in samples if sample.completion]
        if not answered:
            raise DataError(f"no row of {source} has an answer; assess logged traffic, or label rows first")
        progress.say(f"{len(answered)} answered rows")
        inputs = facts.of_inputs(answered)
        outputs = facts.of_outputs([str(sample.completion) for sample in answered], settings.task)
        itself = _asked_twice(answered, outputs, settings, purse, progress) or _came_twice(
            answered, outputs, settings.task
        )
        sizes, reached = _reached(answered, outputs, settings.task, progress)
        found = findings(inputs, outputs, itself, reached)
        line = {"TF-IDF": [(size.rows, size.agreement) for size in sizes]}
        picture = (
            plots.curve(folder / "rows.png", "Agreement with the teacher, held out", "rows", line) if sizes else None
        )
        figures = {
            "verdict": verdict(found),
            "findings": [asdict(finding) for finding in found],
            "inputs": facts.as_json(inputs),
            "outputs": facts.as_json(outputs),
            "teacher_with_itself": asdict(itself) if itself else None,
            "baselines": asdict(reached) if reached else None,
            "curve": [asdict(size) for size in sizes],
        }
        return Outcome(figures, _page(found, figures, picture))

    return run


def logged(folder: Path, route: str | None) -> list[Sample]:
    """The teacher's whole answers to a route in the order of the log, repeated prompts included."""
    samples = []
    for record in records(str(folder), Counts()):
        row = row_of(record) if record["route"] == route else ""
        if not isinstance(row, str):
            samples.append(Sample(row.id, row.messages, row.prompt, row.completion, user=row.user, source="logs"))
    if not samples:
        raise DataError(
            f"the log under {folder} has no whole teacher answers of route {route!r}; `train data logs` says why"
        )
    return samples


def _same(one: str, other: str, outputs: Outputs, task: Task | None) -> bool | None:
    """Whether two answers of the teacher say the same; None if one of them cannot be read."""
    if outputs.kind == "json" and task is None:
        return compare(read({"kind": "json"}), one, other).agreed
    left, right = (facts.spelled(answer, task, outputs.kind) for answer in (one, other))
    return None if isinstance(left, Unparsed) or isinstance(right, Unparsed) else left == right


def _came_twice(samples: Sequence[Sample], outputs: Outputs, task: Task | None) -> Agreement | None:
    """Prompts that the traffic itself repeated: the first two answers of each."""
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        by_prompt[sample.prompt_sha256].append(str(sample.completion))
    pairs = [answers[:2] for answers in by_prompt.values() if len(answers) > 1]
    return _agreement([_same(one, other, outputs, task) for one, other in pairs], "prompts that came twice")


def _asked_twice(
    samples: Sequence[Sample], outputs: Outputs, settings: CardSettings, purse: Purse, progress: Progress
) -> Agreement | None:
    if settings.teacher is None:
        return None
    # Every so many rows, so that the whole period is seen.
    chosen = samples[:: max(1, len(samples) // settings.twice)][: settings.twice]
    how = prompts.Prompt(prompts.AS_IS)
    with books.opened(purse.ledger) as ledger:
        budget = purse.budget(ledger)
        first, second = (
            of_teacher(chosen, settings.teacher, how, ledger, budget, purse, progress, repeat).entries
            for repeat in (0, 1)
        )
    pairs = [(first[sample.id], second[sample.id]) for sample in chosen]
    said = [_same(one.raw, other.raw, outputs, settings.task) if _whole(one, other) else None for one, other in pairs]
    return _agreement(said, f"asked twice of {settings.teacher.name}")


def _whole(*entries: Entry) -> bool:
    return all(not entry.refused and entry.finish == "stop" for entry in entries)


def _agreement(said: Sequence[bool | None], how: str) -> Agreement | None:
    """An answer that cannot be read is one that nobody can agree with."""
    return Agreement(sum(bool(same) for same in said), len(said), how) if said else None


def _reached(
    samples: Sequence[Sample], outputs: Outputs, task: Task | None, progress: Progress
) -> tuple[list[curve.Size], Reached | None]:
    if outputs.kind != "label":
        return [], None
    pairs = [(sample.text, facts.spelled(str(sample.completion), task, outputs.kind)) for sample in samples]
    readable = [(text, label) for text, label in pairs if not isinstance(label, Unparsed)]
    texts, learned = [text for text, _ in readable], [label for _, label in readable]
    if len(texts) < curve.LEAST_ROWS or len(set(learned)) < 2:
        return [], None
    progress.say("learning curve of the TF-IDF baseline")
    sizes = curve.learn(texts, learned)
    if not sizes:
        return [], None
    majority = max(Counter(learned).values()) / len(learned)
    needed = curve.rows_needed(curve.law(sizes), TARGET, len(texts))
    if sizes[-1].agreement >= TARGET:
        needed = next(size.rows for size in sizes if size.agreement >= TARGET)
    return sizes, Reached(majority, sizes[-1].agreement, sizes[-1].rows, needed)


def _page(found: Sequence[Finding], figures: dict[str, Any], picture: str | None) -> str:
    inputs, outputs = figures["inputs"], figures["outputs"]
    seen = [
        (
            "rows",
            f"{inputs['rows']}, {inputs['distinct']} different, {inputs['near_duplicates']:.1%} of those near-duplicates",
        ),
        ("users", inputs["users"] or "unknown"),
        ("input words", f"median {inputs['median_words']:g}, 95% up to {inputs['p95_words']:g}"),
        ("new words", f"{inputs['unseen_words']:.1%} of the words in the last fifth were never seen before"),
        ("outputs", f"{outputs['kind']}, {outputs['distinct']} different, {outputs['entropy_bits']:.2f} bits"),
        ("most frequent output", f"{outputs['largest_share']:.1%}"),
        ("output words", f"median {outputs['median_words']:g}, 95% up to {outputs['p95_words']:g}"),
    ]
    parts = [
        f"# Fit for a student? {str(figures['verdict']).capitalize()}",
        markdown.table(("criterion", "verdict", "why"), [(each.what, each.level, each.why) for each in found]),
        markdown.table(("traffic", ""), seen),
        markdown.table(("output", "rows"), outputs["labels"].items()) if outputs["labels"] else "",
        markdown.table(("not readable because", "rows"), outputs["unread"].items()) if outputs["unread"] else "",
        markdown.picture(picture, "learning curve"),
        "The verdict is the worst of its reasons; what was not measured is at best a try.",
    ]
    return "\n\n".join(part for part in parts if part)
