"""Errors across a ramp 1-5-10-25% while the base rate oscillates: what a pooled test and gate 4 make of it."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0)
WEIGHTS = (0.01, 0.05, 0.10, 0.25)


def requests(
    ratio: float, rng: np.random.Generator, total: int = 40_000, base: float = 0.01, swing: float = 0.5
) -> tuple[Floats, Bools, Bools]:
    """One run: the weight at each request, whether the student got it, whether it failed. Four waves in all."""
    at = np.arange(total)
    weights = np.repeat(WEIGHTS, total // len(WEIGHTS))
    by_student = rng.random(total) < weights
    rate = base * (1 + swing * np.sin(2 * np.pi * 4 * at / total)) * np.where(by_student, ratio, 1.0)
    return weights, by_student, rng.random(total) < rate


def gate_alarm(weights: Floats, by_student: Bools, failed: Bools, alpha: float = 0.01) -> float:
    """Requests until gate 4 alarms, infinite if never: a mixture of likelihood ratios of the two arms (arXiv:2011.03567)."""
    at = np.flatnonzero(failed)
    weight, ratios = weights[at], np.array(RATIOS)[:, None]
    rest = 1 / (weight * ratios + 1 - weight)
    logs = np.log(np.where(by_student[at], rest * ratios, rest)).cumsum(1)
    log_e = np.logaddexp.reduce(logs, axis=0) - math.log(len(RATIOS))
    alarms = np.flatnonzero(log_e >= -math.log(alpha))
    return float(at[alarms[0]] + 1) if len(alarms) else math.inf


def pooled_alarm(by_student: Bools, failed: Bools, z: float = 2.326, every: int = 100) -> float:
    """Requests until a pooled one-sided z-test on everything so far alarms: repeated looks, and mixed weights."""
    n = np.arange(1, len(failed) + 1)
    one, errors = by_student.cumsum(), failed.cumsum()
    bad = (failed & by_student).cumsum()
    two = n - one
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = errors / n
        spread = np.sqrt(pooled * (1 - pooled) * (1 / one + 1 / two))
        statistic = (bad / one - (errors - bad) / two) / spread
    alarms = np.flatnonzero((statistic > z)[every - 1 :: every])
    return float((alarms[0] + 1) * every) if len(alarms) else math.inf


def alarms(ratio: float, rng: np.random.Generator, runs: int = 300) -> tuple[Floats, Floats]:
    """Requests until each test's alarm, one a run: gate 4's, and the pooled z-test's."""
    drawn = (requests(ratio, rng) for _ in range(runs))
    pairs = [(gate_alarm(*run), pooled_alarm(*run[1:])) for run in drawn]
    gate, pooled = np.array(pairs).T
    return gate, pooled
