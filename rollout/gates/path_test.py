"""Do copies and served answers agree with the teacher equally often? If not, the paths differ."""

from dataclasses import dataclass, field

from graduand.rollout.gates import GateError
from graduand.rollout.gates.constant_bets import ConstantBets, log_mean_exp, stored
from graduand.rollout.gates.matching import MOST, WINDOW_S, matched


@dataclass(slots=True)
class PathTest:
    """Evidence that student's answers as served and its copies of the same hours do not agree equally often.

    Each unit gives one mean, of its first session while this gate lives, to the path that it was on: a unit that counts
    again each hour would make few units look like many. The means of an hour are matched: the fewer of the two sides each
    stand against the mean of as many of the other. Null: which path a unit is on says nothing about its mean, so that
    (1 + copy - served) / 2 has mean 1/2. E is half the sum of `ConstantBets` in either direction. Waudby-Smith and Ramdas,
    arXiv:2010.09686.

    >>> gate = PathTest()
    >>> for unit in range(60):
    ...     gate.update(unit * 60.0, 1.0, served=unit % 2 == 0)
    ...     gate.update(unit * 60.0, 0.0, served=unit % 2 == 1)
    >>> gate.log_e < 3
    True
    """

    window: int = -1  # the hour whose means wait; one that comes late belongs to them
    served: list[float] = field(default_factory=list)
    copies: list[float] = field(default_factory=list)
    lower: ConstantBets = field(default_factory=lambda: ConstantBets(0.5))  # served answers agree less often
    upper: ConstantBets = field(default_factory=lambda: ConstantBets(0.5, harm=True))

    def __post_init__(self) -> None:
        self.served, self.copies = list(self.served), list(self.copies)
        self.lower, self.upper = stored(self.lower), stored(self.upper)

    def update(self, at: float, mean: float, *, served: bool) -> None:
        """Count a unit's first mean, observed at `at` (seconds)."""
        if not 0 <= mean <= 1:
            raise GateError(f"a mean must lie in [0, 1]; it is {mean!r}")
        window = int(at // WINDOW_S)
        if window > self.window or max(len(self.served), len(self.copies)) >= MOST:
            self._close()
            self.window = max(window, self.window)
        (self.served if served else self.copies).append(mean)

    @property
    def n(self) -> int:
        """Matched means."""
        return self.lower.n

    @property
    def log_e(self) -> float:
        """Log evidence."""
        return log_mean_exp([self.lower.log_e, self.upper.log_e]) if self.n else 0.0

    @property
    def gap(self) -> float:
        """By how much copies agree more often than served answers, on average; 0 without any."""
        return 2 * self.lower.mean - 1 if self.n else 0.0

    def _close(self) -> None:
        """Match the hour's means."""
        for served, copy in matched(self.served, self.copies):
            x = (1 + copy - served) / 2
            self.lower.update(x)
            self.upper.update(x)
        self.served, self.copies = [], []
