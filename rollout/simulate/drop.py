"""How soon the watch after promotion sees a drop."""

import math

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.gates.watch import MULTIPLES

Floats = NDArray[np.float64]


def delays(
    to: float,
    rng: np.random.Generator,
    *,
    healthy: float = 0.98,
    p0: float = 0.95,
    mean_run: float = 10_000,
    good: int = 5000,
    at_most: int = 20_000,
    runs: int = 400,
) -> Floats:
    """Pairs from the drop to the alarm, one a run (NaN: an alarm before it); the formula of `gates.watch.Watch`."""
    multiples = np.array([m for m in MULTIPLES if m * (1 - p0) < 1])
    hit, miss = np.log1p(-multiples * (1 - p0)) - math.log(p0), np.log(multiples)
    need = math.log(mean_run)
    log_m1, out, early = np.zeros((runs, len(multiples))), np.full(runs, np.inf), np.zeros(runs, dtype=bool)
    for at in range(good + at_most):
        agreed = rng.random(runs) < (healthy if at < good else to)
        log_m = log_m1 + np.where(agreed[:, None], hit, miss)
        log_m1 = np.logaddexp(0.0, log_m)
        alarm = np.logaddexp.reduce(log_m, axis=1) - math.log(len(multiples)) >= need
        if at < good:
            early |= alarm
            continue
        out[alarm & np.isinf(out)] = at - good + 1
        if not np.isinf(out).any():
            break
    return np.where(early, np.nan, out)
