"""The account of alpha of a route: however many students are tried on it, in all they have one alpha.

Each candidate that begins with fresh evidence draws once, at its start. By default the k-th gets 6 / (pi^2 k^2) of the
route's alpha, which sums to 1: the chance that *any* student below the bound is ever promoted stays below alpha. With
`discoveries`, e-LOND bounds the expected *share* of wrong ones among those promoted instead. Xu and Ramdas, "Online multiple
testing with e-values", AISTATS 2024, arXiv:2311.06412.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graduand.rollout.gates import GateError

Promise = Literal["any", "share"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one candidate got: its number on the route, and its share of the route's alpha."""

    number: int
    share: float
    promise: Promise = "any"

    @property
    def log_more(self) -> float:
        """What the logarithm of the evidence asked for rises by."""
        return -math.log(self.share)


@dataclass(frozen=True, slots=True)
class Account:
    """A route's account before a candidate draws from it: of each earlier one, in order, whether it was certified."""

    promoted: tuple[bool, ...]
    promise: Promise = "any"

    @staticmethod
    def of(data: Mapping[str, Any]) -> "Account":
        """The account that `to_dict` described."""
        return Account(tuple(data["promoted"]), data["promise"])

    @property
    def drawn(self) -> Drawn:
        """What the candidate gets."""
        return draw(self.promoted, self.promise)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with what the candidate got."""
        drawn = self.drawn
        return {
            "promise": self.promise, "promoted": list(self.promoted), "number": drawn.number, "share": drawn.share,
        }  # fmt: skip


def weight(number: int) -> float:
    """The share of the `number`-th candidate, from 1 on.

    >>> round(weight(1), 4), round(weight(2), 4), round(sum(weight(k) for k in range(1, 100_000)), 4)
    (0.6079, 0.152, 1.0)
    """
    if number < 1:
        raise GateError(f"candidates are numbered from 1; this is {number!r}")
    return 6 / (math.pi * number) ** 2


def draw(promoted: Sequence[bool], promise: Promise = "any") -> Drawn:
    """What the next candidate gets; `promoted` says of each earlier one, in order, whether it was certified.

    e-LOND multiplies the weight by the number of certified ones, and one.

    >>> draw([]).share == draw([], "share").share == weight(1)
    True
    >>> draw([True, False]).share == weight(3), draw([True, False], "share").share == 2 * weight(3)
    (True, True)
    """
    number = len(promoted) + 1
    discoveries = sum(promoted) if promise == "share" else 0
    return Drawn(number, min(1.0, weight(number) * (discoveries + 1)), promise)
