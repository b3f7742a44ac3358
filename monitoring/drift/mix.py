"""Mix shift: are the topics of late in another proportion than in the training data, though none of them is new?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graduand.monitoring.drift import DriftError, State, check_promise
from graduand.monitoring.drift.sessions import effective

BLOCK = 50
BLOCKS = 4
WINDOW = BLOCK * BLOCKS
DIRECTIONS = 16
OUTER, INNER = 400, 50
LEAST_T2 = 1e-6

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Whitening:
    """From a point (d,) to `directions @ (point - mean)` (k,), whose coordinates have variance 1 in the training data."""

    mean: Matrix
    directions: Matrix

    def apply(self, points: NDArray[np.float32]) -> Matrix:
        """Whitened points, (..., d) to (..., k)."""
        return np.asarray((points.astype(np.float64) - self.mean) @ self.directions.T)


def whitening(points: NDArray[np.float32], most: int = DIRECTIONS) -> Whitening:
    """The main directions of the reference points (n, d), scaled."""
    if len(points) < 2 * most:
        raise DriftError(f"{len(points)} reference texts are too few for {most} directions; give at least {2 * most}")
    mean = points.mean(axis=0, dtype=np.float64)
    _, spread, directions = np.linalg.svd(points.astype(np.float64) - mean, full_matrices=False)
    kept = min(most, int((spread > spread[0] * 1e-6).sum()))
    scale = spread[:kept] / np.sqrt(len(points) - 1)
    return Whitening(mean, directions[:kept] / scale[:, None])


def null_windows(whitened: Matrix, rng: np.random.Generator) -> Matrix:
    """T^2 of windows without a change, sorted, bootstrapped from held-out points (n, k).

    Each outer draw stands for another calibration set that could have come, each inner one for a window of its traffic:
    so the threshold also covers what a small calibration set does not know about the mean.
    """
    found = []
    for _ in range(OUTER):
        drawn = whitened[rng.integers(len(whitened), size=len(whitened))]
        windows = drawn[rng.integers(len(drawn), size=(INNER, WINDOW))]
        found.append(WINDOW * (windows.mean(axis=1) ** 2).sum(axis=1))
    return np.sort(np.concatenate(found))


class MixShift:
    """T^2 of the whitened mean of the last 200 requests, looked at every 50; `nulls` are sorted `null_windows`.

    The threshold is exceeded by a window without change with probability 50 / A, so there is at most about one false
    alarm per A requests while requests of different people are independent and like the held-out rows. A window in which
    few people asked much counts for as few requests (`sessions.effective`). An hour of the day whose topics are its own is
    a shift to this detector. Hotelling (1947); whitening as in Rabanser,
    Guennemann, Lipton, "Failing Loudly", arXiv:1810.11953.

    >>> rng = np.random.default_rng(1)
    >>> made = whitening(rng.normal(size=(1000, 20)).astype(np.float32))
    >>> nulls = null_windows(made.apply(rng.normal(size=(1000, 20)).astype(np.float32)), rng)
    >>> detector = MixShift(made, nulls, false_alarm_every=10_000)
    >>> any(detector.update(point) for point in rng.normal(size=(2000, 20)).astype(np.float32))
    False
    >>> next(n for n in range(1, 500) if detector.update(rng.normal(0.5, 1, size=20).astype(np.float32)))
    50
    """

    def __init__(self, whitening: Whitening, nulls: Sequence[float] | Matrix, false_alarm_every: float) -> None:
        check_promise(false_alarm_every)
        self._whitening = whitening
        rank = int(np.ceil(len(nulls) * (1 - BLOCK / false_alarm_every)))
        # Where most windows were of one prompt alone, theirs is 0: no threshold, what equals it would be an alarm.
        self.threshold = max(float(nulls[min(rank, len(nulls) - 1)]), LEAST_T2)
        self._blocks: list[list[float]] = []
        self._sum = np.zeros(len(whitening.directions))
        self._count = 0
        self._units: list[list[str]] = [[]]  # who asked, by block; the open one last
        self.value = 0.0
        self.n = 0
        self.alarm = False

    def update(self, x: NDArray[np.float32], unit: str = "") -> bool:
        """Take one request's point (d,); `unit` is who asked, if that is known."""
        self.n += 1
        self.alarm = False
        self._sum = self._sum + self._whitening.apply(x)
        self._count += 1
        if unit:
            self._units[-1].append(unit)
        if self._count == BLOCK:
            self._blocks = [*self._blocks[1 - BLOCKS :], self._sum.tolist()]
            self._sum, self._count = np.zeros_like(self._sum), 0
            self._units = self._units[-BLOCKS:]
            self._look()
            self._units.append([])
        return self.alarm

    def _look(self) -> None:
        if len(self._blocks) < BLOCKS:
            return
        sizes = list(Counter(unit for block in self._units for unit in block).values())
        told = effective([*sizes, *[1] * (WINDOW - sum(sizes))])
        mean = np.sum(self._blocks, axis=0) / WINDOW
        self.value = float(told * (mean @ mean))
        self.alarm = self.value >= self.threshold
        if self.alarm:
            self._blocks, self._units = [], []

    def state(self) -> State:
        """The window's sums."""
        return {
            "blocks": [list(block) for block in self._blocks], "sum": self._sum.tolist(), "count": self._count,
            "value": self.value, "n": self.n, "alarm": self.alarm, "units": [list(block) for block in self._units],
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._blocks, self._sum = [list(block) for block in state["blocks"]], np.array(state["sum"])
        self._count, self.value, self.n, self.alarm = state["count"], state["value"], state["n"], state["alarm"]
        self._units = [list(block) for block in state["units"]]
