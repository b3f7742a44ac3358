"""Copies against served answers: equal where the paths are, apart where they are not, few users or many."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from graduand.rollout.gates import GateError
from graduand.rollout.gates.path_test import MOST, PathTest

LOG_1000 = math.log(1000)


def play(rng: np.random.Generator, copies: float, served: float, *, units: int, weight: float) -> PathTest:
    """Each unit has a mean of its own and comes once, in a random hour, on the path that its hash says."""
    gate = PathTest()
    for hour in np.sort(rng.random(units)) * 24:
        by_student = rng.random() < weight
        mean = served if by_student else copies
        gate.update(hour * 3600, float(rng.beta(9 * mean, 9 * (1 - mean))), served=bool(by_student))
    gate.update(1e9, 1.0, served=True)  # the last hour is closed by the next one
    return gate


def test_equal_paths_seldom_differ() -> None:
    runs = 200
    found = [play(np.random.default_rng([1, run]), 0.97, 0.97, units=400, weight=0.2).log_e for run in range(runs)]
    assert np.mean([log_e >= math.log(20) for log_e in found]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(("copies", "served"), [(0.97, 0.6), (0.6, 0.97)])
def test_different_paths_are_told_apart(copies: float, served: float) -> None:
    gate = play(np.random.default_rng(2), copies, served, units=600, weight=0.2)
    assert gate.log_e >= LOG_1000
    assert gate.gap == pytest.approx(copies - served, abs=0.1)


def test_other_hours_are_not_compared() -> None:
    gate = PathTest()
    for hour in range(0, 200, 2):
        gate.update(hour * 3600.0, 1.0, served=False)
        gate.update((hour + 1) * 3600.0, 0.0, served=True)
    assert gate.n == 0
    assert gate.log_e == 0


def test_a_busy_hour_is_closed_early() -> None:
    gate = PathTest()
    for at in range(3 * MOST):
        gate.update(0.0, 1.0, served=at % 2 == 0)
    assert max(len(gate.served), len(gate.copies)) <= MOST
    assert gate.n >= MOST - 1


def test_stored_it_is_the_same() -> None:
    gate = play(np.random.default_rng(3), 0.9, 0.8, units=50, weight=0.5)
    assert PathTest(**json.loads(json.dumps(asdict(gate)))) == gate


def test_refusals() -> None:
    with pytest.raises(GateError):
        PathTest().update(0.0, 1.5, served=True)
