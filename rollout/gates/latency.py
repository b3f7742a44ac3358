"""Gate 5: are enough of the student's answers within the latency objective?"""

import math
from dataclasses import dataclass

from graduand.rollout.gates import GateError, betabinomial, check_open


@dataclass(slots=True)
class Latency:
    """Evidence that less (with `harm=False`: more) than `within` of the answers meet `slo_s` seconds.

    Each time becomes X = 1{over the objective}, which goes into gate 1. Quantiles of latency need no model this way.
    Must never be fed with shadow latency, whose load differs. Howard et al., arXiv:1810.08240.

    >>> gate = Latency(slo_s=0.5, within=0.95)
    >>> for _ in range(10):
    ...     gate.update(0.7)
    >>> gate.log_e > math.log(100)
    True
    """

    slo_s: float
    within: float = 0.95
    harm: bool = True
    met: int = 0
    missed: int = 0

    def __post_init__(self) -> None:
        check_open("within", self.within)
        if not self.slo_s > 0:
            raise GateError(f"slo_s must be above 0; it is {self.slo_s!r}")

    def update(self, seconds: float) -> None:
        """Count one measured time; an answer that never came is `math.inf`."""
        if math.isnan(seconds):
            raise GateError("a latency is not a number; count an answer that never came as math.inf")
        if seconds <= self.slo_s:
            self.met += 1
        else:
            self.missed += 1

    @property
    def n(self) -> int:
        """Times seen."""
        return self.met + self.missed

    @property
    def log_e(self) -> float:
        """Log evidence."""
        if self.harm:
            return betabinomial.log_evidence(self.missed, self.met, 1 - self.within)
        return betabinomial.log_evidence(self.met, self.missed, self.within)
