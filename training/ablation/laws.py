"""Laws of data size: error as a function of rows, fitted to a curve, with a band for what doubling would bring. Pure.

`power`: error = E + B * D**-b (Hestness et al., arXiv:1712.00409). `saturating`: error = E + B / (D0 + D**b), which bends
where few rows do little. With b and D0 given both are straight lines, so those two are tried out on a grid and the line is
solved for, E and B at least 0: the same points always give the same law. Invariant: no law from fewer than LEAST_SIZES
sizes, and no word about more than FARTHEST times the rows that were tried.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graduand.training.data.rows import DataError

LEAST_SIZES = 4
FARTHEST = 4.0
POWERS = np.linspace(0.05, 2.0, 40)
BENDS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
RESAMPLES = 200
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """The error on test rows after learning from `rows` rows drawn by `seed`."""

    rows: int
    seed: int
    error: float


@dataclass(frozen=True, slots=True)
class Law:
    """error = floor + scale / (bend + rows ** power); `miss` is the root mean square of what is left."""

    name: str
    floor: float
    scale: float
    power: float
    bend: float
    miss: float
    largest: int

    def error(self, rows: float) -> float:
        """The error expected after `rows` rows; raises DataError too far beyond what was tried."""
        if rows > FARTHEST * self.largest:
            raise DataError(
                f"{rows:.0f} rows are more than {FARTHEST:g} times the {self.largest} that were tried: nobody knows; "
                "try more rows first"
            )
        return float(self.floor + self.scale / (self.bend + rows**self.power))

    @property
    def gain(self) -> float:
        """How much the error falls when the rows are doubled."""
        return self.error(self.largest) - self.error(2 * self.largest)

    def as_json(self) -> dict[str, Any]:
        """Figures for a record."""
        named = {name: getattr(self, name) for name in ("name", "floor", "scale", "power", "bend", "miss")}
        return {**named, "gain_of_doubling": self.gain}


def fit(points: Sequence[Point]) -> tuple[Law, Law]:
    """The power law and the saturating one through the points."""
    check_sizes([point.rows for point in points])
    rows = np.array([point.rows for point in points], float)
    errors = np.array([point.error for point in points])
    return _best("power", rows, errors, (0.0,)), _best("saturating", rows, errors, BENDS)


def check_sizes(found: Sequence[int]) -> None:
    """Raise DataError unless there are enough different sizes for a law."""
    sizes = sorted(set(found))
    if len(sizes) < LEAST_SIZES:
        shown = ", ".join(map(str, sizes)) or "none"
        raise DataError(
            f"a law needs {LEAST_SIZES} sizes or more, and there are {len(sizes)} ({shown}); give more --shares"
        )


def _best(name: str, rows: Floats, errors: Floats, bends: Sequence[float]) -> Law:
    shapes = [(float(power), bend) for power in POWERS for bend in bends]
    features = np.array([1 / (bend + rows**power) for power, bend in shapes])
    floors, scales = _lines(features, errors)
    misses = np.sqrt(((floors[:, None] + scales[:, None] * features - errors) ** 2).mean(axis=1))
    best = int(misses.argmin())
    power, bend = shapes[best]
    return Law(name, float(floors[best]), float(scales[best]), power, bend, float(misses[best]), int(rows.max()))


def _lines(features: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """For each row of features the least-squares line through errors with neither part below 0."""
    means = features.mean(axis=1, keepdims=True)
    centred = features - means
    slopes = (centred * (errors - errors.mean())).sum(axis=1) / (centred**2).sum(axis=1)
    floors = errors.mean() - slopes * means[:, 0]
    through_zero = (features * errors).sum(axis=1) / (features**2).sum(axis=1)
    slopes = np.where(floors < 0, through_zero, slopes)
    floors = np.where(floors < 0, 0.0, floors)
    return np.where(slopes < 0, errors.mean(), floors), np.where(slopes < 0, 0.0, slopes)


def band(points: Sequence[Point], seed: int = 0) -> tuple[float, float]:
    """Where the gain from doubling lies, 95%: both laws, fitted anew to seeds drawn with replacement."""
    by_size: dict[int, list[Point]] = {}
    for point in points:
        by_size.setdefault(point.rows, []).append(point)
    source = random.Random(seed)
    gains = [
        law.gain
        for _ in range(RESAMPLES)
        for law in fit([source.choice(found) for found in by_size.values() for _ in found])
    ]
    low, high = np.quantile(gains, (0.025, 0.975))
    return float(low), float(high)
