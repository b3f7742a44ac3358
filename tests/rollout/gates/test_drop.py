"""A drop at an unknown time: reference values, fairness, and how soon it is seen."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates import GateError
from graduand.rollout.gates.drop import Drop
from graduand.rollout.simulate import bets

SERVED = [0.0 if i % 33 == 9 else 1.0 for i in range(100)] + [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def fed(gate: Drop, xs: list[float]) -> list[float]:
    out = []
    for x in xs:
        gate.update(x)
        out.append(gate.log_e)
    return out


def test_reference_values() -> None:
    found = fed(Drop(0.90), SERVED)
    known = {50: -1.900006, 100: -2.897517, 103: -2.572066, 106: -0.983214, 109: 4.267379}
    assert {at: round(found[at - 1], 6) for at in known} == known


@given(st.lists(st.booleans(), max_size=20), st.floats(0.05, 0.95))
def test_each_observation_is_fair_at_the_bound(past: list[bool], bound: float) -> None:
    """E after one more observation has the mean that it had before: a fair game, started with 1."""
    gate = Drop(bound)
    fed(gate, [float(x) for x in past])
    before = math.exp(gate.log_e)
    up, down = (Drop(**asdict(gate)) for _ in range(2))
    up.update(1.0)
    down.update(0.0)
    assert bound * math.exp(up.log_e) + (1 - bound) * math.exp(down.log_e) == pytest.approx(before, rel=1e-9)


def test_stored_it_is_the_same_and_long_failures_stay_finite() -> None:
    gate = Drop(0.9)
    fed(gate, SERVED)
    assert Drop(**json.loads(json.dumps(asdict(gate)))) == gate
    fed(gate, [0.0] * 2000)
    assert math.isfinite(gate.log_e)


def test_refusals() -> None:
    for make in (lambda: Drop(1.0), lambda: Drop(0.9, bets=[20.0]), lambda: Drop(0.9).update(-0.1)):
        with pytest.raises(GateError):
            make()


def test_the_quick_form_is_the_gate() -> None:
    xs = (np.random.default_rng(1).random((3, 150)) < 0.85).astype(float)
    for run, logs in zip(xs, bets.log_drop(xs, 0.9), strict=True):
        assert fed(Drop(0.9), run.tolist()) == pytest.approx(logs.tolist())


# Healthy at .97 for so many audits; then the agreement, and the median of audits until it is found (bound .9, alpha .005).
DELAYS = [(0, 0.0, 4), (100, 0.0, 8), (1000, 0.0, 11), (0, 0.5, 13), (100, 0.5, 28), (1000, 0.5, 38), (100, 0.8, 269)]


@pytest.mark.parametrize(("healthy", "then", "reference"), DELAYS)
def test_how_soon_a_drop_is_found(healthy: int, then: float, reference: int) -> None:
    rng, runs = np.random.default_rng(2), 200
    rates = np.concatenate([np.full(healthy, 0.97), np.full(4 * reference + 20, then)])
    logs = bets.log_drop((rng.random((runs, len(rates))) < rates).astype(float), 0.9)
    delay = bets.first(logs[:, healthy:], math.log(200))
    assert float(np.median(delay)) == pytest.approx(reference, rel=0.25, abs=1)


def test_false_alarms_at_the_bound() -> None:
    """Of 400 runs of 1,000 audits at the bound, at most .5% and three standard errors."""
    runs = 400
    xs = (np.random.default_rng(3).random((runs, 1000)) < 0.9).astype(float)
    alarms = np.isfinite(bets.first(bets.log_drop(xs, 0.9), math.log(200))).mean()
    assert alarms <= 0.005 + 3 * math.sqrt(0.005 / runs)
