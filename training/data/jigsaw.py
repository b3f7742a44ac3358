"""The article's data: comments of the Jigsaw toxic comment challenge, six labels collapsed into `is_bad`.

Two forms are read: Kaggle's own CSV files, or the article's samples as JSON lines with GPT's recorded raw answers. From
the second come the article's training sets A to E, each with the labels that the article learned from, and its two
frozen test sets, pinned here by the hash of what they hold. A comment is sent as it is, as the user's only message.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.collapse import Collapse, collapse
from graduand.training.data.rows import DataError, json_lines
from graduand.training.data.samples import Sample, of_text
from graduand.training.data.tables import csv_records

SIX = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
RULE = Collapse(any=list(SIX))
TEACHERS = {"gpt4_raw": "gpt-4", "gpt4_cot_raw": "gpt-4-cot", "gpt35_raw": "gpt-3.5", "gpt35_cot_raw": "gpt-3.5-cot"}
TEACHER = "gpt-4"
TESTS = ("test.balanced", "test.indist.1")
# SHA-256 over ids, texts and gold, so that recorded answers may be added but no comment changed.
PINNED = {
    "test.balanced": "561d5493b08780fdf371927a7c6d62d1acedf49e357f48df8b334d97f78996a3",
    "test.indist.1": "e9b38e8a680afa8840efbd213b9d2e898951e20e51522b2177ec9e583cd06ebb",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One of the article's training sets: a file, and where its labels come from."""

    file: str
    by_gold: str = ""  # rows that are not in this file have gold labels; empty: all are the teacher's
    without_errors: bool = False


# The article calls B "A and 1.1k gold rows", C "B without GPT-4's 136 errors", D "B and 1,000 toxic gold rows".
RECIPES = {
    "A": Recipe("train.5.a"),
    "B": Recipe("train.5.b", by_gold="train.5.a"),
    "C": Recipe("train.5.b", by_gold="train.5.a", without_errors=True),
    "D": Recipe("train.6", by_gold="train.5.a"),
    "E": Recipe("train.5k"),
}


def read_kaggle(folder: Path) -> list[Sample]:
    """Comments of `train.csv`, and of `test.csv` with `test_labels.csv` where both are there and the comment was scored."""
    records = [*csv_records(folder / "train.csv"), *_scored_tests(folder)]
    samples = []
    for record in records:
        label = collapse(RULE, record)
        if isinstance(label, Unparsed):
            raise DataError(f"{folder}: comment {record.get('id')!r}: {label.reason}; give Kaggle's original files")
        notes = {name: str(record[name]) for name in SIX if str(record[name]) == "1"}
        samples.append(of_text(record["id"], record["comment_text"], gold=label.value, source="jigsaw", notes=notes))
    return samples


def _scored_tests(folder: Path) -> Iterable[Mapping[str, Any]]:
    comments, scores = folder / "test.csv", folder / "test_labels.csv"
    if not (comments.is_file() and scores.is_file()):
        return []
    scored = {record["id"]: record for record in csv_records(scores) if str(record["toxic"]) != "-1"}
    return [record | scored[record["id"]] for record in csv_records(comments) if record["id"] in scored]


def read_article(path: Path) -> list[Sample]:
    """One of the article's files, with gold and the teachers' raw answers."""
    samples = []
    for number, value in json_lines(path):
        try:
            recorded = {name: value[key] for key, name in TEACHERS.items() if key in value}
            gold = str(int(value["is_bad"]))
            samples.append(of_text(value["id"], value["text"], gold=gold, answers=recorded, source=path.stem))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number} has no id, text and is_bad ({error!r})") from error
    return samples


def check_pinned(name: str, samples: Sequence[Sample]) -> None:
    """Refuse a test set that is not the article's: figures on another one could not be compared."""
    found = content_sha256(samples)
    if found != PINNED[name]:
        raise DataError(
            f"{name} is not the article's test set: its content has SHA-256 {found[:12]}, not {PINNED[name][:12]}; "
            "put the original file back"
        )


def content_sha256(samples: Sequence[Sample]) -> str:
    """SHA-256 over the samples' ids, texts and gold, in the order of their ids."""
    total = hashlib.sha256()
    for sample in sorted(samples, key=lambda sample: sample.id):
        total.update(f"{sample.id}\0{sample.text}\0{sample.gold}\0".encode())
    return total.hexdigest()


def training_set(recipe: Recipe, files: Mapping[str, Sequence[Sample]], task: Task) -> tuple[list[Sample], list[str]]:
    """The recipe's rows with their completions, and the ids of those that were left out."""
    by_teacher = {sample.id for sample in files[recipe.by_gold]} if recipe.by_gold else None
    kept, left_out = [], []
    for sample in files[recipe.file]:
        by_gold = by_teacher is not None and sample.id not in by_teacher
        label = labels.said_by(task, sample, "gold" if by_gold else TEACHER)
        wrong = recipe.without_errors and labels.answered(task, sample, TEACHER) != labels.gold(task, sample)
        if isinstance(label, Label) and not wrong:
            kept.append(replace(sample, completion=labels.completion(task, label.value)))
        else:
            left_out.append(sample.id)
    return kept, left_out
