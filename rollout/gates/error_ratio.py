"""Gate 4 (harm): do the student's requests fail more often than the teacher's, while the weight ramps?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graduand.rollout.gates import GateError, check_open

RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0)


@dataclass(slots=True)
class ErrorRatio:
    """Evidence that the student's error rate exceeds (1 + tolerance) times the teacher's.

    Looks at errors only: given that one happened, it came from the student with probability theta_r = w r / (w r + 1 -
    w), where w is the student's share of the compared traffic at that moment and r the ratio of error rates. The base
    rate cancels, so it may drift and oscillate. Null: r <= 1 + tolerance. E is the average over multiples m of
    prod Bern(x; theta_{m (1 + tolerance)}) / Bern(x; theta_{1 + tolerance}). The caller counts at most one error per
    unit per window, since errors of one unit are not independent. After Lindon and Malek, arXiv:2011.03567.

    >>> gate = ErrorRatio()
    >>> for n in range(40):
    ...     gate.update(from_student=n % 2 == 0, weight=0.1)
    >>> gate.log_e > math.log(100)
    True
    """

    tolerance: float = 0.0
    multiples: Sequence[float] = RATIOS
    n: int = 0
    logs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.tolerance >= 0 or not self.multiples or not min(self.multiples) > 1:
            raise GateError("an error ratio gate needs tolerance >= 0 and multiples above 1")
        self.multiples = list(self.multiples)
        self.logs = list(self.logs) or [0.0] * len(self.multiples)

    def update(self, *, from_student: bool, weight: float) -> None:
        """Count one error that happened while the student had the share `weight` of the compared traffic."""
        check_open("weight", weight)
        base = 1 + self.tolerance
        for at, multiple in enumerate(self.multiples):
            # theta_m / theta_0 = m * rest and (1 - theta_m) / (1 - theta_0) = rest
            rest = (weight * base + 1 - weight) / (weight * base * multiple + 1 - weight)
            self.logs[at] += math.log(rest * multiple if from_student else rest)
        self.n += 1

    @property
    def log_e(self) -> float:
        """Log evidence."""
        top = max(self.logs)
        return top + math.log(math.fsum(math.exp(log - top) for log in self.logs) / len(self.logs))
