"""The gates with constant bets on many runs at once; each is checked against the gate itself in the tests."""

import math

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.gates.constant_bets import SHARES
from graduand.rollout.gates.drop import BETS

Floats = NDArray[np.float64]
UP = np.array(SHARES)


def log_evidence(xs: Floats, p0: float, *, harm: bool = False) -> Floats:
    """Log evidence of `gates.constant_bets.ConstantBets` after each observation; `xs` has a row for each run.

    >>> log_evidence(np.ones((1, 2)), 0.5).shape
    (1, 2)
    """
    x, bound = (1 - xs, 1 - p0) if harm else (xs, p0)
    top = np.full(xs.shape, -np.inf)
    for share in UP:
        np.logaddexp(top, np.cumsum(np.log1p(share / bound * (x - bound)), axis=1), out=top)
    return np.asarray(top - math.log(len(UP)))


def first(logs: Floats, log_threshold: float) -> Floats:
    """For each run, the number of observations at the first look that reaches the threshold; infinite without one."""
    reached = logs >= log_threshold
    return np.where(reached.any(1), reached.argmax(1) + 1.0, np.inf)


def waits(
    true: float, p0: float, rng: np.random.Generator, *, alpha: float = 0.05, runs: int = 1000, at_most: int = 5000,
    harm: bool = False,
) -> Floats:  # fmt: skip
    """Independent observations until E reaches 1 / alpha, one a run."""
    xs = (rng.random((runs, at_most)) < true).astype(float)
    return first(log_evidence(xs, p0, harm=harm), -math.log(alpha))


def score_waits(
    ties: float, p0: float, rng: np.random.Generator, *, alpha: float = 0.05, runs: int = 1000, at_most: int = 4000
) -> Floats:
    """Judged pairs of a student as good as the teacher until its score is proved; a share of them `ties`."""
    drawn = rng.random((runs, at_most))
    xs = np.where(drawn < ties, 0.5, (drawn < ties + (1 - ties) / 2).astype(float))
    return first(log_evidence(xs, p0), -math.log(alpha))


def log_drop(xs: Floats, bound: float) -> Floats:
    """Log evidence of `gates.drop.Drop` after each observation; `xs` has a row for each run."""
    bets = np.array([bet for bet in BETS if bet < 1 / (1 - bound)])
    logs, out = np.full((len(xs), len(bets)), -np.inf), np.empty(xs.shape)
    for at in range(xs.shape[1]):
        n = at + 1
        logs = np.logaddexp(logs, -math.log(n) - math.log(n + 1)) + np.log1p(bets * (bound - xs[:, at, None]))
        mixed = np.logaddexp.reduce(logs, axis=1) - math.log(len(bets))
        out[:, at] = np.logaddexp(mixed, -math.log(n + 1))
    return out
