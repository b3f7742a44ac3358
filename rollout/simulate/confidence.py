"""The confidence threshold of one simulated rollout: learnt, expired and applied as the gateway does it."""

from dataclasses import dataclass, field, replace

from graduand.rollout.hybrid import learning as hybrid
from graduand.rollout.hybrid.learning import LIFETIME_S, Learning, Terms
from graduand.rollout.hybrid.pairs import Pair
from graduand.rollout.hybrid.scorer import Scorer
from graduand.rollout.spec.spec import Step

Vector = list[float]


@dataclass(slots=True)
class Confidence:
    """What the threshold is learnt from, and what it let through. `step` is the hybrid one, None without. Each pair is
    another user's, and answers have no labels, so there is one cut for all of them."""

    step: Step | None
    adapter: str
    pairs: list[Pair] = field(default_factory=list)
    learning: Learning = field(default_factory=Learning)
    scorer: Scorer | None = None
    learnt: bool = False
    asked: int = 0
    released: int = 0
    disagreed: int = 0

    def ready(self, now: float) -> bool:
        """Whether a threshold holds; one that has expired is learnt again from fresh pairs."""
        if self.scorer is not None and now >= self.scorer.expires_at:
            self.scorer, self.learning = None, Learning(self.learning.starts)
            self.pairs.clear()
        return self.scorer is not None

    def sample(self, vector: Vector | None, at: float, *, disagreed: bool) -> None:
        """One pair of the shadow."""
        if self.step is not None and self.scorer is None and vector is not None:
            self.pairs.append(Pair(len(self.pairs), at, tuple(vector), not disagreed))

    def learn(self, now: float) -> None:
        """Look as the gateway does, whenever the schedule has come to a look."""
        if self.step is None or self.ready(now):
            return
        terms = Terms(self.step.risk, self.step.delta, self.adapter, "none", LIFETIME_S)
        while hybrid.due(self.learning, len(self.pairs)) and self.scorer is None:
            at = max(hybrid.next_at(self.learning), 1)
            before, self.learning = self.learning, hybrid.advance(self.learning, self.pairs[:at], terms, now)
            threshold, frozen = self.learning.threshold, self.learning.frozen
            if threshold is not None and frozen is not None:
                self.learnt = True
                self.scorer = replace(frozen.scorer, cuts=threshold.cuts, expires_at=threshold.expires_at)
            if self.learning == before:
                return

    def releases(self, vector: Vector | None, *, agreed: bool) -> bool:
        """Whether the student's answer goes out; counted."""
        self.asked += 1
        if vector is None or self.scorer is None or self.scorer.score(vector) < self.scorer.cuts[""]:
            return False
        self.released += 1
        self.disagreed += not agreed
        return True
