"""The confidence threshold of one simulated rollout: learnt, expired and applied as the gateway does it."""

from dataclasses import dataclass, field

from graduand.rollout.hybrid.learning import LIFETIME_S, MOST_TRIES, learn_threshold, pairs_for
from graduand.rollout.hybrid.scorer import Scorer, scorer_from_dict
from graduand.rollout.hybrid.threshold import NoThreshold
from graduand.rollout.spec.spec import Step

Vector = list[float]


@dataclass(slots=True)
class Confidence:
    """What the threshold is learnt from, and what it let through. `step` is the hybrid one, None without."""

    step: Step | None
    adapter: str
    samples: list[tuple[Vector, bool]] = field(default_factory=list)
    tries: int = 0
    scorer: Scorer | None = None
    learnt: bool = False
    asked: int = 0
    released: int = 0
    disagreed: int = 0

    def ready(self, now: float) -> bool:
        """Whether a threshold holds; one that has expired is learnt again from fresh pairs."""
        if self.scorer is not None and now >= self.scorer.expires_at:
            self.scorer, self.tries = None, 0
            self.samples.clear()
        return self.scorer is not None

    def sample(self, vector: Vector | None, *, disagreed: bool) -> None:
        """One pair of the shadow."""
        if self.step is not None and self.scorer is None and vector is not None:
            self.samples.append((vector, disagreed))

    def learn(self, now: float) -> None:
        """Try as the gateway does: at 200 pairs, and at twice as many each time."""
        if self.step is None or self.ready(now) or self.tries >= MOST_TRIES:
            return
        need = pairs_for(self.tries)
        if len(self.samples) < need:
            return
        found = learn_threshold(
            self.samples[:need], tries=self.tries, risk=self.step.risk, delta=self.step.delta, adapter=self.adapter,
            now=now, lifetime_s=LIFETIME_S,
        )  # fmt: skip
        self.tries += 1
        if not isinstance(found, NoThreshold):
            self.scorer, self.learnt = scorer_from_dict(found), True

    def releases(self, vector: Vector | None, *, agreed: bool) -> bool:
        """Whether the student's answer goes out; counted."""
        self.asked += 1
        if vector is None or self.scorer is None or self.scorer.score(vector) < self.scorer.cut:
            return False
        self.released += 1
        self.disagreed += not agreed
        return True
