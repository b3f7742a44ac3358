"""Whether a learnt confidence threshold keeps its promise, against one tuned on the same pairs.

The model: scores are uniform, and an answer of score s disagrees with probability c (1 - s)^2, with c such that the
best cut that keeps the risk lets `COVERAGE` through.
"""

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.hybrid.pairs import Pair
from graduand.rollout.hybrid.proof import prove

Floats = NDArray[np.float64]
COVERAGE = 0.65


def disagreement(coverage: Floats, risk: float) -> Floats:
    """True disagreement among the `coverage` most confident."""
    return risk * (coverage / COVERAGE) ** 2


def trial(rng: np.random.Generator, pairs: int, risk: float, delta: float, cuts: int) -> tuple[float, float]:
    """True coverage of the threshold learnt from fresh pairs, looked at ten times, and of one tuned on them."""
    scores = rng.random(pairs)
    wrong = rng.random(pairs) < 3 * risk / COVERAGE**2 * (1 - scores) ** 2
    grid = [1 - (j + 1) / cuts for j in range(cuts)]
    given = [Pair(unit, 0.0, (), not bad) for unit, bad in enumerate(wrong.tolist())]
    looks = [pairs * part // 10 for part in range(1, 11)]
    # The proof begins at a cut that releases a fifth: behind one that fails, nothing is looked at.
    order = [(cut,) for cut in grid if cut <= 0.8]
    found = prove(given, scores, order, ("",), looks, risk=risk, delta=delta, sides=frozenset())
    learnt = 1 - order[found.policy][0] if found.policy is not None else 0.0
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
