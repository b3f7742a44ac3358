"""Promotion is looked at at the ends of whole cycles: a day by default, or a week.

Traffic has a rhythm, and a student that is better at night is "proved" every night. E with constant bets bounds the mean of
what has been seen so far, and that is the mean of the days only when whole days have been seen. So what a cycle brings
waits until it has ended, and counts only if the rollout was not held in it. Where the traffic has no rhythm (`none`), each
observation counts at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import scipy  # loads its parts when they are first used: half a second, which most processes never need

from graduand.rollout.gates.constant_bets import ConstantBets, stored

Cycle = Literal["24h", "7d", "none"]

SECONDS: dict[Cycle, float] = {"24h": 86400.0, "7d": 7 * 86400.0, "none": 0.0}
# One cycle cannot tell a rhythm from a day.
LEAST = 2
# A rollout's t_max must leave room for so many.
ROOM = 3
# Cycles that differ by chance hold one step in a hundred.
DIFFER_ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Seen:
    """One whole cycle of a gate: when it began and ended, the mean of its observations, and how exact that is."""

    began: float
    ended: float
    n: int
    mean: float
    error: float


@dataclass(slots=True)
class Proof:
    """A gate whose evidence is taken cycle by cycle; with the cycle `none`, observation by observation.

    >>> proof = Proof(ConstantBets(0.9))
    >>> for _ in range(100):
    ...     proof.update(1.0, whole=True)
    >>> proof.log_e, proof.waiting.n
    (0.0, 100)
    >>> proof.close(0.0, 86400.0)
    >>> proof.log_e > 3
    True
    """

    gate: ConstantBets
    waiting: ConstantBets = field(default=None)  # type: ignore[assignment]  # the cycle that runs
    cycles: list[Seen] = field(default_factory=list)
    last_at: float | None = None

    def __post_init__(self) -> None:
        self.gate = stored(self.gate)
        self.waiting = _fresh(self.gate) if self.waiting is None else stored(self.waiting)
        self.cycles = [one if isinstance(one, Seen) else Seen(*one) for one in self.cycles]

    def update(self, x: float, p: float = 1.0, *, whole: bool) -> None:
        """Count one observation drawn with probability `p`; with `whole` it waits for the end of its cycle.

        The first says what `p_min` is. One that was drawn more seldom counts as if drawn with that: less than its weight.
        """
        if not self.gate.n and not self.waiting.n:
            self.gate.p_min = self.waiting.p_min = p
        (self.waiting if whole else self.gate).update(x, max(p, self.gate.p_min))

    def close(self, began: float, ended: float) -> None:
        """A cycle has ended without a hold."""
        seen = self.waiting
        self.cycles.append(Seen(began, ended, seen.n, seen.mean, seen.error if seen.n > 1 else 0.0))
        self.gate.add(seen)
        self.waiting = _fresh(self.gate)

    def spoil(self) -> None:
        """The cycle that runs had a hold in it: it does not count."""
        self.waiting = _fresh(self.gate)

    @property
    def so_far(self) -> ConstantBets:
        """What has been seen, the cycle that runs too: for people, never for a decision."""
        both = _fresh(self.gate)
        both.add(self.gate)
        both.add(self.waiting)
        return both

    @property
    def log_e(self) -> float:
        """Log evidence at the last look that was due."""
        return self.gate.log_e

    @property
    def n(self) -> int:
        """Observations of whole cycles."""
        return self.gate.n

    def to_dict(self) -> dict[str, Any]:
        """Plain data, bit-identical through JSON."""
        cycles = [[one.began, one.ended, one.n, one.mean, one.error] for one in self.cycles]
        return {
            "gate": asdict(self.gate), "waiting": asdict(self.waiting), "cycles": cycles, "last_at": self.last_at,
        }  # fmt: skip


def proof_from_dict(data: Mapping[str, Any]) -> Proof:
    """The proof that `Proof.to_dict` described."""
    return Proof(**data)


def differ(cycles: list[Seen], of: int = 1) -> bool:
    """Whether the cycles' means differ by more than the sampling of their observations explains.

    Cochran's test of homogeneity; the k-th cycle's look has 1 / (k (k - 1)) of DIFFER_ALPHA, and each `of` several gates
    an equal part, so that all looks together have it once.
    A cycle whose observations are all alike has the error of one that differed once. Cochran, "The combination of
    estimates from different experiments", Biometrics 10 (1954).

    >>> differ([Seen(0, 1, 10_000, 0.95, 0.002), Seen(1, 2, 10_000, 0.951, 0.002)])
    False
    >>> differ([Seen(0, 1, 10_000, 0.95, 0.002), Seen(1, 2, 10_000, 0.97, 0.002)])
    True
    """
    known = [one for one in cycles if one.n > 1]
    if len(known) < LEAST:
        return False
    weights = [1 / max(one.error, 1 / one.n) ** 2 for one in known]
    mean = sum(weight * one.mean for weight, one in zip(weights, known, strict=True)) / sum(weights)
    spread = sum(weight * (one.mean - mean) ** 2 for weight, one in zip(weights, known, strict=True))
    k = len(known)
    return float(scipy.special.chdtrc(k - 1, spread)) < DIFFER_ALPHA / (of * k * (k - 1))


def above(means: Sequence[float], p0: float, alpha: float) -> bool:
    """Whether the cycles' means, taken as observations themselves, lie above `p0`: Student's lower bound of level 1 - alpha.

    E is about the cycles that were seen. Where each has a true mean of its own, two good ones in a row say little about the
    next, however many requests they have. Student, "The probable error of a mean", Biometrika 6 (1908).

    >>> above([0.97, 0.971], 0.95, 0.05), above([0.97, 0.955], 0.95, 0.05), above([0.97], 0.95, 0.05)
    (True, False, False)
    """
    k = len(means)
    if k < LEAST:
        return False
    mean = sum(means) / k
    spread = math.sqrt(sum((one - mean) ** 2 for one in means) / (k - 1) / k)
    return mean - float(scipy.special.stdtrit(k - 1, 1 - alpha)) * spread > p0


def room_s(cycle: Cycle) -> float:
    """The least `t_max` that leaves a step a fair chance.

    >>> room_s("24h") / 86400, room_s("none")
    (3.0, 0.0)
    """
    return ROOM * SECONDS[cycle]


def _fresh(gate: ConstantBets) -> ConstantBets:
    return ConstantBets(gate.p0, gate.harm, gate.p_min)
