"""From which score on may the student answer alone? Learn-then-Test with a fixed sequence.

Guarantee: with probability at least 1 - delta over the calibration pairs, the disagreement among the answers that the
threshold lets through is at most `risk`, for exchangeable traffic. Angelopoulos, Bates, Candes, Jordan, Lei, "Learn
then Test", arXiv:2110.01052; fixed-sequence testing after Wiens (2003).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from graduand.rollout.hybrid import HybridError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A cut with its guarantee, what it rests on, and how long it holds."""

    value: float  # the student answers at scores of at least this
    risk: float
    delta: float
    pairs: int  # calibration pairs at or above the cut
    disagreed: int
    p_value: float
    coverage: float  # share of the calibration pairs that it lets through
    adapter: str
    learned_at: float
    expires_at: float

    def why_not(self, adapter: str, now: float) -> str:
        """Why the guarantee does not hold here and now; empty if it does."""
        if adapter != self.adapter:
            return f"learned for {self.adapter}, not for {adapter}"
        return "" if now < self.expires_at else "expired; learn it again from fresh pairs"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NoThreshold:
    """No cut could be proved, and why: everything goes to the teacher."""

    reason: str


def threshold_from_dict(data: Mapping[str, Any]) -> Threshold:
    """The threshold that `Threshold.to_dict` described."""
    return Threshold(**data)


def pairs_needed(risk: float, delta: float) -> int:
    """Pairs without a disagreement that the first cut needs: ln(delta) / ln(1 - risk).

    >>> pairs_needed(0.05, 0.1)
    45
    """
    return math.ceil(math.log(delta) / math.log1p(-risk))


def candidates(scores: ArrayLike, most: int = 50) -> list[float]:
    """Cuts to try, highest first: evenly spaced quantiles of scores from the *fitting* split."""
    sample = np.asarray(scores, dtype=float)
    cuts = np.quantile(sample, np.linspace(1, 0, most + 1)[1:], method="lower")
    return [float(cut) for cut in dict.fromkeys(cuts)]


def learn(
    scores: ArrayLike,
    disagreed: ArrayLike,
    cuts: list[float],
    *,
    risk: float,
    delta: float,
    adapter: str,
    now: float,
    lifetime_s: float,
) -> Threshold | NoThreshold:
    """The lowest cut that the calibration pairs prove. `cuts` must not come from these pairs' outcomes.

    From the highest cut down, p_j = P(Bin(n_j, risk) <= k_j) among scores of at least t_j; testing goes on while p_j <=
    delta. Testing starts where there are pairs enough, which looks at scores only.
    """
    sample, wrong = np.asarray(scores, dtype=float), np.asarray(disagreed, dtype=bool)
    if sample.shape != wrong.shape or not np.isfinite(sample).all():
        raise HybridError("calibration needs one finite score an outcome")
    first, best = _first_size(sample, cuts, pairs_needed(risk, delta)), None
    for cut in sorted(cuts, reverse=True):
        through = sample >= cut
        n, k = int(through.sum()), int(wrong[through].sum())
        if n < first:
            continue
        p_value = float(special.bdtr(k, n, risk))
        if p_value > delta:
            reason = f"at the first cut {k} of {n} disagree, too many to prove {risk:.3g} (p = {p_value:.3g})"
            return best or NoThreshold(reason)
        coverage = n / len(sample)
        best = Threshold(cut, risk, delta, n, k, p_value, coverage, adapter, now, now + lifetime_s)
    return best or NoThreshold(f"no cut has the {first} calibration pairs that proving {risk:.3g} takes")


def _first_size(sample: Floats, cuts: list[float], need: int) -> int:
    """Pairs at the first cut tested: three times the bare minimum, with which one unlucky pair would end it."""
    most = max((int((sample >= cut).sum()) for cut in cuts), default=0)
    return 3 * need if most >= 3 * need else need
