"""Is the mean of bounded observations high enough (with `harm`: too low)? A mixture of constant bets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from graduand.rollout.gates import GateError, check_drawn, check_floor, check_open

# Shares of the largest bet that keeps every factor above 0.
SHARES = tuple(0.02 + 0.04 * at for at in range(25))
NOTHING = [0.0] * len(SHARES)


def log_mean_exp(logs: list[float]) -> float:
    """The logarithm of the mean of exponentials, without overflow.

    >>> log_mean_exp([1000.0, 1000.0])
    1000.0
    """
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


@dataclass(slots=True)
class ConstantBets:
    """Evidence that the running mean of observations in [0, 1] exceeds `p0`; with `harm`, that it falls short of `p0`.

    Give one observation for each unit: the mean of its session. Null: the mean of the true means of all observations so far
    is at most p0 (with `harm`: at least p0). E = mean over bets b of prod(1 + b r_i (x_i - p0)), where r_i = p_min / p_i,
    p_i is the probability with which observation i was drawn, and p_min is a lower bound of all of them, fixed before the
    first. A bet that never changes bounds the product for the running mean, since log is concave; a bet that follows the
    data does not. Look at the ends of whole cycles, where the traffic has a rhythm. The harm form bets on 1 - x against
    1 - p0. Waudby-Smith and Ramdas, arXiv:2010.09686; Orabona and Jun, arXiv:2110.14099.

    >>> gate = ConstantBets(p0=0.95)
    >>> for _ in range(100):
    ...     gate.update(1.0)
    >>> gate.log_e > 3.0
    True
    >>> harm = ConstantBets(p0=0.95, harm=True)
    >>> for at in range(100):
    ...     harm.update(0.5 if at % 2 else 1.0)
    >>> harm.log_e > math.log(20)
    True
    """

    p0: float
    harm: bool = False
    p_min: float = 1.0
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    logs: list[float] = field(default_factory=list)  # of each bet; empty before the first observation

    def __post_init__(self) -> None:
        check_open("p0", self.p0)
        check_floor(self.p_min)
        self.logs = list(self.logs)

    def update(self, x: float, p: float = 1.0) -> None:
        """Bet on one observation that was drawn with probability `p`."""
        check_drawn(x, p, self.p_min)
        gain, bound = (self.p0 - x, 1 - self.p0) if self.harm else (x - self.p0, self.p0)
        step = self.p_min / p * gain / bound
        self.logs = [log + gain for log, gain in zip(self.logs or NOTHING, _gains(step), strict=True)]
        self.n += 1
        self.total += x
        self.squares += x * x

    def add(self, other: "ConstantBets") -> None:
        """Take over what another gate has seen: with bets that never change, evidence multiplies bet by bet."""
        if (self.p0, self.harm, self.p_min) != (other.p0, other.harm, other.p_min):
            raise GateError("only gates that make the same bets can be added")
        if other.logs:
            self.logs = [one + two for one, two in zip(self.logs or NOTHING, other.logs, strict=True)]
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    @property
    def log_e(self) -> float:
        """Log evidence."""
        return log_mean_exp(self.logs) if self.logs else 0.0

    @property
    def mean(self) -> float:
        """The mean of the observations; 0 without any. Where they were drawn unevenly it is the sample's, not the traffic's."""
        return self.total / self.n if self.n else 0.0

    @property
    def independent(self) -> int:
        """How many independent yes-or-no answers have the same standard error; as many as observations where all are alike."""
        spread = self.mean * (1 - self.mean)
        if not spread or self.n < 2 or not self.error:
            return self.n
        return max(1, round(spread / self.error**2))

    @property
    def error(self) -> float:
        """The standard error of `mean`; infinite below two observations."""
        if self.n < 2:
            return math.inf
        return math.sqrt(max(0.0, self.squares - self.total**2 / self.n) / (self.n - 1) / self.n)


@lru_cache(4096)  # most observations are 0 or 1
def _gains(step: float) -> tuple[float, ...]:
    return tuple(math.log1p(share * step) for share in SHARES)


def stored(given: ConstantBets | Mapping[str, Any]) -> ConstantBets:
    """A gate that is part of another: itself, or made from its stored fields."""
    return given if isinstance(given, ConstantBets) else ConstantBets(**given)
