"""The article's table beside ours: figures of the stages as Markdown, with what hybrid routing would do. Pure but for reading.

Hybrid: the student answers what it is sure of, GPT-4's recorded answer stands for the rest. Which rows are deferred is
decided by the student's confidence alone, so no gold goes into it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.answers import Label
from rollout.tasks import Task
from training import labels, markdown, scores, stage
from training.data.frozen import read_frozen
from training.rows import json_lines

# Balanced test set, in percent: Llama-2-7B for A to D, as the article gives them; E is its 5k row.
ARTICLE = {"A": "87.2", "B": "90.0", "C": "92.0", "D": "88.7", "E": "90.2"}
DEFERRED = (0.1, 0.2, 0.3, 0.4)
TEACHER = "gpt-4"


def page(tests: Path, evaluations: Mapping[str, Path], baselines: Path, task: Task, command: str) -> str:
    """The whole page; `evaluations` by the name of the training set."""
    rows: list[tuple[object, ...]] = []
    for name, folder in evaluations.items():
        for row in stage.verified(folder)["figures"]["rows"]:
            if row["what"].startswith("jigsaw-"):
                beside = ARTICLE[name] if row["test_set"] == "test.balanced" else ""
                rows.append((f"student, trained on {name}", *_figures(row), beside))
    for row in stage.verified(baselines)["figures"]["rows"]:
        if "accuracy" in row:
            trained = f", {row['trained_on']}" if row["trained_on"] else ""
            rows.append((f"{row['what']}{trained}", *_figures(row), ""))
    hybrid = [line for name, folder in evaluations.items() for line in _hybrid(name, folder, tests, task)]
    return "\n\n".join(
        (
            "# Students of the article's comments",
            f"Made by `{command}`.",
            markdown.table(("model", "test set", "rows", "accuracy", "95% interval", "the article"), rows),
            "## Hybrid: the least sure answers left to GPT-4",
            markdown.table(("student", "test set", "asked of GPT-4", "accuracy", "95% interval"), hybrid),
        )
    )


def _figures(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["test_set"], row["rows"], f"{row['accuracy']:.4f}", f"{row['low']:.3f}–{row['high']:.3f}"


def _hybrid(name: str, folder: Path, tests: Path, task: Task) -> list[tuple[object, ...]]:
    answers = [line for _, line in json_lines(folder / "answers.jsonl")]
    found = []
    for test, samples in read_frozen(tests).items():
        said = {}
        for sample in samples:
            label = labels.answered(task, sample, TEACHER)
            if isinstance(label, Label):
                said[sample.id] = label.value
        own = sorted(
            (line for line in answers if line["test_set"] == test), key=lambda each: max(each["shares"].values())
        )
        for share in DEFERRED:
            right = deferred([(one["gold"], one["said"], said.get(one["id"])) for one in own], share)
            low, high = scores.wilson(right, len(own))
            found.append((name, test, f"{share:.0%}", f"{right / len(own):.4f}", f"{low:.3f}–{high:.3f}"))
    return found


def deferred(rows: Sequence[tuple[str, str | None, str | None]], share: float) -> int:
    """How many of `rows` (gold, the student's label, the teacher's; the least sure first) end right if the teacher answers
    the first `share` of them.

    >>> deferred([("1", "0", "1"), ("1", "1", "0"), ("0", "1", "0"), ("0", "0", "0")], 0.25)
    3
    """
    asked = round(len(rows) * share)
    return sum(gold == (teacher if place < asked else student) for place, (gold, student, teacher) in enumerate(rows))
