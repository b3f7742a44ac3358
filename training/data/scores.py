"""Scores of answers against gold, with intervals. Pure.

Invariant: an answer that could not be read is wrong and counted; it is never given a class, and never left out.
Wilson (1927), "Probable inference"; Cohen (1960) for kappa.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graduand.rollout.answers.confusion import Confusion

Z95 = 1.959963984540054
UNREAD = "(unread)"


def wilson(right: int, rows: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval for a share; (0, 1) without rows.

    >>> [round(end, 4) for end in wilson(355, 400)]
    [0.8528, 0.9149]
    """
    if not rows:
        return 0.0, 1.0
    share, scale = right / rows, 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Scores:
    """How well answers match gold; None where a measure has no data."""

    rows: int
    right: int
    unread: int
    precision: float | None
    recall: float | None
    f1: float | None
    kappa: float | None

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the accuracy."""
        return wilson(self.right, self.rows)

    def as_json(self) -> dict[str, Any]:
        """Figures for a record."""
        low, high = self.interval
        named = {
            name: getattr(self, name) for name in ("rows", "right", "unread", "precision", "recall", "f1", "kappa")
        }
        return {"accuracy": self.accuracy, "low": low, "high": high, **named}


def score(gold: Sequence[str], said: Sequence[str | None], labels: Sequence[str]) -> Scores:
    """Score the labels `said` (None: could not be read) against `gold`.

    Precision, recall and F1 are those of the last of two labels, by custom the positive one; of more labels the mean
    over those that gold has.

    >>> found = score(["0", "0", "1", "1"], ["0", "1", "1", None], ["0", "1"])
    >>> found.accuracy, found.precision, found.recall, found.unread
    (0.5, 0.5, 0.5, 1)
    """
    if not gold or len(gold) != len(said):
        raise ValueError("scores need rows, and as many answers as gold labels")
    pairs = list(zip(gold, (UNREAD if label is None else label for label in said), strict=True))
    table = Confusion()
    for one, other in pairs:
        table.update(one, other)
    measured = [labels[-1]] if len(labels) == 2 else sorted(set(gold))
    parts = [_of_label(pairs, label) for label in measured]
    precision, recall, f1 = (_mean([part[place] for part in parts]) for place in range(3))
    right = sum(one == other for one, other in pairs)
    return Scores(len(pairs), right, sum(label is None for label in said), precision, recall, f1, table.kappa)


def _of_label(pairs: Sequence[tuple[str, str]], label: str) -> tuple[float | None, float | None, float | None]:
    hits = sum(one == other == label for one, other in pairs)
    called, are = sum(other == label for _, other in pairs), sum(one == label for one, _ in pairs)
    f1 = 2 * hits / (called + are) if called + are else None
    return hits / called if called else None, hits / are if are else None, f1


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


HEAD = (
    "what",
    "trained on",
    "test set",
    "rows",
    "accuracy",
    "95% interval",
    "precision",
    "recall",
    "F1",
    "kappa",
    "unread",
)


def line(what: str, trained_on: str, test_set: str, found: Scores) -> tuple[object, ...]:
    """A row of a report's table under HEAD."""
    low, high = found.interval
    measures = (found.precision, found.recall, found.f1, found.kappa)
    shown = ("" if value is None else f"{value:.3f}" for value in measures)
    return (
        what,
        trained_on,
        test_set,
        found.rows,
        f"{found.accuracy:.4f}",
        f"{low:.3f}–{high:.3f}",
        *shown,
        found.unread,
    )
