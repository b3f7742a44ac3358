"""Two models on the same rows: is one better, and what difference could be seen at all? Pure.

McNemar (1947), the exact form: of the rows on which exactly one of the two is right, either is as likely under no
difference. Connor (1987) for the smallest difference that a paired test finds. Rows on which both are right or both
wrong say nothing about the difference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Z_TWO_SIDED_95 = 1.959963984540054
Z_POWER_80 = 0.8416212335729143


@dataclass(frozen=True, slots=True)
class Paired:
    """`first_only` and `second_only` rows are right by one of the two; `p_value` is two-sided and exact."""

    rows: int
    first_only: int
    second_only: int
    p_value: float

    @property
    def difference(self) -> float:
        """The first's accuracy less the second's."""
        return (self.first_only - self.second_only) / self.rows

    @property
    def detectable(self) -> float:
        """The least difference that as many rows, that often split, show with a power of 80%."""
        return detectable(self.rows, (self.first_only + self.second_only) / self.rows)

    def as_json(self) -> dict[str, Any]:
        """Figures for a record."""
        named = {name: getattr(self, name) for name in ("rows", "first_only", "second_only", "p_value")}
        return {**named, "difference": self.difference, "detectable": self.detectable}


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare two models by which of the same rows each had right.

    >>> found = mcnemar([True] * 9 + [False] * 3, [True] * 2 + [False] * 9 + [True])
    >>> found.first_only, found.second_only, round(found.p_value, 4)
    (7, 1, 0.0703)
    """
    if not first or len(first) != len(second):
        raise ValueError("a paired test needs rows, and the same ones of both")
    pairs = list(zip(first, second, strict=True))
    one, other = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    return Paired(len(pairs), one, other, _exact(one, other))


def _exact(one: int, other: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(one, one + other, 0.5).pvalue) if one + other else 1.0


def detectable(rows: int, split: float) -> float:
    """The least paired difference in accuracy that `rows` rows show at 5% with a power of 80%, if the share `split` of them
    is right by one model only.

    >>> round(detectable(400, 0.1), 3)
    0.044
    """
    if rows <= 0 or split <= 0:
        return 1.0 / max(rows, 1)
    return min(1.0, (Z_TWO_SIDED_95 + Z_POWER_80) * math.sqrt(split / rows))
