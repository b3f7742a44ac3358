"""ADWIN: has the mean of a stream of numbers changed at some time, by however much, at whatever pace?"""

import math

from graduand.monitoring.drift import State, check_promise

BUCKETS = 5
LEAST = 5
LOOK_EVERY = 32


class Adwin:
    """Adaptive window of numbers in [0, 1], kept as an exponential histogram: memory grows with its length's logarithm.

    The window is cut where two parts have means that differ by more than chance allows; an alarm is such a cut. The
    probability of a false cut at one look is at most about 32 / A, and there is one look in 32 observations. Bifet,
    Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007.

    >>> detector = Adwin(false_alarm_every=10_000)
    >>> any(detector.update(n % 10 == 0) for n in range(2000))
    False
    >>> next(n for n in range(1, 999) if detector.update(n % 2 == 0))
    48
    """

    threshold = 1.0

    def __init__(self, false_alarm_every: float) -> None:
        check_promise(false_alarm_every)
        self._delta = LOOK_EVERY / false_alarm_every
        # Row r holds (sum, sum of squares) of buckets of 2^r numbers, the newest last.
        self._rows: list[list[list[float]]] = []
        self.value = 0.0  # the largest difference of means, in units of what chance allows
        self.n = 0
        self.alarm = False

    @property
    def size(self) -> int:
        """How many of the latest numbers seem to be of one kind."""
        return sum(len(row) << rank for rank, row in enumerate(self._rows))

    @property
    def mean(self) -> float:
        """Their mean."""
        return math.fsum(bucket[0] for row in self._rows for bucket in row) / max(self.size, 1)

    def update(self, x: float) -> bool:
        """Take one number."""
        self.n += 1
        self.alarm = False
        self._insert(float(x))
        if self.n % LOOK_EVERY == 0:
            while self._cut():
                self.alarm = True
        return self.alarm

    def _insert(self, x: float) -> None:
        carried = [x, x * x]
        for row in self._rows:
            row.append(carried)
            if len(row) <= BUCKETS:
                return
            (sum_a, squares_a), (sum_b, squares_b) = row.pop(0), row.pop(0)
            carried = [sum_a + sum_b, squares_a + squares_b]
        self._rows.append([carried])

    def _cut(self) -> bool:
        """Drop the oldest bucket if some split of the window shows a change."""
        total_n = self.size
        if total_n < 2 * LEAST:
            return False
        total = math.fsum(bucket[0] for row in self._rows for bucket in row)
        squares = math.fsum(bucket[1] for row in self._rows for bucket in row)
        variance = max(squares / total_n - (total / total_n) ** 2, 0.0)
        log_term = math.log(2 * math.log(total_n) / self._delta)
        old_n, old, worst = 0, 0.0, 0.0
        for rank in range(len(self._rows) - 1, -1, -1):
            for bucket in self._rows[rank]:
                old_n, old = old_n + (1 << rank), old + bucket[0]
                new_n = total_n - old_n
                if old_n >= LEAST and new_n >= LEAST:
                    inverse = 1 / old_n + 1 / new_n
                    allowed = math.sqrt(2 * inverse * variance * log_term) + 2 / 3 * inverse * log_term
                    worst = max(worst, abs(old / old_n - (total - old) / new_n) / allowed)
        if worst < self.threshold:
            self.value = worst if not self.alarm else self.value
            return False
        self.value = worst
        self._rows[-1].pop(0)
        if not self._rows[-1]:
            self._rows.pop()
        return True

    def state(self) -> State:
        """The histogram."""
        rows = [[list(bucket) for bucket in row] for row in self._rows]
        return {"rows": rows, "value": self.value, "n": self.n, "alarm": self.alarm}

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._rows = [[list(bucket) for bucket in row] for row in state["rows"]]
        self.value, self.n, self.alarm = state["value"], state["n"], state["alarm"]
