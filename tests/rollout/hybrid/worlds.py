"""Made-up traffic for confidence thresholds: who asks, how sure the student is, and where it is wrong."""

from collections.abc import Callable

import numpy as np

from graduand.rollout.hybrid.learning import Learning, Terms, advance, due, next_at
from graduand.rollout.hybrid.pairs import Pair

TERMS = Terms(0.05, 0.1, "s@3f9c1a", "none", lifetime_s=50.0)


def sure_or_not(rng: np.random.Generator, count: int, first: int = 0) -> list[Pair]:
    """One pair a user; disagreement is likely where the margin is small."""
    margins = rng.uniform(0, 6, count)
    wrong = rng.random(count) < np.maximum(0.0, 0.6 - margins / 1.5)
    return [
        Pair(first + at, float(at), (m, m, m, -0.1), not bad)
        for at, (m, bad) in enumerate(zip(margins.tolist(), wrong.tolist(), strict=True))
    ]


def learnt(pairs: list[Pair], terms: Terms = TERMS, now: float = 100.0, start: Learning | None = None) -> Learning:
    """Everything that a schedule of looks learns from these pairs."""
    known = start or Learning()
    while due(known, len(pairs)):
        at = next_at(known)
        before, known = known, advance(known, pairs[:at], terms, now)
        if known == before:
            break
    return known


def shares(runs: int, of: Callable[[np.random.Generator], bool]) -> float:
    """In which share of seeded runs something happens."""
    return float(np.mean([of(np.random.default_rng(seed)) for seed in range(runs)]))
