"""From features to a score: the fitted probability that the student agrees with the teacher.

Fitted on one split and calibrated (see `threshold`) on another; the fit may be poor without harming the guarantee.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are first used: half a second, which most processes never need
from numpy.typing import ArrayLike, NDArray

from graduand.rollout.hybrid import HybridError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Logistic:
    """P(agree) = sigmoid(bias + sum(weights * (features - means) / scales))."""

    bias: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def __call__(self, features: ArrayLike) -> Floats:
        """Scores of rows of features."""
        rows = np.atleast_2d(np.asarray(features, dtype=float))
        scaled = (rows - np.array(self.means)) / np.array(self.scales)
        return np.asarray(scipy.special.expit(self.bias + scaled @ np.array(self.weights)), dtype=float)


def fit_logistic(features: Sequence[Sequence[float]] | Floats, agreed: ArrayLike, ridge: float = 1.0) -> Logistic:
    """Logistic regression with a little ridge, so that separable data have an answer too. Newton's method.

    >>> fit = fit_logistic([[0.1], [0.5], [1.0], [3.0], [4.0], [5.0]], [0, 1, 0, 1, 1, 1])
    >>> bool(fit([[4.0]])[0] > fit([[0.2]])[0])
    True
    """
    rows, labels = np.asarray(features, dtype=float), np.asarray(agreed, dtype=float)
    _check(rows, labels)
    means, scales = rows.mean(0), rows.std(0)
    scales[scales == 0] = 1.0
    design = np.column_stack([np.ones(len(rows)), (rows - means) / scales])
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 1e-6  # the bias is free, but for a single class it needs an end
    weights = np.zeros(design.shape[1])
    for _ in range(100):
        chance = scipy.special.expit(design @ weights)
        slope = design.T @ (labels - chance) - penalty * weights
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    floats = [tuple(float(value) for value in values) for values in (weights[1:], means, scales)]
    return Logistic(float(weights[0]), *floats)


def _check(rows: Floats, labels: Floats) -> None:
    if rows.ndim != 2 or len(rows) != len(labels) or len(rows) < 2:
        raise HybridError(f"a fit needs as many labels as rows, two or more; got {rows.shape} and {labels.shape}")
    if not np.isfinite(rows).all():
        raise HybridError("a fit needs finite features; drop the pairs without log probabilities first")
