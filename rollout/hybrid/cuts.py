"""Which cuts are worth proving, and in which order: chosen on the fitting half, before any pair of the other is seen.

A policy is one cut for each label of the student's: its answer goes out if its score is at or above the cut of the label
that it gives. However the fit errs, only coverage suffers; the promise rests on the proof alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# What is not released at any score.
CLOSED = 2.0
TARGETS = 45
NOTCHES = 60
SAFE = 6.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """The fitting half: scores, and the labels of both sides as numbers into `labels`."""

    scores: Floats
    students: NDArray[np.int64]
    teachers: NDArray[np.int64]
    agreed: NDArray[np.bool_]
    labels: tuple[str, ...]


class _Counts:
    """How many pairs of each class a policy releases, and how many of them disagree."""

    def __init__(self, half: Fitted) -> None:
        size = len(half.labels)
        self.cuts: list[Floats] = []
        self.pairs: list[Floats] = []  # by the student's label: notch x teacher's label
        self.wrong: list[Floats] = []
        for label in range(size):
            of = half.students == label
            sample, teacher, bad = half.scores[of], half.teachers[of], ~half.agreed[of]
            steps = np.linspace(1, 0, min(NOTCHES, len(sample)) + 1)[1:]
            cuts = np.unique(np.quantile(sample, steps, method="lower"))[::-1] if len(sample) else np.zeros(0)
            through = np.vstack([np.zeros((1, len(sample)), bool), sample[None, :] >= cuts[:, None]])
            of_teacher = (teacher[:, None] == np.arange(size)[None, :]).astype(float)
            self.cuts.append(np.append(CLOSED, cuts))
            self.pairs.append(through @ of_teacher)
            self.wrong.append((through & bad[None, :]) @ of_teacher)

    def at(self, notches: Sequence[int]) -> tuple[Floats, Floats]:
        """Pairs and disagreements, by the student's label and the teacher's."""
        places = list(enumerate(notches))
        return np.array([self.pairs[s][n] for s, n in places]), np.array([self.wrong[s][n] for s, n in places])


def path(half: Fitted, risk: float, *, students: bool, teachers: bool) -> list[tuple[float, ...]]:
    """Policies (a cut for each label) in the order in which they are to be proved: first the one that looks easiest,
    then those that release more. `students`, `teachers`: whose classes must each keep the risk, beside the whole."""
    counts = _Counts(half)
    found: dict[tuple[int, ...], None] = {}
    start = [len(cuts) - 1 for cuts in counts.cuts]
    for target in np.linspace(3 * risk, 0.0, TARGETS):
        start = _within(counts, start, float(target), students=students, teachers=teachers)
        found[tuple(start)] = None
    ranked = sorted(found, key=lambda notches: counts.at(notches)[0].sum())
    seen = np.bincount(half.teachers, minlength=len(half.labels)) > 0
    hopes = [_hope(*counts.at(notches), risk, seen, students=students, teachers=teachers) for notches in ranked]
    # Nothing behind a policy that fails is ever looked at, so the first is the strictest that looks safe by far.
    first = next((at for at, hope in enumerate(hopes) if hope >= SAFE), int(np.argmax(hopes)))
    return [
        tuple(float(counts.cuts[s][n]) for s, n in enumerate(notches)) for notches in ranked[first:] if any(notches)
    ]


def _within(counts: _Counts, start: list[int], target: float, *, students: bool, teachers: bool) -> list[int]:
    """Raise the cut that does most harm, a notch at a time, until no class is above the target on the fitting half."""
    notches = list(start)
    while any(notches):
        pairs, wrong = counts.at(notches)
        worst, at = _over(wrong.sum(), pairs.sum(), target), int(wrong.sum(1).argmax())
        if students:
            for label in range(len(notches)):
                over = _over(wrong[label].sum(), pairs[label].sum(), target)
                worst, at = max((worst, at), (over, label))
        if teachers:
            for label in range(len(notches)):
                over = _over(wrong[:, label].sum(), pairs[:, label].sum(), target)
                worst, at = max((worst, at), (over, int(wrong[:, label].argmax())))
        if worst <= 0:
            break
        notches[at] = max(0, notches[at] - 1)
    return notches


def _over(wrong: float, pairs: float, target: float) -> float:
    """By how much a class is above the target; a class with nothing in it is not."""
    return float(wrong) / float(pairs) - target if pairs else 0.0


def _hope(
    pairs: Floats, wrong: Floats, risk: float, seen: NDArray[np.bool_], *, students: bool, teachers: bool
) -> float:
    """Evidence that as many pairs again would give on the hardest class, if they disagree as often as these. `seen`: which
    labels the teacher gives at all."""
    sides = [(wrong.sum(), pairs.sum())]
    if students:
        sides += list(zip(wrong.sum(1), pairs.sum(1), strict=True))
    if teachers:
        sides += list(zip(wrong.sum(0), pairs.sum(0), strict=True))
        if (pairs.sum(0)[seen] == 0).any():
            return -math.inf  # of a class that is never released, nothing can be proved
    return min((_growth(float(k), float(n), risk) for k, n in sides if n), default=-math.inf)


def _growth(wrong: float, pairs: float, risk: float) -> float:
    """n times the divergence of the rate seen from the risk, with its sign; a little pessimistic while pairs are few."""
    rate = (wrong + 1) / (pairs + 2)
    gap = rate * math.log(rate / risk) + (1 - rate) * math.log((1 - rate) / (1 - risk)) if rate < 1 else math.inf
    return pairs * gap * (1 if rate < risk else -1)
