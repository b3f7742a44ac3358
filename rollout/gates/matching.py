"""Two sides of the same hours, matched one with one: what a comparison of concurrent arms bets on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from graduand.rollout.gates import GateError

# Units are drawn into the arms by a hash, so those of the same hour may be exchanged between them.
WINDOW_S = 3600.0
# An hour of busier traffic is closed early, so that what waits stays small.
MOST = 1000


@dataclass(slots=True)
class Matcher:
    """Values in [0, 1] of treatment and control that wait for the end of their hour.

    >>> matcher = Matcher()
    >>> matcher.add(0.0, 1.0, treated=True), matcher.add(9.0, 0.0, treated=False), matcher.add(9.0, 1.0, treated=False)
    ([], [], [])
    >>> matcher.add(4000.0, 1.0, treated=True)
    [(1.0, 0.5)]
    """

    window: int = -1  # the hour whose values wait; one that comes late belongs to them
    treated: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)

    def add(self, at: float, value: float, *, treated: bool) -> list[tuple[float, float]]:
        """Count a value observed at `at` (seconds); the matched pairs, treatment first, of the hour that ended with it."""
        if not 0 <= value <= 1:
            raise GateError(f"a value must lie in [0, 1]; it is {value!r}")
        window, found = int(at // WINDOW_S), list[tuple[float, float]]()
        if window > self.window or max(len(self.treated), len(self.control)) >= MOST:
            found = list(matched(self.treated, self.control))
            self.treated, self.control, self.window = [], [], max(window, self.window)
        (self.treated if treated else self.control).append(value)
        return found


def matched(one: Sequence[float], other: Sequence[float]) -> Iterator[tuple[float, float]]:
    """The fewer of two sides, each against the mean of as many of the other: every value is in exactly one pair."""
    pairs = min(len(one), len(other))
    for at in range(pairs):
        yield _share(one, at, pairs), _share(other, at, pairs)


def _share(values: Sequence[float], at: int, pairs: int) -> float:
    group = values[at::pairs]
    return sum(group) / len(group)
