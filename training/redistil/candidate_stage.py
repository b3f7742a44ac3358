"""The stages `candidates` and `candidate-data`: which logged requests to learn from next, and the rows of the next student.

Invariant: every record is chosen, left over or counted with its reason; a new row that a frozen test set has too is left
out and named, so that the next figures can be compared with the last ones; old rows are kept as they are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graduand.rollout.answers.tasks import Task
from graduand.training.data import selection
from graduand.training.data.frozen import read_frozen
from graduand.training.data.leaks import Leak, all_leaks
from graduand.training.data.rows import DataError, json_lines
from graduand.training.data.samples import Sample, read_samples, write_samples
from graduand.training.data.selection import Chosen, Selection
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work

UNLABELLED = "unlabelled.jsonl"


def select_work(
    records: Path, known: Path, task: Task | None, audit: float, most: int, sampled: float, seed: int
) -> Work:
    """Choose from a raw export of the log; `rows.jsonl` has what can be learned, UNLABELLED what a teacher must say first."""

    def run(folder: Path, progress: Progress) -> Outcome:
        before = read_samples(known)
        learned = {sample.id for sample in before}
        lines = [value for _, value in json_lines(records)]
        found = (_observed(line, task, audit, learned) for line in lines)
        made = selection.select(found, before, most, sampled, seed)
        if not made.chosen:
            why = ", ".join(f"{count} {reason}" for reason, count in made.unusable.most_common(3))
            raise DataError(f"none of {len(lines)} records can be learned from ({why or 'there are none'})")
        progress.say(f"{len(made.chosen)} of {len(lines)} records chosen")
        write_samples(folder / "rows.jsonl", [each.sample for each in made.chosen if not each.needs_label])
        write_samples(folder / UNLABELLED, [each.sample for each in made.chosen if each.needs_label])
        return _outcome(made, len(lines))

    return run


def _observed(record: Any, task: Task | None, audit: float, learned: set[str]) -> selection.Observed | str:
    if not isinstance(record, dict):
        return "no record: export the log with --format raw"
    return "learned already" if str(record.get("id")) in learned else selection.observe(record, task, audit)


def _outcome(made: Selection, records: int) -> Outcome:
    reasons = Counter(each.reason for each in made.chosen)
    unlabelled = sum(each.needs_label for each in made.chosen)
    effective = selection.effective_rows([each.sample.weight for each in made.chosen])
    figures = {
        "records": records, "chosen": len(made.chosen), "unlabelled": unlabelled, "reasons": dict(reasons),
        "unusable": dict(made.unusable), "alike": made.alike, "left_over": made.left_over,
        "effective_rows": round(effective, 1),
    }  # fmt: skip
    left = [("learned from next", len(made.chosen)), ("like a chosen one", made.alike), ("left over", made.left_over)]
    parts = [
        "# What to learn from next",
        markdown.table(("because", "rows"), reasons.most_common()),
        f"By their weights they count as much as {effective:.0f} rows drawn evenly.",
        markdown.table(("records", "count"), [*left, *made.unusable.most_common()]),
        markdown.table(("why", "novelty", "text"), [_shown(each) for each in made.chosen[:10]]),
    ]
    return Outcome(figures, "\n\n".join(parts))


def _shown(each: Chosen) -> tuple[str, str, str]:
    return each.reason, f"{each.novelty:.2f}", each.sample.text[:120]


def merge_work(known: Path, new: Sequence[Path], tests: Path | None, threshold: float, because: str) -> Work:
    """The next student's rows: all old ones, then the new ones that no test set has."""

    def run(folder: Path, progress: Progress) -> Outcome:
        before = read_samples(known)
        fresh = [sample for path in new for sample in _read(path) if sample.completion is not None]
        frozen = read_frozen(tests) if tests else {}
        rows, leaking = merged(before, fresh, frozen, threshold)
        progress.say(f"{len(before)} old rows, {len(rows) - len(before)} new ones")
        if len(rows) == len(before):
            raise DataError(
                "there is nothing new to learn: no chosen row has an answer; name --teachers to ask for them"
            )
        write_samples(folder / "rows.jsonl", rows)
        figures = {"old": len(before), "new": len(rows) - len(before), "leaking": len(leaking), "because": because}
        report = [
            "# The next student's rows",
            f"{figures['old']} old rows and {figures['new']} new ones" + (f", because: {because}." if because else "."),
            markdown.as_list(f"left out: {leak}" for leak in leaking),
        ]
        return Outcome(figures, "\n\n".join(part for part in report if part))

    return run


def _read(path: Path) -> list[Sample]:
    return read_samples(path) if path.stat().st_size else []


def merged(
    before: Sequence[Sample], fresh: Sequence[Sample], tests: Mapping[str, Sequence[Sample]], threshold: float
) -> tuple[list[Sample], list[Leak]]:
    """Old and new rows, and the new ones that were left out because a test set has them."""
    ids = {sample.id for sample in before}
    new = [sample for sample in fresh if sample.id not in ids]
    # The log says who asked: that the same customers come again is what a log is like.
    leaking = all_leaks(new, tests, threshold, users=False)
    gone = {leak.train for leak in leaking}
    return [*before, *(sample for sample in new if sample.id not in gone)], leaking
