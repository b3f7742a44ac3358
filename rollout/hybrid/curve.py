"""Cost against quality: what share the student answers at each cut, and what that does to quality.

PGR(x), APGR and CPT as in RouteLLM: Ong et al., arXiv:2406.18665. Cost is the share of calls that the teacher answers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graduand.rollout.hybrid import HybridError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """The system at one cut."""

    cut: float
    share: float  # answered by the student
    disagreement: float  # among what the student answers (0 if nothing)
    quality: float  # mean over all requests
    pgr: float | None  # performance gap recovered; None where teacher and student are equally good


@dataclass(frozen=True, slots=True)
class Curve:
    """All points, from the student answering nothing to everything."""

    points: tuple[Point, ...]
    weak: float
    strong: float
    apgr: float | None

    def cpt(self, recovered: float) -> float | None:
        """Least share of calls to the teacher that recovers this part of the gap, such as 0.5 or 0.8."""
        enough = [1 - point.share for point in self.points if point.pgr is not None and point.pgr >= recovered]
        return min(enough, default=None)

    def at_share(self, share: float) -> Point:
        """The point whose share is nearest."""
        return min(self.points, key=lambda point: abs(point.share - share))


def curve(scores: ArrayLike, disagreed: ArrayLike, student: ArrayLike, teacher: ArrayLike) -> Curve:
    """The curve of deferring the least confident first.

    `student` and `teacher` are each answer's quality, 0 to 1: with gold labels whether it is right; without, pass
    agreement for the student and ones for the teacher. Requests with one score move together.
    """
    sample = np.asarray(scores, dtype=float)
    arrays = [np.asarray(values, dtype=float) for values in (disagreed, student, teacher)]
    if not len(sample) or any(values.shape != sample.shape for values in arrays) or np.isnan(sample).any():
        raise HybridError("a curve needs a score, an outcome and both qualities for each request, at least one")
    order = np.argsort(-sample, kind="stable")
    ranked = sample[order]
    wrong, weak_each, strong_each = (values[order] for values in arrays)
    weak, strong = float(weak_each.mean()), float(strong_each.mean())
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    wrongs = wrong.cumsum()[ends - 1]
    quality = strong + (weak_each - strong_each).cumsum()[ends - 1] / len(sample)
    gap = strong - weak
    points = [Point(float("inf"), 0.0, 0.0, strong, 1.0 if gap else None)]
    for end, bad, level in zip(ends, wrongs, quality, strict=True):
        pgr = (float(level) - weak) / gap if gap else None
        points.append(Point(float(ranked[end - 1]), int(end) / len(sample), float(bad) / int(end), float(level), pgr))
    return Curve(tuple(points), weak, strong, _area(points) if gap else None)


def _area(points: list[Point]) -> float:
    """Mean PGR over all shares, trapezoid by trapezoid."""
    shares = np.array([point.share for point in points])
    pgrs = np.array([point.pgr for point in points], dtype=float)
    return float(np.sum(np.diff(shares) * (pgrs[1:] + pgrs[:-1]) / 2))
