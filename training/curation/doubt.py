"""Doubtful labels by confident learning: a row's label against a model that did not see it.

Northcutt, Jiang, Chuang, "Confident learning" (arXiv:1911.00068): a label's threshold is the mean probability that the
model gives it on rows which carry it; a row is a candidate if another label reaches its own threshold and is likelier.
The model is cross-validated TF-IDF. Invariant: what is said is a candidate for a person to look at, not an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graduand.training.baselines.tfidf import Crossed, cross_probabilities


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row whose label looks wrong; `margin` is how much likelier the other label is."""

    place: int
    label: str
    likelier: str
    margin: float


def candidates(texts: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> list[Candidate]:
    """The rows whose labels look wrong, the surest first."""
    return confident(cross_probabilities(texts, labels, folds, seed), labels)


def confident(crossed: Crossed, labels: Sequence[str]) -> list[Candidate]:
    """The candidates by out-of-fold probabilities, shape (rows, labels)."""
    own = np.array([crossed.labels.index(label) for label in labels])
    table = crossed.probabilities
    thresholds = np.array([table[own == column, column].mean() for column in range(len(crossed.labels))])
    reached: NDArray[np.float64] = np.where(table >= thresholds, table, -1.0)
    likelier = reached.argmax(axis=1)
    margins = table[np.arange(len(own)), likelier] - table[np.arange(len(own)), own]
    places = np.flatnonzero((reached.max(axis=1) > 0) & (likelier != own) & (margins > 0))
    found = [
        Candidate(int(place), crossed.labels[own[place]], crossed.labels[likelier[place]], float(margins[place]))
        for place in places
    ]
    return sorted(found, key=lambda each: (-each.margin, each.place))


def confidence(texts: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> list[float]:
    """The probability that a model which did not see a row gives its label, 0 to 1."""
    crossed = cross_probabilities(texts, labels, folds, seed)
    return [float(crossed.probabilities[place, crossed.labels.index(label)]) for place, label in enumerate(labels)]
