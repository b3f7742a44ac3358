"""Nested, seeded subsets: what a seed draws for a size holds all that it draws for a smaller one. Pure.

A row's place in the order comes from its seed and its text, so equal texts stay together and adding rows to the data
changes the order of none.
"""

import hashlib
from collections.abc import Sequence

from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
LEAST_ROWS = 8


def sizes(rows: int, shares: Sequence[float]) -> list[int]:
    """The sizes that `shares` of `rows` rows make, smallest first; those too small to learn from are left out.

    >>> sizes(200, (0.01, 0.25, 1.0, 0.5))
    [50, 100, 200]
    """
    found = sorted({round(rows * share) for share in shares})
    return [size for size in found if size >= LEAST_ROWS]


def subset(samples: Sequence[Sample], size: int, seed: int) -> list[Sample]:
    """The first `size` samples in the order of `seed`."""
    if size > len(samples):
        raise DataError(f"{size} rows were asked for, and there are {len(samples)}")
    return sorted(samples, key=lambda sample: (_key(sample.text, seed), sample.id))[:size]


def _key(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{text}".encode()).digest()
