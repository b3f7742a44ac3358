"""Has agreement dropped at some unknown time since this began? An e-process, so its alarm has an alpha."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graduand.rollout.gates import GateError, check_drawn, check_floor, check_open
from graduand.rollout.gates.constant_bets import log_mean_exp

BETS = (0.2, 0.5, 1.0, 2.0, 4.0, 7.0)
# The logarithm of "nothing yet", finite so that it stays plain JSON.
LOG_ZERO = -745.0


@dataclass(slots=True)
class Drop:
    """Evidence that the mean of observations in [0, 1] fell below `bound` from some observation on.

    Null: every conditional mean is at least `bound`. E_t = sum over starts n of w_n prod_{i=n..t} (1 + b r_i (bound - x_i)),
    with w_n = 1 / (n (n + 1)), which sums to 1; starts to come have the factor 1. Averaged over the constant bets b below
    1 / (1 - bound); r_i is as in `constant_bets`. Compare with 1 / alpha at any time. Unlike `watch`, it has an alpha: E
    reaches 1 / alpha with probability at most alpha, for ever. Shin, Ramdas and Rinaldo, "E-detectors", arXiv:2203.03532.

    >>> gate = Drop(bound=0.9)
    >>> for _ in range(1000):
    ...     gate.update(1.0)
    >>> gate.log_e < 0
    True
    >>> for _ in range(12):
    ...     gate.update(0.0)
    >>> gate.log_e > math.log(200)
    True
    """

    bound: float
    p_min: float = 1.0
    bets: Sequence[float] = BETS
    n: int = 0
    total: float = 0.0
    logs: list[float] = field(default_factory=list)  # of the starts so far, for each bet; empty before the first

    def __post_init__(self) -> None:
        check_open("bound", self.bound)
        check_floor(self.p_min)
        self.bets = [bet for bet in self.bets if 0 < bet < 1 / (1 - self.bound)]
        if not self.bets:
            raise GateError(f"with a bound of {self.bound} bets must lie below {1 / (1 - self.bound):.3g}")
        self.logs = list(self.logs)

    def update(self, x: float, p: float = 1.0) -> None:
        """Bet on one observation that was drawn with probability `p`."""
        check_drawn(x, p, self.p_min)
        self.n += 1
        self.total += x
        fresh = -math.log(self.n) - math.log(self.n + 1)
        short = self.p_min / p * (self.bound - x)
        self.logs = [
            _log_sum(log, fresh) + math.log1p(bet * short)
            for log, bet in zip(self.logs or [LOG_ZERO] * len(self.bets), self.bets, strict=True)
        ]

    @property
    def mean(self) -> float:
        """The mean of the observations; 0 without any."""
        return self.total / self.n if self.n else 0.0

    @property
    def log_e(self) -> float:
        """Log evidence."""
        return _log_sum(log_mean_exp(self.logs), -math.log(self.n + 1)) if self.n else 0.0


def _log_sum(one: float, two: float) -> float:
    top = max(one, two)
    return top + math.log1p(math.exp(-abs(one - two)))
