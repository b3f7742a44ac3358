"""How many rows are likely needed: a small learning curve of the TF-IDF baseline, and a power law through it.

Error at D rows is modelled as E + B * D**-b with 0 <= E (Hestness et al., arXiv:1712.00409). Invariant: no promise from
fewer than four sizes, and none beyond what the fit says can be reached.
"""

import hashlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graduand.training.baselines import tfidf
from graduand.training.data.rows import DataError

SHARES = (0.125, 0.25, 0.5, 1.0)
SEEDS = (0, 1, 2)
HELD_OUT = 0.2
LEAST_ROWS = 80
FARTHEST = 1000.0  # times the rows at hand: beyond that the answer is "not by more rows"


@dataclass(frozen=True, slots=True)
class Size:
    """Mean agreement with the teacher on held-out rows after training on `rows`, over the seeds."""

    rows: int
    agreement: float
    spread: float


@dataclass(frozen=True, slots=True)
class Law:
    """error = floor + scale * rows ** -power"""

    floor: float
    scale: float
    power: float

    def error(self, rows: float) -> float:
        """The error expected after training on so many rows."""
        return float(self.floor + self.scale * rows**-self.power)

    def rows_for(self, error: float) -> float | None:
        """Rows needed to reach `error`; None if the law never does.

        >>> round(Law(0.1, 1.0, 0.5).rows_for(0.2) or 0, 3), Law(0.1, 1.0, 0.5).rows_for(0.05)
        (100.0, None)
        """
        if error <= self.floor or self.power <= 0:
            return None
        return float((self.scale / (error - self.floor)) ** (1 / self.power))


def learn(texts: Sequence[str], labels: Sequence[str]) -> list[Size]:
    """The curve: nested subsets, each seed with held-out rows of its own; equal texts are never on both sides."""
    if len(texts) < LEAST_ROWS:
        raise DataError(f"a learning curve needs {LEAST_ROWS} rows; there are {len(texts)}")
    found: dict[float, list[tuple[int, float]]] = {share: [] for share in SHARES}
    for seed in SEEDS:
        order = sorted(range(len(texts)), key=lambda place: _key(texts[place], seed))
        cut = int(len(order) * HELD_OUT)
        # Equal texts have equal keys and so lie side by side: the cut moves to where the text changes.
        while cut < len(order) - 1 and texts[order[cut]] == texts[order[cut - 1]]:
            cut += 1
        held, rest = order[:cut], order[cut:]
        for share in SHARES:
            chosen = rest[: max(2, int(len(rest) * share))]
            learned = [labels[place] for place in chosen]
            if len(set(learned)) < 2:
                continue
            said = tfidf.fit([texts[place] for place in chosen], learned).predict([texts[place] for place in held])
            right = sum(one == labels[place] for one, place in zip(said, held, strict=True))
            found[share].append((len(chosen), right / len(held)))
    return [_size(points) for points in found.values() if points]


def _key(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{text}".encode()).digest()


def _size(points: Sequence[tuple[int, float]]) -> Size:
    values = [value for _, value in points]
    return Size(round(statistics.mean(rows for rows, _ in points)), statistics.mean(values), statistics.pstdev(values))


def law(sizes: Sequence[Size]) -> Law | None:
    """The power law through the curve; None with fewer than four sizes or without any gain."""
    if len(sizes) < 4 or sizes[-1].agreement <= sizes[0].agreement:
        return None
    rows = np.array([size.rows for size in sizes], float)
    errors = np.array([max(1e-4, 1 - size.agreement) for size in sizes])
    best: tuple[float, Law] | None = None
    # With the floor given, the law is a straight line in logarithms: the floor is tried out, the line is fitted.
    for floor in np.linspace(0, float(errors.min()) * 0.98, 50):
        slope, height = np.polyfit(np.log(rows), np.log(errors - floor), 1)
        candidate = Law(float(floor), math.exp(height), float(-slope))
        miss = float(np.sum((np.log([candidate.error(each) for each in rows]) - np.log(errors)) ** 2))
        if slope < 0 and (best is None or miss < best[0]):
            best = miss, candidate
    return best[1] if best else None


def rows_needed(found: Law | None, target: float, rows: int) -> int | None:
    """Rows for the baseline to agree with the teacher at the share `target`; None if it is not in sight."""
    needed = found.rows_for(1 - target) if found else None
    return math.ceil(needed) if needed is not None and needed <= FARTHEST * rows else None
