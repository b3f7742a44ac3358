"""Does a policy keep its promise? Evidence on a frozen scorer and a fixed order of policies, valid at every look.

For each policy and each class an e-process bets against "agreement among what the policy releases of this class is at most
1 - risk", with a mixture of constant bets. A policy is proved once every one of its classes has reached 1/delta at some
look, and so has every policy before it in the order.

Why neither classes nor policies share delta: that some class of a policy breaks the risk is one hypothesis, and it is
given up only if each class refutes it (Berger, "Multiparameter hypothesis testing and acceptance sampling", 1982); and of
policies in a fixed order the first false one alone can be proved falsely (Wiens 2003; "Learn then Test",
arXiv:2110.01052). Bets: Waudby-Smith and Ramdas, arXiv:2010.09686.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.hybrid.cuts import BETS, CLOSED
from graduand.rollout.hybrid.pairs import Pair, cells

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Side = Literal["all", "student", "teacher"]


@dataclass(frozen=True, slots=True)
class ClassRisk:
    """What is known of one class among what a policy releases."""

    side: Side  # whose label makes the class
    label: str
    pairs: int  # released, unweighted
    disagreed: int
    observations: int  # units' days: what the evidence counts
    log_e: float  # the highest at a look


@dataclass(frozen=True, slots=True)
class Proof:
    """The best policy that is proved, if any, and what the next one still lacks."""

    policy: int | None  # its place in the order
    classes: tuple[ClassRisk, ...]  # of that policy; of the first one if none is proved
    coverage: float  # weighted share of the pairs that it releases
    lacking: tuple[ClassRisk, ...]  # classes for which the policy after it is not proved yet


def prove(
    pairs: Sequence[Pair], scores: Floats, policies: Sequence[Sequence[float]], labels: Sequence[str],
    looks: Sequence[int], *, risk: float, delta: float, sides: frozenset[Side],
) -> Proof:  # fmt: skip
    """`policies` has a cut for each of `labels`, in the order of proof; `looks` the numbers of pairs looked at so far.

    What comes after the last look counts for nothing yet. Labels of the student's that are not in `labels` are never
    released; with `("",)` one cut holds for all answers.
    """
    end = looks[-1] if looks else 0
    pairs, scores = pairs[:end], scores[:end]
    cell = cells(pairs, looks[:-1])
    weight = np.array([one.weight for one in pairs])
    agreed = np.array([one.agreed for one in pairs], dtype=bool)
    cuts = _cut_numbers(pairs, labels)
    groups = list(_groups(pairs, sides))
    need, best, shown = -math.log(delta), None, None
    for number, policy in enumerate(policies):
        through = scores >= np.append(np.asarray(policy, dtype=float), CLOSED)[cuts]
        known = tuple(
            _class(side, label, through & of, agreed, cell, weight, looks, risk) for side, label, of in groups
        )
        # A class of the student's that the policy releases nothing of has nothing to prove.
        lacking = tuple(one for one in known if one.log_e < need and (one.pairs or one.side != "student"))
        if lacking:
            return Proof(best, shown[0] if shown else known, shown[1] if shown else 0.0, lacking)
        best, shown = number, (known, float(weight[through].sum() / weight.sum()))
    return Proof(best, *(shown or ((), 0.0)), ())


def _cut_numbers(pairs: Sequence[Pair], labels: Sequence[str]) -> NDArray[np.int64]:
    """Which cut holds for each pair; the last one, closed, for labels without one of their own."""
    places = {label: at for at, label in enumerate(labels)}
    if tuple(labels) == ("",):
        return np.zeros(len(pairs), dtype=np.int64)
    return np.array([places.get(one.student, len(labels)) for one in pairs], dtype=np.int64)


def _groups(pairs: Sequence[Pair], sides: frozenset[Side]) -> Iterator[tuple[Side, str, Bools]]:
    yield "all", "", np.ones(len(pairs), dtype=bool)
    for side in ("student", "teacher"):
        if side in sides:
            given = np.array([getattr(one, side) for one in pairs], dtype=object)
            for label in sorted(set(given.tolist()) - {""}):
                yield side, label, given == label


def _class(
    side: Side, label: str, through: Bools, agreed: Bools, cell: NDArray[np.int64], weight: Floats,
    looks: Sequence[int], risk: float,
) -> ClassRisk:  # fmt: skip
    log_e, observations = peak(through, agreed, cell, weight, looks, risk)
    return ClassRisk(side, label, int(through.sum()), int((through & ~agreed).sum()), observations, log_e)


def peak(
    through: Bools, agreed: Bools, cell: NDArray[np.int64], weight: Floats, looks: Sequence[int], risk: float,
    bets: Floats = BETS,
) -> tuple[float, int]:  # fmt: skip
    """The highest log evidence at a look that agreement among `through` is above 1 - risk, and the observations."""
    size = int(cell.max()) + 1 if len(cell) else 0
    counts = np.bincount(cell, through, size)
    there = counts > 0
    means = np.bincount(cell, through & agreed, size)[there] / counts[there]
    share = np.zeros(size)
    share[cell] = weight
    # The look at which an observation is complete is the first one that lies behind all its pairs.
    last = np.zeros(size, dtype=np.int64)
    np.maximum.at(last, cell, np.arange(len(cell)))
    look = np.searchsorted(np.asarray(looks, dtype=np.int64), last[there], side="right")
    p0 = 1 - risk
    # Most users have one pair a day, so there are few different gains.
    gains, which = np.unique(share[there] * (means - p0), return_inverse=True)
    logs = np.log1p(bets[:, None] / p0 * gains)
    before = look < len(looks)
    seen = np.bincount(look[before] * len(gains) + which[before], minlength=len(looks) * len(gains))
    totals = (seen.reshape(len(looks), len(gains)) @ logs.T).cumsum(0)
    top = totals.max(1, keepdims=True, initial=-1e300)
    peaks = top[:, 0] + np.log(np.exp(totals - top).mean(1))
    return max(0.0, float(peaks.max(initial=0.0))), int(there.sum())
