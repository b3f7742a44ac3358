"""How many pairs will a promotion take? Exact, by following the distribution of disagreements, not by simulation."""

import math

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.gates import betabinomial, check_open

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def boundary(p0: float, alpha: float, pairs: int) -> Ints:
    """For n = 1..pairs, the most disagreements with which n pairs certify agreement above p0; -1 where none do.

    >>> boundary(0.95, 0.05, 90)[[80, 88, 89]].tolist()
    [-1, 0, 0]
    """
    need, most = -math.log(alpha), -1
    out = np.empty(pairs, dtype=np.int64)
    for n in range(1, pairs + 1):
        while most + 1 <= n and betabinomial.log_evidence(n - most - 1, most + 1, p0) >= need:
            most += 1
        out[n - 1] = most
    return out


def crossing(true: float, most: Ints) -> Floats:
    """For n = 1..len(most), the probability that pair n is the first to certify, at a true agreement `true`."""
    check_open("true", true)
    pairs, miss = len(most), 1 - true
    # Paths beyond ten standard deviations never certify; leaving them out loses less than 1e-20.
    width = min(pairs, math.ceil(pairs * miss + 10 * math.sqrt(pairs * miss * true) + 10)) + 1
    waiting, out = np.zeros(width), np.zeros(pairs)
    waiting[0] = 1.0
    for n, cut in enumerate(most):
        shifted = waiting[:-1] * miss
        waiting *= true
        waiting[1:] += shifted
        if cut >= 0:
            out[n] = waiting[: cut + 1].sum()
            waiting[: cut + 1] = 0.0
    return out


def pairs_needed(p0: float, true: float, alpha: float = 0.05, chance: float = 0.5, at_most: int = 65_536) -> int | None:
    """Pairs after which a student of agreement `true` has certified with probability `chance`; None beyond `at_most`.

    >>> pairs_needed(0.95, 0.98)
    244
    """
    if true <= p0:
        return None
    pairs = 512
    while pairs <= at_most:
        done = crossing(true, boundary(p0, alpha, pairs)).cumsum()
        if done[-1] >= chance:
            return int(np.searchsorted(done, chance)) + 1
        pairs *= 2
    return None
