"""The stage `train teacher`: teachers, prompts and temperatures against gold, with intervals and cost.

Invariant: every cell is measured on the same rows; an answer that cannot be read is wrong there, never left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.rollout.answers.answers import Label
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels, scores
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, read_samples
from graduand.training.stages import markdown, plots
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work
from graduand.training.teacher import ledger as books
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.labelling import Answers, Purse, of_teacher, read
from graduand.training.teacher.prompts import Prompt


@dataclass(frozen=True, slots=True)
class GridSettings:
    """The grid."""

    task: Task
    teachers: tuple[Teacher, ...]
    prompts: tuple[Prompt, ...]
    temperatures: tuple[float, ...]  # empty: each teacher's own
    limit: int | None

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        return {
            "task": labels.as_json(self.task),
            "teachers": {teacher.name: teacher.as_json() for teacher in self.teachers},
            "prompts": {how.name: how.version for how in self.prompts},
            "temperatures": list(self.temperatures),
            "limit": self.limit,
        }

    def cells(self) -> list[tuple[Teacher, Prompt]]:
        """Each teacher at each temperature with each prompt."""
        return [
            (at, how)
            for teacher in self.teachers
            for at in ([teacher.at(each) for each in self.temperatures] or [teacher])
            for how in self.prompts
        ]


def work(data: Path, settings: GridSettings, purse: Purse) -> Work:
    """The stage's work."""

    def run(folder: Path, progress: Progress) -> Outcome:
        samples, gold, _ = labels.labelled(settings.task, read_samples(data), "gold")
        samples, gold = samples[: settings.limit], gold[: settings.limit]
        if not samples:
            raise DataError(f"no row of {data} has gold; the grid compares teachers with gold")
        rows = []
        with books.opened(purse.ledger) as ledger:
            budget = purse.budget(ledger)
            for teacher, how in settings.cells():
                progress.say(f"{teacher.name}, {how.name}, temperature {teacher.parameters.get('temperature')}")
                answers = of_teacher(samples, teacher, how, ledger, budget, purse, progress)
                rows.append(_row(settings.task, samples, gold, how, answers))
        rows.sort(key=lambda row: -row["accuracy"])
        points = [plots.Point(_name(row), row["accuracy"], row["low"], row["high"]) for row in rows]
        picture = plots.intervals(folder / "teachers.png", "Accuracy against gold, 95% intervals", points)
        report = ["# Teachers", _table(rows), markdown.picture(picture, "accuracy"), _remark(rows)]
        return Outcome({"rows": rows}, "\n\n".join(part for part in report if part))

    return run


def _row(task: Task, samples: Sequence[Sample], gold: Sequence[str], how: Prompt, answers: Answers) -> dict[str, Any]:
    said = [read(task, answers, sample) for sample in samples]
    found = scores.score(gold, [s.value if isinstance(s, Label) else None for s in said], labels.names(task))
    entries = list(answers.entries.values())
    dollars = [entry.dollars for entry in entries if entry.dollars is not None]
    return {
        "teacher": answers.teacher.name,
        "model": answers.teacher.model,
        "served": ", ".join(sorted({entry.served_model for entry in entries if entry.served_model})),
        "prompt": how.name,
        "prompt_version": how.version,
        "temperature": answers.teacher.parameters.get("temperature"),
        "tokens": sum(entry.prompt_tokens + entry.completion_tokens for entry in entries),
        "dollars_per_1000": 1000 * sum(dollars) / len(entries) if dollars else None,
        **found.as_json(),
    }


def _name(row: dict[str, Any]) -> str:
    return f"{row['teacher']}, {row['prompt']}, t={row['temperature']}"


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("teacher", "model that answered", "prompt", "temperature", "rows", "accuracy", "95% interval", "F1", "kappa",
            "unread", "tokens", "$ per 1,000 rows")  # fmt: skip
    lines = [
        (row["teacher"], row["served"], f"{row['prompt']} {row['prompt_version']}", row["temperature"], row["rows"],
         f"{row['accuracy']:.4f}", f"{row['low']:.3f}–{row['high']:.3f}", row["f1"], row["kappa"], row["unread"],
         row["tokens"], row["dollars_per_1000"])
        for row in rows
    ]  # fmt: skip
    return markdown.table(head, lines)


def _remark(rows: list[dict[str, Any]]) -> str:
    best = rows[0]
    near = [row for row in rows[1:] if row["high"] >= best["low"]]
    if not near:
        return f"{_name(best)} is best, and its interval overlaps no other."
    priced = [row for row in (best, *near) if row["dollars_per_1000"] is not None]
    cheapest = min(priced, key=lambda row: row["dollars_per_1000"]) if priced else None
    cheap = f" The cheapest of them is {_name(cheapest)}." if cheapest else ""
    return (
        f"{_name(best)} is first, but the intervals of {len(near)} others overlap its own: {best['rows']} rows cannot tell "
        f"them apart.{cheap}"
    )
