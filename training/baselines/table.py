"""The table of baselines: majority, TF-IDF, the zero-shot student and every recorded teacher on every frozen test set.

Invariant: a required row that could not be had is in the table with the reason why, never left out in silence; no row is
trained on what a test set has too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graduand.rollout.answers.answers import Label
from graduand.rollout.answers.tasks import Task
from graduand.training.baselines import majority, tfidf
from graduand.training.data import labels, scores
from graduand.training.data.samples import Sample
from graduand.training.data.scores import Scores
from graduand.training.stages import markdown, plots

Tests = Mapping[str, Sequence[Sample]]


class Predictor(Protocol):
    """A fitted baseline."""

    def predict(self, texts: Sequence[str]) -> list[str]:
        """A label for each text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one test set; `missing` says why there are no scores."""

    what: str
    trained_on: str
    test_set: str
    scores: Scores | None
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        """Figures for a record."""
        named = {"what": self.what, "trained_on": self.trained_on, "test_set": self.test_set}
        return named | (self.scores.as_json() if self.scores else {"missing": self.missing})


def row_of(value: Mapping[str, Any]) -> Row:
    """The row that `as_json` wrote."""
    found = None if "missing" in value else Scores(**{name: value[name] for name in Scores.__slots__})
    return Row(value["what"], value["trained_on"], value["test_set"], found, value.get("missing", ""))


def with_gold(task: Task, tests: Tests) -> dict[str, tuple[list[Sample], list[str]]]:
    """The test sets' samples that have gold, with it."""
    return {name: labels.labelled(task, samples, "gold")[:2] for name, samples in tests.items()}


def trained(task: Task, name: str, samples: Sequence[Sample], source: str, tests: Tests) -> list[Row]:
    """Majority and TF-IDF, trained on the labels of `samples` by `source`."""
    kept, learned, _ = labels.labelled(task, samples, source)
    texts, known = [sample.text for sample in kept], labels.names(task)
    models: dict[str, Predictor] = {
        "majority": majority.fit(learned),
        "TF-IDF + logistic regression": tfidf.fit(texts, learned),
    }
    trained_on = f"{name}, {len(kept)} rows, labels by {source}"
    return [
        Row(what, trained_on, test_set, scores.score(gold, model.predict([s.text for s in asked]), known))
        for what, model in models.items()
        for test_set, (asked, gold) in with_gold(task, tests).items()
        if asked
    ]


def recorded(task: Task, tests: Tests) -> list[Row]:
    """Each teacher whose answers the test sets hold."""
    rows = []
    for test_set, (asked, gold) in with_gold(task, tests).items():
        for teacher in dict.fromkeys(name for sample in asked for name in sample.answers):
            pairs = [(sample, label) for sample, label in zip(asked, gold, strict=True) if teacher in sample.answers]
            said = [labels.answered(task, sample, teacher) for sample, _ in pairs]
            read = [label.value if isinstance(label, Label) else None for label in said]
            found = scores.score([label for _, label in pairs], read, labels.names(task))
            rows.append(Row(f"{teacher}, recorded", "", test_set, found))
    return rows


def as_markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [
        scores.line(row.what, row.trained_on, row.test_set, row.scores)
        if row.scores
        else (row.what, row.trained_on, row.test_set, "", row.missing, *[""] * 6)
        for row in rows
    ]
    return markdown.table(scores.HEAD, lines)


def points(rows: Sequence[Row]) -> list[plots.Point]:
    """What to draw."""
    return [
        plots.Point(
            f"{row.what}{f' ({row.trained_on})' if row.trained_on else ''}",
            row.scores.accuracy, *row.scores.interval, row.test_set,
        )
        for row in rows
        if row.scores
    ]  # fmt: skip
