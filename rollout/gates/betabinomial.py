"""The Beta-binomial mixture behind gates 1, 3 and 5: evidence and confidence band as functions of two counts.

Source: Robbins (1970); Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", arXiv:1810.08240. Invariant: everything follows from the counts, so rounding never accumulates and the order
of the data does not matter.
"""

import math
from functools import lru_cache

import scipy  # loads its parts when they are first used: half a second, which most processes never need

# Below this the incomplete beta function is near underflow, and the continued fraction takes over.
TINY = 1e-280


def log_evidence(successes: int, failures: int, p0: float, a: float = 1.0, b: float = 1.0) -> float:
    """Log evidence against "every conditional mean is at most p0".

    E is the average, over p drawn from Beta(a, b) cut to (p0, 1], of the likelihood ratio of p to p0:
    E = [B(a+S, b+F) / B(a, b)] * [I_{1-p0}(b+F, a+S) / I_{1-p0}(b, a)] / (p0^S (1-p0)^F).

    >>> log_evidence(0, 0, 0.95)
    0.0
    >>> round(math.exp(log_evidence(100, 0, 0.95)), 2)
    33.26
    """
    if not successes and not failures:
        return 0.0
    tail = float(scipy.special.betainc(b + failures, a + successes, 1 - p0))
    if tail < TINY:
        return _log_evidence_far_below(successes, failures, p0, a, b)
    fit = _log_beta(a + successes, b + failures) - successes * math.log(p0) - failures * math.log1p(-p0)
    return fit + math.log(tail) - _log_prior(p0, a, b)


def _log_evidence_far_below(successes: int, failures: int, p0: float, a: float, b: float) -> float:
    # I_x(A, B) = x^A (1-x)^B h / (A B(A, B)): its powers cancel against the null likelihood, so nothing underflows.
    h = _continued_fraction(b + failures, a + successes, 1 - p0)
    return a * math.log(p0) + b * math.log1p(-p0) + math.log(h) - math.log(b + failures) - _log_prior(p0, a, b)


@lru_cache(maxsize=1024)
def _log_prior(p0: float, a: float, b: float) -> float:
    return _log_beta(a, b) + math.log(float(scipy.special.betainc(b, a, 1 - p0)))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Lentz's continued fraction of I_x(a, b), for x well below the mean; Numerical Recipes, section 6.4."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / (1 + even * d), 1 + even / c
        h *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + odd * d), 1 + odd / c
        h *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return h


def band(successes: int, failures: int, alpha: float = 0.05) -> tuple[float, float]:
    """Anytime-valid (1 - alpha) confidence band for a constant share, by inverting the evidence from either side.

    Watched for ever, the band misses the true share at any time with probability at most alpha.

    >>> [round(edge, 3) for edge in band(980, 20)]
    [0.963, 0.993]
    >>> band(0, 0)
    (0.0, 1.0)
    """
    low = _lower_edge(successes, failures, alpha / 2)
    return low, 1 - _lower_edge(failures, successes, alpha / 2)


def _lower_edge(successes: int, failures: int, alpha: float) -> float:
    # Wherever evidence exceeds e it falls steadily as p0 rises (chi-square bound on the divergence): bisecting works.
    if not successes:
        return 0.0
    need, low, high = -math.log(alpha), 0.0, successes / (successes + failures)
    while high - low > 1e-9:
        middle = (low + high) / 2
        if log_evidence(successes, failures, middle) >= need:
            low = middle
        else:
            high = middle
    return low
