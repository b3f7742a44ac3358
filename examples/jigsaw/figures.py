"""What the students' runs came to, as plain data: scores, paired tests, hybrid routing. No figure is typed by hand.

Hybrid: the student answers what it is sure of, GPT-4's recorded answer stands for the rest, by the product's own curve. Which
rows are deferred is decided by the student's confidence alone, so no gold goes into it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from examples.jigsaw.development import APART
from examples.jigsaw.development import NAME as DEVELOPMENT
from graduand.rollout.answers.answers import Label
from graduand.rollout.answers.tasks import Task
from graduand.rollout.hybrid.curve import Curve, curve
from graduand.training.baselines import table, tfidf
from graduand.training.data import labels, scores
from graduand.training.data.frozen import read_frozen
from graduand.training.data.rows import json_lines
from graduand.training.data.samples import Sample, read_samples
from graduand.training.evaluation import paired, threshold
from graduand.training.stages import stage

Json = dict[str, Any]
DEFERRED = (0.1, 0.2, 0.3, 0.4)
TEACHER = "gpt-4"
BASELINE = "TF-IDF"


@dataclass(frozen=True, slots=True)
class Student:
    """One training set's adapter, and its evaluations: on the test sets, and on the development rows if it learned none."""

    adapter: Path
    evaluations: tuple[Path, ...]

    def run(self) -> Json:
        """The record of its training, without the loss of every step."""
        record = json.loads((self.adapter / "run.json").read_bytes())
        told = {name: record[name] for name in ("steps", "tokens", "tokens_per_s", "seconds", "precision", "threads")}
        used = {name: record["config"][name] for name in ("epochs", "rate", "rank", "upper_layers", "max_tokens")}
        learned = record["data"]["rows"] - len(record["data"]["left_out"])
        return {"adapter": self.adapter.name, "rows": learned, **used, **told, "last_loss": record["losses"][-1]}

    def scored(self) -> list[Json]:
        """Its own rows of the evaluations."""
        found = [stage.verified(each)["figures"] for each in self.evaluations]
        return [row for each in found for row in each["rows"] if row["what"] == each["what"]]

    def answers(self, test: str) -> dict[str, Json]:
        """By the row's id."""
        lines = (line for folder in self.evaluations for _, line in json_lines(folder / "answers.jsonl"))
        return {line["id"]: line for line in lines if line["test_set"] == test}


def figures(students: Mapping[str, Student], sets: Path, baselines: Path, held_out: Path, task: Task) -> Json:
    """All of it; `students` by the name of the training set, `sets` where the sets and the frozen tests are, `held_out` the
    development rows."""
    tests, apart = read_frozen(sets), read_frozen(held_out)
    known = [row for row in stage.verified(baselines)["figures"]["rows"] if "accuracy" in row]
    words = {name: _baseline(sets / f"{name}.jsonl", tests | apart, task) for name in {*students, "D"}}
    known += [row.as_json() for row in table.recorded(task, apart)]
    known += [_row_of(f"{name}, labels by completion", words[name], apart, task) for name in APART if name in students]
    return {
        "students": {
            name: {"run": one.run(), "rows": one.scored(), "calibrated": calibrated(one, tests, task)}
            for name, one in students.items()
        },
        "baselines": known,
        "pairs": [
            *_pairs(students, tests, words, task),
            *_pairs({name: one for name, one in students.items() if name in APART}, apart, words, task),
        ],
        "hybrid": [
            each for name, one in students.items() for test in tests for each in _hybrid(name, one, test, tests[test], task)
        ],
        "waiting": waiting(students, sets),
    }  # fmt: skip


def waiting(students: Mapping[str, Student], sets: Path) -> list[Json]:
    """Sets that were not trained on, with the minutes that two epochs would take here: by the slowest run's tokens a second
    and a row's mean tokens in the runs that were made."""
    runs = [one.run() for one in students.values()]
    missing = [name for name in "ABCDE" if name not in students]
    if not runs:
        return []
    a_row = sum(run["tokens"] for run in runs) / sum(run["rows"] * run["epochs"] for run in runs)
    slowest = min(run["tokens_per_s"] for run in runs)
    epochs = min(run["epochs"] for run in runs)
    rows = {name: sum(1 for _ in json_lines(sets / f"{name}.jsonl")) for name in missing}
    return [{"set": name, "minutes": round(rows[name] * a_row * epochs / slowest / 60)} for name in missing]


