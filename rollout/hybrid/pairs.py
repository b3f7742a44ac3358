"""Pairs that teach a confidence threshold, and the observations that a proof makes of them.

Invariants: one person's pairs are never both fitted on and proved with, so `half` splits units, not pairs. And one
person's pairs of a day are one observation, their mean, for pairs of one session are not independent.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import mmh3
import numpy as np
from numpy.typing import NDArray

from graduand.rollout.hybrid import HybridError

DAY_S = 86400.0

Half = Literal["fit", "prove"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request that student and teacher both answered, with the probability with which it was drawn.

    `floor` is the smallest such probability of its time: in a shadow everything is drawn alike, on a hybrid route what was
    released is drawn for an audit and what was deferred is there always. `student` and `teacher` are the labels that they
    gave; empty where the task has none.
    """

    unit: int
    at: float  # seconds since 1970
    vector: tuple[float, ...]  # confidence features of the student's answer
    agreed: bool
    student: str = ""
    teacher: str = ""
    probability: float = 1.0
    floor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.probability <= 1:
            raise HybridError(
                f"a pair's probability must lie between its floor and 1; they are {self.probability!r} and {self.floor!r}"
            )

    @property
    def weight(self) -> float:
        """What it counts beside the others of its time, at most 1: the floor over its own probability."""
        return self.floor / self.probability

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `pair_from_dict`."""
        return asdict(self)


def pair_from_dict(data: dict[str, Any]) -> Pair:
    """The pair that `Pair.to_dict` described."""
    return Pair(**{**data, "vector": tuple(data["vector"])})


def half(unit: int) -> Half:
    """Which half a unit's pairs belong to, for ever.

    >>> {half(unit) for unit in range(9)} == {"fit", "prove"}
    True
    """
    return "fit" if mmh3.hash(f"half:{unit}", signed=False) % 2 else "prove"


def cells(pairs: Sequence[Pair], looks: Sequence[int]) -> NDArray[np.int64]:
    """For each pair the number of the observation that it is part of: unit, day, weight, and which look was next.

    `looks` are the numbers of pairs after which somebody looked: what a look has seen is never changed by what comes later.

    >>> day = [Pair(7, at, (), True) for at in (10.0, 20.0, 90_000.0)]
    >>> cells(day, [1]).tolist(), cells(day, []).tolist()
    ([0, 1, 2], [0, 0, 1])
    """
    numbers: dict[tuple[int, int, float, int], int] = {}
    seen = np.searchsorted(np.asarray(looks, dtype=np.int64), np.arange(len(pairs)), side="right").tolist()
    keys = [(one.unit, int(one.at // DAY_S), one.weight, look) for one, look in zip(pairs, seen, strict=True)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
