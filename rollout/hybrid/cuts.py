"""Which cuts are worth proving, and in which order: chosen on the fitting half, before any pair of the other is seen.

A policy is one cut for each label of the student's: its answer goes out if its score is at or above the cut of the label
that it gives. The order begins with the policy for which the hardest class promises the most evidence, and opens one cut by
one notch at a time, always the one that leaves the hardest class the most. However the fit errs, only coverage suffers;
the promise rests on the proof alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from graduand.rollout.hybrid.calibration import fit_logistic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# What is not released at any score.
CLOSED = 2.0
# Shares of the largest bet that keeps every factor above 0, as all proofs of cuts make them: denser where they are largest,
# for what is worth releasing disagrees much less often than it may.
BETS = 1 - np.linspace(0.99, 0.1, 25) ** 2
NOTCHES = 60
# How many times as many pairs as the fit has a proof may hope for.
AHEAD = 6.0
# Log probability of proof from which a policy is safe by far: the order begins at the strictest of these.
SAFE = math.log(0.95)
# What is believed of a class before it is seen: so many pairs at just the risk.
PRIOR = 5.0
# Few pairs say little about how often sure answers are wrong, so part of what is believed is a smooth curve through them.
SMOOTH = 0.25


@dataclass(frozen=True, slots=True)
class Fitted:
    """The fitting half: scores, and the labels of both sides as numbers into `labels`."""

    scores: Floats
    students: NDArray[np.int64]
    teachers: NDArray[np.int64]
    agreed: NDArray[np.bool_]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """What each notch of one label's cut releases (notches, teacher's labels), and how much of it disagrees; the first
    notch is closed."""

    cuts: Floats
    pairs: Floats
    wrong: Floats


def path(half: Fitted, risk: float, need: float, *, students: bool, teachers: bool) -> list[tuple[float, ...]]:
    """Policies (a cut for each label) in the order in which they are to be proved: first the one that looks easiest,
    then those that release more. `need`: the log evidence that is asked for. `students`, `teachers`: whose classes must
    each keep the risk, beside the whole."""
    openings = [_opening(half, label) for label in range(len(half.labels))]
    hopes = _Hopes(openings, half, risk, need, students=students, teachers=teachers)
    notches = _begin(hopes)
    found = [notches]
    while (notches := hopes.opened(notches)) is not None:  # type: ignore[assignment]
        found.append(notches)
    return [
        tuple(float(one.cuts[n]) for one, n in zip(openings, policy, strict=True)) for policy in found if any(policy)
    ]


def _opening(half: Fitted, label: int) -> Opening:
    of = half.students == label
    sample, bad = half.scores[of], ~half.agreed[of]
    of_teacher = (half.teachers[of][:, None] == np.arange(len(half.labels))[None, :]).astype(float)
    steps = np.linspace(1, 0, min(NOTCHES, len(sample)) + 1)[1:]
    cuts = np.unique(np.quantile(sample, steps, method="lower"))[::-1] if len(sample) else np.zeros(0)
    through = np.vstack([np.zeros((1, len(sample)), bool), sample[None, :] >= cuts[:, None]]).astype(float)
    wrong = SMOOTH * _expected(sample, bad, of_teacher) + (1 - SMOOTH) * bad[:, None] * of_teacher
    return Opening(np.append(CLOSED, cuts), through @ of_teacher, through @ wrong)


def _expected(scores: Floats, bad: NDArray[np.bool_], of_teacher: Floats) -> Floats:
    """How much of each pair disagrees, by the teacher's label, if disagreement falls smoothly with the score."""
    if len(scores) < 2 or not bad.any():
        return np.zeros_like(of_teacher)
    odds = special.logit(np.clip(scores, 1e-9, 1 - 1e-9))[:, None]
    return np.asarray(fit_logistic(odds, bad)(odds)[:, None] * of_teacher[bad].mean(0)[None, :])


