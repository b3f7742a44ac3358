"""A threshold from shadow pairs: fitted on one half, proved on the other.

Looking again with more pairs spends from the same delta: try number k has delta / 2^(k+1), so all tries together break
their promise with probability at most delta.
"""

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from graduand.rollout.hybrid.calibration import fit_logistic, to_dict
from graduand.rollout.hybrid.scorer import Scorer
from graduand.rollout.hybrid.threshold import NoThreshold, candidates, learn

# Pairs at which the first try is made; each further try waits for twice as many.
FIRST_TRY = 200
MOST_TRIES = 7
# Traffic drifts: after this a threshold is learnt again from fresh pairs, and until then the teacher answers.
LIFETIME_S = 7 * 86400.0

T = TypeVar("T")


def pairs_for(tries: int) -> int:
    """Pairs that the next try needs, after so many.

    >>> pairs_for(0), pairs_for(2)
    (200, 800)
    """
    return FIRST_TRY << tries


def halves(samples: Sequence[T]) -> tuple[list[T], list[T]]:
    """Two halves by lot, always the same for as many samples: one to fit on, one to judge with.

    Every other one would not do: traffic has rhythms (a job that sends pairs of prompts), and then the halves differ.
    """
    order = random.Random(len(samples)).sample(range(len(samples)), len(samples))
    middle = (len(samples) + 1) // 2
    return [samples[one] for one in order[:middle]], [samples[one] for one in order[middle:]]


def learn_threshold(
    samples: Sequence[tuple[list[float], bool]], *, tries: int, risk: float, delta: float, adapter: str, now: float,
    lifetime_s: float,
) -> dict[str, Any] | NoThreshold:  # fmt: skip
    """The stored form of a proved threshold, or why there is none. `samples`: features, and whether they disagreed."""
    fitting, proving = halves(samples)
    if len(fitting) < 2 or not proving:
        return NoThreshold("no pairs with log probabilities yet")
    fit = fit_logistic([vector for vector, _ in fitting], [not wrong for _, wrong in fitting])
    scorer = Scorer(fit.bias, fit.weights, fit.means, fit.scales, cut=1.0, expires_at=0.0)
    cuts = candidates([scorer.score(vector) for vector, _ in fitting])
    found = learn(
        [scorer.score(vector) for vector, _ in proving], [wrong for _, wrong in proving], cuts,
        risk=risk, delta=delta / 2 ** (tries + 1), adapter=adapter, now=now, lifetime_s=lifetime_s,
    )  # fmt: skip
    if isinstance(found, NoThreshold):
        return found
    return {"threshold": found.to_dict(), "calibration": to_dict(fit)}
