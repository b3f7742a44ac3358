"""When this process stood still (stopped, or without a processor): time that no client and no upstream is to be blamed for.

Pure: the clock is passed in, in seconds.
"""

from collections import deque

STOOD_STILL_S = 0.5
MOST_REMEMBERED = 100


class Pauses:
    """Found by looks that should come every `every_s`.

    >>> pauses = Pauses(every_s=0.1)
    >>> [pauses.look(now) for now in (1.0, 1.1, 9.2, 9.3)]
    [0.0, 0.0, 8.0, 0.0]
    >>> pauses.since(1.0), pauses.since(9.25)
    (8.0, 0.0)
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._looked_at = 0.0
        self._has_looked = False
        self._was_late = False
        self._ended: deque[tuple[float, float]] = deque(maxlen=MOST_REMEMBERED)

    def look(self, now: float) -> float:
        """How many seconds the process has stood still since the last look; 0.0 if it ran.

        Of two late looks in a row the second counts as time: else no clock would ever run out on a machine that is always late.
        """
        late_s = round(now - self._looked_at - self._every_s, 6) if self._has_looked else 0.0
        self._looked_at, self._has_looked = now, True
        if late_s < STOOD_STILL_S or self._was_late:
            self._was_late = False
            return 0.0
        self._was_late = True
        self._ended.append((now, late_s))
        return late_s

    def since(self, began: float) -> float:
        """The seconds that it stood still since `began`."""
        if not self._ended:
            return 0.0
        return sum([late_s for ended, late_s in self._ended if ended > began], 0.0)
