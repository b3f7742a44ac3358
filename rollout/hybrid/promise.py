"""Does a cut that was proved still keep its promise? Watched on audits of what the student answered alone.

Calibration rests on pairs of the past; what is served after it may be worse. So each audit of a released answer is a bet
against "agreement never falls below 1 - risk", of all and of each class, and when one of them is won the cut is withdrawn.
After Xu, Karampatziakis and Mineiro, "Active, anytime-valid risk controlling prediction sets", arXiv:2406.10490.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graduand.rollout.gates.drop import Drop


@dataclass(slots=True)
class Promise:
    """The watch over one proved cut: of everything released, and of each class that was promised its own.

    The whole has half of `delta`, the classes share the other half in equal parts; so a cut that keeps its promise is
    withdrawn with probability at most `delta`.

    >>> promise = Promise(0.05, 0.1, ["teacher: 1"])
    >>> for n in range(300):
    ...     promise.update(n % 20 != 0, ["teacher: 1"] if n % 4 == 0 else [])
    >>> promise.broken()
    'teacher: 1'
    """

    risk: float
    delta: float
    classes: list[str]
    drops: dict[str, Drop] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.drops = {name: self.drops.get(name) or Drop(1 - self.risk) for name in ["", *self.classes]}

    def update(self, agreed: bool, of: list[str]) -> None:
        """Learn from the audit of a released answer that belongs to the classes `of`; one a unit's session."""
        for name in ["", *of]:
            if name in self.drops:
                self.drops[name].update(float(agreed))

    def broken(self) -> str | None:
        """The class whose promise does not hold; "" is the whole; None while all hold."""
        for name, drop in self.drops.items():
            share = self.delta / 2 / (len(self.classes) if name else 1) if self.classes else self.delta
            if drop.log_e >= -math.log(share):
                return name
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `promise_from_dict`."""
        drops = {name: asdict(drop) for name, drop in self.drops.items()}
        return {"risk": self.risk, "delta": self.delta, "classes": list(self.classes), "drops": drops}


def promise_from_dict(data: Mapping[str, Any]) -> Promise:
    """The watch that `Promise.to_dict` described."""
    drops = {name: Drop(**drop) for name, drop in data["drops"].items()}
    return Promise(data["risk"], data["delta"], list(data["classes"]), drops)
