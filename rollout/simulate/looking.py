"""What looking after each pair does to a promotion rule: false promotions of a student just not good enough.

The first two rules are what others do; the last two are gates 1 and 2.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.simulate.earlier import CAUTION, boundary

Bools = NDArray[np.bool_]
Rule = Callable[[Bools, float, float], Bools]
# A point estimate of a handful of pairs would be 1 by luck; nobody promotes on fewer than this.
FIRST_LOOK = 100


def point_estimate(agreed: Bools, p0: float, alpha: float) -> Bools:
    """Promotes once the share of agreements is above p0."""
    n = np.arange(1, agreed.shape[1] + 1)
    return np.asarray((agreed.cumsum(1) / n > p0)[:, FIRST_LOOK - 1 :].any(1))


def wilson(agreed: Bools, p0: float, alpha: float) -> Bools:
    """Promotes once a two-sided Wilson interval of level 1 - alpha lies above p0."""
    n, z2 = np.arange(1, agreed.shape[1] + 1), NormalDist().inv_cdf(1 - alpha / 2) ** 2
    share = agreed.cumsum(1) / n
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))
    return np.asarray(((share + z2 / (2 * n) - half) / (1 + z2 / n) > p0)[:, FIRST_LOOK - 1 :].any(1))


def agreement_gate(agreed: Bools, p0: float, alpha: float) -> Bools:
    """Gate 1: promotes once E >= 1/alpha, which is once there are few enough disagreements."""
    most = boundary(p0, alpha, agreed.shape[1])
    return np.asarray(((~agreed).cumsum(1) <= most).any(1))


def score_gate(agreed: Bools, p0: float, alpha: float) -> Bools:
    """Gate 2 on the same data, all runs at once; the formula of `gates.scores.Scores`."""
    runs, pairs = agreed.shape
    total, squares, log_e, peak = (np.zeros(runs) for _ in range(4))
    for i in range(1, pairs + 1):
        x = agreed[:, i - 1].astype(float)
        variance = (0.25 + squares) / i
        bet = np.minimum(np.sqrt(2 * -math.log(alpha) / (variance * i * math.log1p(i))), CAUTION / p0)
        log_e += np.log1p(bet * (x - p0))
        peak = np.maximum(peak, log_e)
        total += x
        squares += (x - (0.5 + total) / (i + 1)) ** 2
    return np.asarray(peak >= -math.log(alpha))


RULES: dict[str, Rule] = {
    "point estimate": point_estimate,
    "repeated Wilson": wilson,
    "gate 1": agreement_gate,
    "gate 2": score_gate,
}


def false_promotions(
    rule: str, rng: np.random.Generator, *, p0: float = 0.95, alpha: float = 0.05, pairs: int = 5000, runs: int = 1000
) -> float:
    """Share of runs that promote at some look although the agreement is exactly p0."""
    return float(RULES[rule](rng.random((runs, pairs)) < p0, p0, alpha).mean())
