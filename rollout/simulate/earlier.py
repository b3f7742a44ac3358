"""Rules that gates once were, to be compared with: right for independent requests of one rhythm, and for nothing else."""

import math

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.gates import betabinomial

Ints = NDArray[np.int64]
# The bet that follows the data never risks more than this share of the evidence on one observation.
CAUTION = 0.75


def boundary(p0: float, alpha: float, pairs: int) -> Ints:
    """For n = 1..pairs, the most disagreements with which n pairs certify agreement above p0 by the Beta-binomial mixture of
    Robbins (1970); -1 where none do.

    >>> boundary(0.95, 0.05, 90)[[80, 88, 89]].tolist()
    [-1, 0, 0]
    """
    need, most = -math.log(alpha), -1
    out = np.empty(pairs, dtype=np.int64)
    for n in range(1, pairs + 1):
        while most + 1 <= n and betabinomial.log_evidence(n - most - 1, most + 1, p0) >= need:
            most += 1
        out[n - 1] = most
    return out
