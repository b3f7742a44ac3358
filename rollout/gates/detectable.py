"""Nothing was found: what would have been found? The smallest harm that so many observations show."""

import math

# The doubt that eight in ten samples stay within.
DOUBT = 0.84


def detectable(n: int, bound: float, log_threshold: float) -> float | None:
    """The share, above `bound`, that a harm gate has found by now with a chance of about eight in ten; None if it has not
    found even a share of 1. Observations are yes or no, `n` of them, independent.

    Log evidence grows by the divergence of the share from the bound for each observation, less what the mixture costs; its
    spread is that of the log ratio. Wald (1945).

    >>> [round(detectable(n, 0.10, math.log(200)), 3) for n in (20, 400, 10_000)]
    [0.495, 0.179, 0.116]
    >>> detectable(1, 0.10, math.log(200)) is None
    True
    """
    if n < 1 or _expected(n, 1 - 1e-9, bound) < log_threshold:
        return None
    low, high = bound, 1 - 1e-9
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _expected(n, middle, bound) >= log_threshold else (middle, high)
    return high


def _expected(n: int, share: float, bound: float) -> float:
    """Log evidence that eight in ten samples of this share have reached."""
    up, down = math.log(share / bound), math.log((1 - share) / (1 - bound))
    spread = (up - down) * math.sqrt(share * (1 - share) * n)
    mixed = 0.5 * math.log1p(n / 8)  # what a mixture of bets gives away beside the best one
    return n * (share * up + (1 - share) * down) - DOUBT * spread - mixed
