"""Gate 6: do the arms get the shares of units that were meant (sample ratio mismatch)?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graduand.rollout.gates import GateError

# Stands for "impossible under the null" and stays plain, finite JSON.
CERTAIN = 1e9


@dataclass(slots=True)
class SampleRatio:
    """Evidence that unique units do not fall into the arms by `shares`.

    Null: each new unit falls into arm i with probability shares[i]. E is the Dirichlet-multinomial Bayes factor
    [B(k shares + counts) / B(k shares)] / prod(shares_i^counts_i); a large `strength` k looks for small deviations.
    Valid while the shares stand still, so each step of a rollout starts a new one. Lindon and Malek, arXiv:2011.03567.

    >>> gate = SampleRatio(shares=[0.1, 0.1, 0.8])
    >>> for n in range(1000):
    ...     gate.update(0 if n % 10 == 0 else 2)
    >>> gate.log_e > math.log(1000)
    True
    """

    shares: Sequence[float]
    strength: float = 100.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if min(self.shares, default=-1) < 0 or abs(math.fsum(self.shares) - 1) > 1e-9 or not self.strength > 0:
            raise GateError(
                f"shares must be at least 0 and sum to 1, and strength be above 0; shares are {self.shares}"
            )
        self.shares = list(self.shares)
        self.counts = list(self.counts) or [0] * len(self.shares)

    def update(self, arm: int) -> None:
        """Count one unit, at its first appearance in this step, in arm number `arm`."""
        if not 0 <= arm < len(self.counts):
            raise GateError(f"arm {arm!r} is not one of 0..{len(self.counts) - 1}")
        self.counts[arm] += 1

    @property
    def n(self) -> int:
        """Units seen."""
        return sum(self.counts)

    @property
    def log_e(self) -> float:
        """Log evidence."""
        total = math.lgamma(self.strength) - math.lgamma(self.strength + self.n)
        for share, count in zip(self.shares, self.counts, strict=True):
            if not count:
                continue
            if not share:
                return CERTAIN
            prior = self.strength * share
            total += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
        return total