def calibrated(one: Student, tests: Mapping[str, list[Sample]], task: Task) -> Json | None:
    """Its scores with the threshold that the development rows teach, as `train evaluate --validation` learns it; None if it
    has learned from those rows."""
    known = list(one.answers(DEVELOPMENT).values())
    if not known:
        return None
    innocent, toxic = labels.names(task)
    cut = threshold.learn([line["shares"][toxic] for line in known], [line["gold"] == toxic for line in known])
    rows = []
    for test in tests:
        lines = one.answers(test).values()
        said = [toxic if line["shares"][toxic] > cut else innocent for line in lines]
        score = scores.score([line["gold"] for line in lines], said, labels.names(task))
        rows.append({"test_set": test, **score.as_json()})
    return {"threshold": cut, "rows": rows}


def cost_quality(one: Student, test: str, samples: list[Sample], task: Task) -> tuple[Curve, Curve]:
    """The student's curves on one set: by agreement with the teacher, and by gold."""
    sure, wrong, own, theirs = _outcomes(one, test, samples, task)
    return curve(sure, wrong, ~wrong, np.ones(len(wrong))), curve(sure, wrong, own, theirs)


def _outcomes(one: Student, test: str, samples: list[Sample], task: Task) -> tuple[Any, ...]:
    """By row: the student's confidence, whether it disagrees with the teacher, whether either is right by gold."""
    said, teacher = one.answers(test), {sample.id: _teacher(task, sample) for sample in samples}
    rows = [
        (
            max(line["shares"].values()),
            line["said"] != teacher[i],
            line["said"] == line["gold"],
            teacher[i] == line["gold"],
        )
        for i, line in said.items()
    ]
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def _teacher(task: Task, sample: Sample) -> str | None:
    label = labels.answered(task, sample, TEACHER)
    return label.value if isinstance(label, Label) else None


def _hybrid(name: str, one: Student, test: str, samples: list[Sample], task: Task) -> list[Json]:
    sure, wrong, own, theirs = _outcomes(one, test, samples, task)
    found = curve(sure, wrong, own, theirs)
    rows = []
    for share in DEFERRED:
        at = min((point for point in found.points if 1 - point.share <= share + 1e-9), key=lambda point: point.share)
        right = np.where(sure >= at.cut, own, theirs)
        low, high = scores.wilson(int(right.sum()), len(right))
        beside = paired.mcnemar(right.tolist(), theirs.tolist()).as_json()
        rows.append(
            {"student": name, "test_set": test, "asked": 1 - at.share, "accuracy": at.quality, "low": low, "high": high,
             "teacher": found.strong, "against_teacher": beside}
        )  # fmt: skip
    return rows


def _pairs(
    students: Mapping[str, Student],
    tests: Mapping[str, list[Sample]],
    words: Mapping[str, Mapping[str, str]],
    task: Task,
) -> list[Json]:
    """McNemar: students with each other, with the teacher, and with TF-IDF on their own rows and on D's."""
    found = []
    for test, samples in tests.items():
        gold = {sample.id: sample.gold for sample in samples}
        said = {
            f"student {name}": {i: line["said"] for i, line in one.answers(test).items()}
            for name, one in students.items()
        }
        pairs = list(combinations(said, 2))
        said |= {TEACHER: {sample.id: _teacher(task, sample) for sample in samples}}
        said |= {f"{BASELINE} {name}": dict(each) for name, each in words.items()}
        for name in students:  # D's rows hold the development rows
            others = (TEACHER, f"{BASELINE} {name}", *([f"{BASELINE} D"] if test != DEVELOPMENT else []))
            pairs += [(f"student {name}", other) for other in dict.fromkeys(others)]
        for first, second in pairs:
            right = [[said[each][i] == gold[i] for i in gold] for each in (first, second)]
            beside = paired.mcnemar(*right).as_json()
            found.append({"first": first, "second": second, "test_set": test, **beside})
    return found


def _baseline(rows: Path, tests: Mapping[str, list[Sample]], task: Task) -> dict[str, str]:
    """What TF-IDF, trained on `rows`, says, by the test rows' ids."""
    kept, wanted, _ = labels.labelled(task, read_samples(rows), "completion")
    asked = [sample for samples in tests.values() for sample in samples]
    said = tfidf.fit([sample.text for sample in kept], wanted).predict([sample.text for sample in asked])
    return {sample.id: label for sample, label in zip(asked, said, strict=True)}


def _row_of(trained_on: str, said: Mapping[str, str], apart: Mapping[str, list[Sample]], task: Task) -> Json:
    ((name, samples),) = apart.items()
    score = scores.score([str(row.gold) for row in samples], [said[row.id] for row in samples], labels.names(task))
    return {"what": f"{BASELINE} + logistic regression", "trained_on": trained_on, "test_set": name, **score.as_json()}
