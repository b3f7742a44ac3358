"""Which requests tell something of their own: one person's come in bursts, and are alike. Pure.

Detectors reckon with independent requests. So a burst counts as what it is: of a session one request is bet on, and a
window in which few people asked much is taken for as few requests as there are people.
"""

from collections.abc import Iterable

from graduand.monitoring.drift import State

SESSION_S = 1_800.0
MOST = 20_000


def effective(sizes: Iterable[int]) -> float:
    """How many independent requests tell as much as groups of these sizes, if all in a group were alike. Kish (1965).

    >>> effective([1] * 500), effective([100, 100]), round(effective([401, *[1] * 99]), 2)
    (500.0, 2.0, 1.55)
    """
    counts = list(sizes)
    total = sum(counts)
    return total * total / sum(count * count for count in counts) if total else 0.0


class Sessions:
    """`first` says whether nobody of that name was looked at within half an hour before: who asks all day is still seen.

    >>> seen = Sessions()
    >>> [seen.first("ada", at) for at in (0.0, 60.0, 1_500.0)], seen.first("bob", 1_900.0)
    ([True, False, False], True)
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def first(self, name: str, at: float) -> bool:
        """Whether to look at a request of this name at `at`, in seconds; the newest 20,000 names are remembered."""
        last = self._last.get(name)
        if last is not None and at - last < SESSION_S:
            return False
        self._last.pop(name, None)
        self._last[name] = at
        while len(self._last) > MOST or at - next(iter(self._last.values())) >= SESSION_S:
            del self._last[next(iter(self._last))]
        return True

    def state(self) -> State:
        """Plain data, for `restore`."""
        return {"last": dict(self._last)}

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._last = dict(state["last"])
