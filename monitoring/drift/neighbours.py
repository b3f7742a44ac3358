"""How far a text is from those that a student learnt from."""

import numpy as np
from numpy.typing import NDArray

from monitoring.drift import DriftError

K = 5


class Neighbours:
    """1 minus the mean cosine to the `k` nearest of the reference points, float32 (n, d) of length 1 (or 0).

    >>> near = Neighbours(np.eye(8, dtype=np.float32), k=2)
    >>> near.distance(np.eye(8, dtype=np.float32)[0])
    0.5
    """

    def __init__(self, references: NDArray[np.float32], k: int = K) -> None:
        if len(references) < k:
            raise DriftError(f"{len(references)} reference texts are fewer than the {k} neighbours that are looked for")
        self._references = np.ascontiguousarray(references)
        self._k = k

    def distance(self, point: NDArray[np.float32]) -> float:
        """Between 0 (seen just so) and about 1 (like nothing seen), float32 (d,) in."""
        likeness = self._references @ point
        nearest = np.partition(likeness, len(likeness) - self._k)[-self._k :]
        # Summed in order: what is near is near in the same bits on every machine that computes the same products.
        return 1.0 - float(np.sort(nearest).mean(dtype=np.float64))
