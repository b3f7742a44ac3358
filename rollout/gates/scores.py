"""Gate 2: is the mean of a bounded score (a judge's, say) high enough?"""

import math
from dataclasses import dataclass

from graduand.rollout.gates import GateError, check_open

# A bet never risks more than this share of the evidence on one observation (c <= 3/4 in the paper's experiments).
CAUTION = 0.75


@dataclass(slots=True)
class Scores:
    """Evidence that the mean of scores in [0, 1] exceeds `p0`; with `harm`, that it falls short of `p0`.

    Null: every conditional mean is at most p0 (with `harm`: at least). E = prod(1 + lambda_i (X_i - p0)) with the
    predictable bet lambda_i = min(sqrt(2 ln(1/alpha) / (var_{i-1} i ln(1+i))), c / p0); mean and variance start from
    one imagined observation of 1/2 and 1/4. The harm form bets on 1 - X against 1 - p0. Waudby-Smith and Ramdas,
    "Estimating means of bounded random variables by betting", arXiv:2010.09686, equations 24 to 26.

    >>> gate = Scores(p0=0.8)
    >>> for score in [0.9, 1.0, 0.85, 0.95] * 50:
    ...     gate.update(score)
    >>> gate.log_e > math.log(20)
    True
    """

    p0: float
    harm: bool = False
    alpha: float = 0.05
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_e: float = 0.0

    def __post_init__(self) -> None:
        check_open("p0", self.p0)
        check_open("alpha", self.alpha)

    def update(self, score: float) -> None:
        """Bet on one score."""
        if not 0 <= score <= 1:
            raise GateError(f"a score must lie in [0, 1]; it is {score!r}")
        x, p0 = (1 - score, 1 - self.p0) if self.harm else (score, self.p0)
        # The bet uses the past only: variance before this score.
        i, variance = self.n + 1, (0.25 + self.squares) / (self.n + 1)
        bet = min(math.sqrt(2 * -math.log(self.alpha) / (variance * i * math.log1p(i))), CAUTION / p0)
        self.log_e += math.log1p(bet * (x - p0))
        self.n, self.total = i, self.total + x
        self.squares += (x - (0.5 + self.total) / (i + 1)) ** 2
