"""How far a text is from those that a student learnt from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graduand.monitoring.drift import DriftError

K = 5
LENGTH_BINS = 8
NEAREST = 1e-3  # distances below it are alike: the text was seen

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual distance of texts of a length: at `lengths` (log characters, rising) it is `distances`."""

    lengths: tuple[float, ...]
    distances: tuple[float, ...]

    def at(self, length: int) -> float:
        """For a text of so many characters."""
        return float(np.interp(np.log1p(length), self.lengths, self.distances))


class Neighbours:
    """1 minus the mean cosine to the `k` nearest of the reference points, float32 (n, d) of length 1 (or 0).

    >>> near = Neighbours(np.eye(8, dtype=np.float32), k=2)
    >>> near.distance(np.eye(8, dtype=np.float32)[0])
    0.5
    """

    def __init__(self, references: Points, k: int = K) -> None:
        if len(references) <= k:
            raise DriftError(f"{len(references)} reference texts are too few to look for {k} neighbours among them")
        self._references = np.ascontiguousarray(references)
        self._k = k

    def distance(self, point: Points) -> float:
        """Between 0 (seen just so) and about 1 (like nothing seen), float32 (d,) in."""
        likeness = self._references @ point
        nearest = np.partition(likeness, len(likeness) - self._k)[-self._k :]
        # Sorted, so that they are always added in the same order.
        return 1.0 - float(np.sort(nearest).mean(dtype=np.float64))

    def usual(self, lengths: NDArray[np.int64]) -> Usual:
        """The median distance of the references to each other, by their lengths in characters (n,).

        A long text is the mean of many words, so it lies nearer to everything: compared with all lengths, novel long
        texts would hide behind usual short ones.
        """
        likeness = self._references @ self._references.T
        np.fill_diagonal(likeness, -np.inf)
        nearest = np.partition(likeness, -self._k, axis=1)[:, -self._k :]
        found = 1.0 - nearest.mean(axis=1, dtype=np.float64)
        order = np.argsort(lengths, kind="stable")
        parts = [part for part in np.array_split(order, LENGTH_BINS) if len(part)]
        curve = {float(np.median(np.log1p(lengths[part]))): float(np.median(found[part])) for part in parts}
        return Usual(tuple(curve), tuple(max(distance, NEAREST) for distance in curve.values()))


def scores(near: Neighbours, usual: Usual, point: Points, length: int) -> tuple[float, float]:
    """What novelty looks at: the distance, and the distance in units of what is usual for a text of that length."""
    distance = near.distance(point)
    return distance, distance / usual.at(length)
