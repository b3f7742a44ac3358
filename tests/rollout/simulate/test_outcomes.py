"""Outcome gates at their bound and above it, many runs at once: this could fail, and a fixed-sample rule does."""

import math

import numpy as np
import pytest

from graduand.rollout.simulate import bets
from graduand.rollout.simulate.outcomes import Arms, certified, rolled_back

RUNS = 400


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([12, seed])


@pytest.mark.parametrize("arms", [Arms(0.6, 0.9, 0.1), Arms(0.05, 0.9, 0.1), Arms(0.5, 0.8, 0.2, swing=0.3)], ids=str)
def test_at_the_margin_it_certifies_no_more_often_than_alpha(arms: Arms) -> None:
    found = certified(arms, generator(1), 1000, RUNS)
    assert found <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)


def test_at_its_margin_the_harm_gate_hardly_ever_alarms() -> None:
    assert rolled_back(Arms(0.6, 0.85, 0.15), generator(2), 1000, RUNS) <= 0.01 + 2 * math.sqrt(0.01 * 0.99 / RUNS)


def test_silence_proves_nothing() -> None:
    assert certified(Arms(0.0, 1.0, 0.3), generator(3), 1000, 50) == 0.0


def test_a_student_as_good_is_certified_and_half_as_good_is_harm() -> None:
    assert certified(Arms(0.6, 1.0, 0.2), generator(4), 1000, RUNS) > 0.9
    assert rolled_back(Arms(0.6, 0.5, 0.15), generator(5), 1000, RUNS) > 0.95


def test_a_normal_interval_at_each_look_would_be_wrong_far_more_often() -> None:
    rng = generator(6)
    xs = (1 + (rng.random((RUNS, 1000)) < 0.54) - 0.9 * (rng.random((RUNS, 1000)) < 0.6)) / 2
    n = np.arange(1, 1001)
    mean = xs.cumsum(1) / n
    error = np.sqrt(np.maximum((xs**2).cumsum(1) / n - mean**2, 1e-9) / n)
    assert (mean - 1.645 * error > 0.5)[:, 29:].any(1).mean() > 0.2
    assert np.isfinite(bets.first(bets.log_evidence(xs, 0.5), math.log(20))).mean() < 0.08