class _Hopes:
    """The probability that a policy is proved by `AHEAD` times the pairs of the fit, if disagreement is as in the fit."""

    def __init__(
        self, openings: Sequence[Opening], half: Fitted, risk: float, need: float, *, students: bool, teachers: bool
    ) -> None:
        self._openings = openings
        self._risk, self._students, self._teachers = risk, students, teachers
        self._seen = np.bincount(half.teachers, minlength=len(openings)) > 0
        self._most = _allowed(AHEAD * max(len(half.scores), 1), risk, need)
        self.sizes = tuple(len(one.cuts) for one in openings)

    def of(self, notches: Sequence[int]) -> float:
        """Its logarithm, of one policy."""
        pairs, wrong = self._at(notches)
        if self._teachers and (pairs.sum(0)[self._seen] == 0).any():
            return -math.inf  # of a class that is never released, nothing can be proved
        sides = [(wrong.sum(keepdims=True).ravel(), pairs.sum(keepdims=True).ravel())]
        sides += [(wrong.sum(1), pairs.sum(1))] if self._students else []
        sides += [(wrong.sum(0), pairs.sum(0))] if self._teachers else []
        bad, count = (np.concatenate(parts) for parts in zip(*sides, strict=True))
        there = count > 0
        return float(self._power(bad[there], count[there]).sum()) if there.any() else -math.inf

    def opened(self, notches: tuple[int, ...]) -> tuple[int, ...] | None:
        """The policy with one cut a notch further open that promises most; None once all are open."""
        moves = [label for label, size in enumerate(self.sizes) if notches[label] + 1 < size]
        found = [(*notches[:label], notches[label] + 1, *notches[label + 1 :]) for label in moves]
        return max(found, key=lambda one: (self.of(one), self._at(one)[0].sum()), default=None)

    def closed(self, notches: tuple[int, ...]) -> tuple[int, ...] | None:
        """The policy with one cut a notch further shut that promises most; None once all are shut."""
        moves = [label for label in range(len(self.sizes)) if notches[label]]
        found = [(*notches[:label], notches[label] - 1, *notches[label + 1 :]) for label in moves]
        return max(found, key=lambda one: (self.of(one), -self._at(one)[0].sum()), default=None)

    def _at(self, notches: Sequence[int]) -> tuple[Floats, Floats]:
        """Pairs and disagreements, by the student's label and the teacher's."""
        places = list(zip(self._openings, notches, strict=True))
        return np.array([one.pairs[n] for one, n in places]), np.array([one.wrong[n] for one, n in places])

    def _power(self, wrong: Floats, pairs: Floats) -> Floats:
        """Log probability that a class is proved: of the beta-binomial law that the fit leaves, by a beta law of the same
        mean and variance."""
        ahead = AHEAD * pairs
        size = pairs + PRIOR
        mean = (wrong + PRIOR * self._risk) / size
        spread = ahead * (size + 1) / (size + ahead) - 1
        at = (np.interp(ahead, *self._most) + 0.5) / ahead
        power = special.betainc(mean * spread, (1 - mean) * spread, np.clip(at, 0, 1))
        # Where it is as good as 0 the slope still says which way is better.
        return np.asarray(np.log(power + 1e-9) + 1e-3 * np.minimum(at - mean, 0))


def _allowed(most: float, risk: float, need: float) -> tuple[Floats, Floats]:
    """Pairs, and how many of them may disagree at most when `need` is still reached; below none, by how much they lack."""
    sizes = np.unique(np.geomspace(1, max(most, 2), 80).round())
    bets = BETS[:, None, None] / (1 - risk)
    wrong = np.arange(int(most * risk) + 2)[None, None, :]
    logs = (sizes[None, :, None] - wrong) * np.log1p(bets * risk) + wrong * np.log1p(-bets * (1 - risk))
    top = logs.max(0)
    evidence = top + np.log(np.exp(logs - top).mean(0))
    reached = (evidence >= need) & (wrong[0] <= sizes[:, None])
    count = reached.sum(1).astype(float)
    return sizes, np.where(count > 0, count - 1, -1 - (need - evidence[:, 0]))


def _begin(hopes: _Hopes) -> tuple[int, ...]:
    """Shut one cut after another from all open; of these policies the most promising, or the strictest that is safe by far.

    Nothing behind a policy that fails is ever looked at, so the first must be as easy to prove as any.
    """
    notches: tuple[int, ...] | None = tuple(size - 1 for size in hopes.sizes)
    best, most = notches, -math.inf
    while notches is not None:
        hope = min(hopes.of(notches), SAFE)
        if hope >= most:
            best, most = notches, hope
        notches = hopes.closed(notches)
    assert best is not None
    return best
