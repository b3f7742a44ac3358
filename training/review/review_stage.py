"""The stages of a review: `work_out` writes what a person is to look at, `work_in` takes the corrections.

Invariant: a corrected row says who corrected it, when, and what it said before; a row without a correction is unchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.rows import DataError, json_lines
from graduand.training.data.samples import Sample, read_samples, write_samples
from graduand.training.review import page, sheet
from graduand.training.review.disputes import Dispute, StudentSays, disputes
from graduand.training.review.sheet import Correction
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work

CORRECTED_BY, CORRECTED_AT, SAID_BEFORE = "corrected_by", "corrected_at", "said_before"


def work_out(data: Path, task: Task, evaluation: Path | None, doubts: Path | None, most: int) -> Work:
    """Write the `most` most disputed rows of `data` as CSV and as a page."""

    def run(folder: Path, progress: Progress) -> Outcome:
        samples = read_samples(data)
        students = _students(evaluation) if evaluation else {}
        doubted = (
            {sample.id: sample.notes.get("doubt", "doubtful") for sample in read_samples(doubts)} if doubts else {}
        )
        found = disputes(task, samples, students, doubted)
        progress.say(f"{len(found)} of {len(samples)} rows are disputed")
        if not found:
            raise DataError("nothing is disputed: all voices agree on every row; give --evaluation or --doubts")
        shown = found[:most]
        (folder / "review.csv").write_text(sheet.written(shown), encoding="utf-8")
        (folder / "review.html").write_text(page.page(task, shown, folder.name), encoding="utf-8")
        return Outcome({"disputed": len(found), "shown": len(shown), "rows": len(samples)}, _report(found, shown))

    return run


def _students(evaluation: Path) -> dict[str, StudentSays]:
    found = {}
    for _, line in json_lines(evaluation / "answers.jsonl"):
        found[str(line["id"])] = StudentSays(line["said"], line["shares"].get(line["said"] or ""))
    return found


def _report(found: Sequence[Dispute], shown: Sequence[Dispute]) -> str:
    return "\n\n".join(
        (
            "# Review",
            f"{len(found)} rows are disputed; the {len(shown)} most disputed are in [review.html](review.html), where "
            "labels are picked and downloaded, and in [review.csv](review.csv), for a spreadsheet.",
            "Back in: `graduand train review --data ROWS --task TASK --corrections corrections.csv --who NAME`.",
            markdown.table(("row", "why", "text"), [(e.sample.id, e.why, e.sample.text[:120]) for e in shown[:20]]),
        )
    )


def work_in(data: Path, task: Task, corrections: Path, who: str, at: str) -> Work:
    """Write all rows of `data`, the corrected ones with new gold and completion."""

    def run(folder: Path, _: Progress) -> Outcome:
        samples = read_samples(data)
        given = sheet.read(corrections, task, {sample.id for sample in samples})
        done = corrected(task, samples, given, who, at)
        write_samples(folder / "rows.jsonl", done)
        changed = sum(a.completion != b.completion for a, b in zip(samples, done, strict=True))
        lines = markdown.as_list(sheet.shown(given))
        report = f"# Corrections\n\n{len(given)} rows by {who} at {at}, {changed} changed what is learned.\n\n{lines}"
        return Outcome({"rows": len(done), "corrected": len(given), "changed": changed, "who": who, "at": at}, report)

    return run


def corrected(
    task: Task, samples: Sequence[Sample], given: Mapping[str, Correction], who: str, at: str
) -> list[Sample]:
    """The samples, with the corrections as gold and as what is to be learned."""
    return [_corrected(task, sample, given[sample.id], who, at) if sample.id in given else sample for sample in samples]


def _corrected(task: Task, sample: Sample, correction: Correction, who: str, at: str) -> Sample:
    before = sample.gold if sample.gold is not None else sample.completion or ""
    notes = {**sample.notes, CORRECTED_BY: who, CORRECTED_AT: at, SAID_BEFORE: before}
    if correction.note:
        notes["correction"] = correction.note
    return replace(sample, gold=correction.label, completion=labels.completion(task, correction.label), notes=notes)
