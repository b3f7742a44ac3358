"""How many observations will a proof take? Exact, by following the distribution of disagreements, not by simulation."""

import math

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.gates import check_open
from graduand.rollout.gates.constant_bets import SHARES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def log_evidence(good: int, bad: int, p0: float) -> float:
    """Log evidence of `ConstantBets` after so many ones and zeros: in any order, since the bets never change.

    >>> log_evidence(0, 0, 0.95)
    0.0
    """
    if not good and not bad:
        return 0.0
    up, down = gains(p0)
    return float(np.logaddexp.reduce(good * up + bad * down)) - math.log(len(SHARES))


def boundary(p0: float, log_threshold: float, observations: int) -> Ints:
    """For n = 1..observations, the most zeros with which n observations certify a mean above p0; -1 where none do.

    >>> boundary(0.95, math.log(20), 90)[[70, 80, 89]].tolist()
    [-1, -1, 0]
    """
    up, down = gains(p0)
    most, out = -1, np.empty(observations, dtype=np.int64)
    for n in range(1, observations + 1):
        while most + 1 <= n:
            logs = (n - most - 1) * up + (most + 1) * down
            if float(np.logaddexp.reduce(logs)) - math.log(len(SHARES)) < log_threshold:
                break
            most += 1
        out[n - 1] = most
    return out


def crossing(true: float, most: Ints) -> Floats:
    """For n = 1..len(most), the probability that observation n is the first to certify, at a true mean `true`."""
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


def pairs_needed(
    p0: float, true: float, log_threshold: float = math.log(20), chance: float = 0.5, at_most: int = 65_536
) -> int | None:
    """Independent observations after which a student of mean `true` has certified with probability `chance`; None beyond
    `at_most`. Sessions of several requests need fewer where a user's requests differ, and never more than requests.

    >>> pairs_needed(0.95, 0.98)
    244
    """
    if true <= p0:
        return None
    pairs = 512
    while pairs <= at_most:
        done = crossing(true, boundary(p0, log_threshold, pairs)).cumsum()
        if done[-1] >= chance:
            return int(np.searchsorted(done, chance)) + 1
        pairs *= 2
    return None


def gains(p0: float) -> tuple[Floats, Floats]:
    """What one agreement and one disagreement add to the logarithm of each bet."""
    shares = np.array(SHARES)
    return np.log1p(shares * (1 - p0) / p0), np.log1p(-shares)
