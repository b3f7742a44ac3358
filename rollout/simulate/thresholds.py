"""Whether a learnt confidence threshold keeps its promise, against one tuned on the same pairs.

The model: scores are uniform, and an answer of score s disagrees with probability c (1 - s)^2, with c such that the
best cut that keeps the risk lets `COVERAGE` through.
"""

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.hybrid.threshold import Threshold, learn

Floats = NDArray[np.float64]
COVERAGE = 0.65


def disagreement(coverage: Floats, risk: float) -> Floats:
    """True disagreement among the `coverage` most confident."""
    return risk * (coverage / COVERAGE) ** 2


def trial(rng: np.random.Generator, pairs: int, risk: float, delta: float, cuts: int) -> tuple[float, float]:
    """True coverage of the threshold learnt from fresh pairs, and of the tuned one."""
    scores = rng.random(pairs)
    wrong = rng.random(pairs) < 3 * risk / COVERAGE**2 * (1 - scores) ** 2
    grid = [1 - (j + 1) / cuts for j in range(cuts)]
    found = learn(scores, wrong, grid, risk=risk, delta=delta, adapter="a@000000", now=0.0, lifetime_s=1.0)
    learnt = 1 - found.value if isinstance(found, Threshold) else 0.0
    kept = [1 - cut for cut in grid if (through := scores >= cut).any() and wrong[through].mean() <= risk]
    return learnt, max(kept, default=0.0)


def trials(
    rng: np.random.Generator, pairs: int, *, risk: float = 0.05, delta: float = 0.1, cuts: int = 50, runs: int = 300
) -> dict[str, float]:
    """Mean coverage, and share of runs whose true disagreement is above the risk, learnt and tuned."""
    learnt, tuned = np.array([trial(rng, pairs, risk, delta, cuts) for _ in range(runs)]).T
    return {
        "coverage": float(learnt.mean()),
        "violations": float((disagreement(learnt, risk) > risk * (1 + 1e-9)).mean()),
        "tuned violations": float((disagreement(tuned, risk) > risk * (1 + 1e-9)).mean()),
    }
