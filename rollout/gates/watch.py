"""Gate 7 (harm): after promotion, has agreement dropped at some unknown time?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graduand.rollout.gates import GateError, check_open

MULTIPLES = (1.5, 2.0, 3.0, 5.0)
# The logarithm of "no evidence at all", finite so that it stays plain JSON.
LOG_ZERO = -745.0


@dataclass(slots=True)
class Watch:
    """e-Shiryaev-Roberts detector of a drop of agreement below `p0`, the least agreement that is still healthy.

    M_t = (M_{t-1} + 1) L_t, where L_t is the likelihood ratio of agreement q < p0 to p0, averaged over alternatives
    with 1 - q = multiple * (1 - p0). While every conditional mean is at least p0, M_t - t is a supermartingale, so an
    alarm at M >= A comes after A observations or more on average, however long the healthy past was. Shin, Ramdas,
    Rinaldo, "E-detectors", arXiv:2203.03532.

    >>> gate = Watch(p0=0.96)
    >>> for _ in range(5000):
    ...     gate.update(True)
    >>> gate.log_e < math.log(10_000)
    True
    >>> for n in range(100):
    ...     gate.update(n % 4 != 0)
    >>> gate.log_e > math.log(10_000)
    True
    """

    p0: float
    multiples: Sequence[float] = MULTIPLES
    n: int = 0
    log_m1: list[float] = field(default_factory=list)  # log(M + 1) of each alternative

    def __post_init__(self) -> None:
        check_open("p0", self.p0)
        miss = 1 - self.p0
        # Where p0 is low none of the usual alternatives is possible: half of it always is.
        usual = (
            (*MULTIPLES, (1 + 1 / miss) / 2)
            if self.p0 <= 1 / 3 and tuple(self.multiples) == MULTIPLES
            else self.multiples
        )
        self.multiples = [m for m in usual if m * miss < 1]
        if not self.multiples or not min(self.multiples) > 1:
            raise GateError(f"with p0 = {self.p0} a watch needs multiples between 1 and {1 / (1 - self.p0):.3g}")
        self.log_m1 = list(self.log_m1) or [0.0] * len(self.multiples)

    def update(self, agreed: float) -> None:
        """Count one audited answer: whether it agreed, or its score in [0, 1].

        A score between counts as a mixture of both, whose mean under the null is at most 1 as well, since the ratio is
        linear in it.
        """
        if not 0 <= agreed <= 1:
            raise GateError(f"a score must lie in [0, 1]; it is {agreed!r}")
        miss = 1 - self.p0
        for at, multiple in enumerate(self.multiples):
            if agreed in (0, 1):
                ratio = math.log1p(-multiple * miss) - math.log(self.p0) if agreed else math.log(multiple)
            else:
                ratio = math.log(agreed * (1 - multiple * miss) / self.p0 + (1 - agreed) * multiple)
            log_m = self.log_m1[at] + ratio
            self.log_m1[at] = max(log_m, 0.0) + math.log1p(math.exp(-abs(log_m)))
        self.n += 1

    @property
    def log_e(self) -> float:
        """Log of M, to be compared with log A (not with 1/alpha: it is a detector, not an e-process)."""
        top = max(self.log_m1)
        log_mean = top + math.log(math.fsum(math.exp(log - top) for log in self.log_m1) / len(self.log_m1))
        if log_mean > 40:
            return log_mean  # the 1 in M + 1 is below rounding
        return math.log(math.expm1(log_mean)) if log_mean > 0 else LOG_ZERO
