"""What was decided, with which probabilities, and what it earned: the rows that off-policy evaluation rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graduand.rollout.offpolicy import CannotEvaluate

# Fewer independent units than this give an interval that is not worth its name.
FEWEST_UNITS = 30


@dataclass(frozen=True, slots=True)
class Reward:
    """What is being counted, and in which unit. `higher_is_better` is for people only."""

    name: str
    means: str
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """One request: who it was for, which arm answered and what that earned.

    `logged` are the probabilities with which each arm would have been drawn, `wanted` those of the policy in question; both
    are of the unit, whose requests all have the same arm. `guesses` are what a model says that each arm would have earned
    (for the doubly robust estimator), made without this request's reward.
    """

    unit: int
    arm: str
    reward: float
    logged: Mapping[str, float]
    wanted: Mapping[str, float]
    guesses: Mapping[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """How many requests of the wanted policy this one stands for."""
        return self.wanted.get(self.arm, 0.0) / self.logged[self.arm]


def check(decisions: Sequence[Decision]) -> None:
    """Refuse what cannot be weighed: probabilities that are none, and arms that the log could not have drawn."""
    for name in ("logged", "wanted"):
        for one in decisions:
            shares = getattr(one, name)
            if any(not 0 <= p <= 1 for p in shares.values()) or abs(math.fsum(shares.values()) - 1) > 1e-6:
                raise CannotEvaluate(
                    f"the {name} probabilities of a decision must lie in [0, 1] and sum to 1: {dict(shares)}"
                )
    strange = [one for one in decisions if not one.logged.get(one.arm, 0.0) > 0]
    if strange:
        raise CannotEvaluate(
            f"{len(strange)} of {len(decisions)} requests were answered by an arm whose logged probability is 0, such as "
            f"{strange[0].arm!r}: the log does not say how its arms were drawn"
        )
    bare: dict[str, int] = {}
    for one in decisions:
        for arm, p in one.wanted.items():
            if p > 0 and not one.logged.get(arm, 0.0) > 0:
                bare[arm] = bare.get(arm, 0) + 1
    if bare:
        arm, count = max(bare.items(), key=lambda item: item[1])
        raise CannotEvaluate(
            f"for {count} of {len(decisions)} requests the policy would take the arm {arm!r}, which the logged policy never "
            "took there: their probabilities do not cover it. A cut by confidence decides without drawing; only an arm that "
            "is drawn with a probability above 0, as in a canary step, can be weighed"
        )
    units = len({one.unit for one in decisions})
    if units < FEWEST_UNITS:
        raise CannotEvaluate(f"{units} units are too few for an interval; {FEWEST_UNITS} are needed")
    if not all(math.isfinite(one.reward) for one in decisions):
        raise CannotEvaluate("a reward must be a finite number; leave out the requests that have none")
