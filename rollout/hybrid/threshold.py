"""From which score on may the student answer alone? A proved policy: a cut for each label, what it rests on and how long
it holds.

Guarantee: with probability at least 1 - delta over everything that was looked at, disagreement with the teacher among what
the policy releases is at most `risk`, of all and of each class that was asked for: the mean over units' days, so far.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from graduand.rollout.hybrid.proof import ClassRisk


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cuts with their guarantee."""

    cuts: Mapping[str, float]  # by the student's label: it answers at scores of at least this; {"": cut} for all
    risk: float
    delta: float
    policies: tuple[int | None, ...]  # of each family the place in its order of proof; a later one releases more
    coverage: float  # share of the pairs that it lets through
    classes: tuple[ClassRisk, ...]  # the whole first
    adapter: str
    learned_at: float
    expires_at: float

    @property
    def pairs(self) -> int:
        """Proving pairs that it let through."""
        return self.classes[0].pairs

    @property
    def disagreed(self) -> int:
        """Of these, how many disagreed."""
        return self.classes[0].disagreed

    def why_not(self, adapter: str, now: float) -> str:
        """Why the guarantee does not hold here and now; empty if it does."""
        if adapter != self.adapter:
            return f"learned for {self.adapter}, not for {adapter}"
        return "" if now < self.expires_at else "expired; learn it again from fresh pairs"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self),
            "cuts": dict(self.cuts),
            "policies": list(self.policies),
            "classes": [asdict(one) for one in self.classes],
        }


def threshold_from_dict(data: Mapping[str, Any]) -> Threshold:
    """The threshold that `Threshold.to_dict` described."""
    parts = {"policies": tuple(data["policies"]), "classes": tuple(ClassRisk(**one) for one in data["classes"])}
    return Threshold(**{**data, **parts})
