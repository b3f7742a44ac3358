"""Each gate: refuses what voids its guarantee, is fair under its null, and survives storage bit for bit."""

import json
import math
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates import GateError
from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.correctness import Correctness
from graduand.rollout.gates.drop import Drop
from graduand.rollout.gates.one_sided import OneSided
from graduand.rollout.gates.path_test import PathTest
from graduand.rollout.gates.srm import CERTAIN, SampleRatio
from graduand.rollout.gates.state import KINDS, AnyGate, dump, load
from graduand.rollout.gates.watch import Watch

Feed = Callable[[Any, random.Random], None]

CASES: list[tuple[AnyGate, Feed]] = [
    (ConstantBets(0.95), lambda gate, rng: gate.update(rng.random())),
    (ConstantBets(0.95, harm=True, p_min=0.1), lambda gate, rng: gate.update(rng.random(), 0.1 + 0.9 * rng.random())),
    (Drop(0.9), lambda gate, rng: gate.update(float(rng.random() < 0.9))),
    (
        OneSided(1.25),
        lambda gate, rng: gate.update(rng.randrange(9), student=rng.random() < 0.5, teacher=False, first=True),
    ),
    (PathTest(), lambda gate, rng: gate.update(1e9 * rng.random(), rng.random(), served=rng.random() < 0.5)),
    (SampleRatio([0.1, 0.1, 0.8]), lambda gate, rng: gate.update(rng.randrange(3))),
    (Watch(0.95), lambda gate, rng: gate.update(rng.random() < 0.9)),
]
ids = [f"{type(gate).__name__}{'-harm' if getattr(gate, 'harm', False) else ''}" for gate, _ in CASES]


def fresh(gate: AnyGate) -> AnyGate:
    return load(json.loads(json.dumps(dump(gate))))


@pytest.mark.parametrize(("gate", "feed"), CASES, ids=ids)
@pytest.mark.parametrize("seed", [0, 1])
def test_storing_in_the_middle_changes_no_bit(gate: AnyGate, feed: Feed, seed: int) -> None:
    straight, stored, rng, same = fresh(gate), fresh(gate), random.Random(seed), random.Random(seed)
    for _ in range(300):
        feed(straight, rng)
        feed(stored, same)
        stored = fresh(stored)
    assert dump(stored) == dump(straight)
    assert stored.log_e == straight.log_e
    assert 0 < straight.n <= 300


@pytest.mark.parametrize(("gate", "feed"), CASES, ids=ids)
def test_an_update_is_quick_and_stays_finite(gate: AnyGate, feed: Feed) -> None:
    gate, rng = fresh(gate), random.Random(3)
    start = time.perf_counter()
    for _ in range(20_000):
        feed(gate, rng)
    assert (time.perf_counter() - start) / 20_000 < 50e-6  # a few microseconds; wide for a busy machine
    assert math.isfinite(gate.log_e)


@pytest.mark.parametrize("gate", [gate for gate, _ in CASES if not isinstance(gate, Watch)])
def test_no_data_is_no_evidence(gate: AnyGate) -> None:
    assert fresh(gate).log_e == 0


def test_watch_starts_with_nothing() -> None:
    assert Watch(0.95).log_e < -100


REFUSED: list[Callable[[], object]] = [
    lambda: ConstantBets(math.nan),
    lambda: ConstantBets(0.5).update(math.inf),
    lambda: Drop(0.5).update(math.nan),
    lambda: OneSided(0),
    lambda: PathTest().update(0.0, math.nan, served=True),
    lambda: SampleRatio([0.5, 0.4]),
    lambda: SampleRatio([]),
    lambda: SampleRatio([0.5, 0.5]).update(2),
    lambda: SampleRatio([0.5, 0.5]).update(-1),
    lambda: Watch(0.3, multiples=[2.0]),
    lambda: load({"kind": "agreement", "p0": 0.9}),
    lambda: load({"kind": "constant_bets", "p0": 0.9, "extra": 1}),
    lambda: load({}),
]


@pytest.mark.parametrize("attempt", REFUSED)
def test_what_voids_the_guarantee_is_refused(attempt: Callable[[], object]) -> None:
    with pytest.raises(GateError):
        attempt()


def test_a_refused_update_changes_nothing() -> None:
    gate = ConstantBets(0.5)
    gate.update(0.7)
    before = dump(gate)
    with pytest.raises(GateError):
        gate.update(2.0)
    assert dump(gate) == before


def test_every_kind_is_tested() -> None:
    # Correctness has moves of its own: tests/rollout/gates/test_correctness.py.
    assert {type(gate) for gate, _ in CASES} == set(KINDS.values()) - {Correctness}


# One step of a fair game: averaged over the null, the next evidence is at most today's. With Ville's inequality this is
# all that "valid at every look" needs.


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0.05, 0.95), st.booleans())
def test_constant_bets_are_a_fair_game(past: list[float], p0: float, harm: bool) -> None:
    gate = ConstantBets(p0, harm)
    for score in past:
        gate.update(score)
    low, high = (ConstantBets(p0, harm, n=gate.n, logs=gate.logs) for _ in range(2))
    low.update(0.0)
    high.update(1.0)
    grown = (1 - p0) * math.exp(low.log_e - gate.log_e) + p0 * math.exp(high.log_e - gate.log_e)
    assert grown == pytest.approx(1, abs=1e-9)


@given(st.lists(st.integers(0, 2), max_size=60))
def test_sample_ratio_is_a_fair_game(past: list[int]) -> None:
    gate = SampleRatio([0.1, 0.2, 0.7])
    for arm in past:
        gate.update(arm)
    grown = 0.0
    for arm, chance in enumerate([0.1, 0.2, 0.7]):
        after = SampleRatio(gate.shares, counts=gate.counts)
        after.update(arm)
        grown += chance * math.exp(after.log_e - gate.log_e)
    assert grown == pytest.approx(1, abs=1e-9)


@given(st.lists(st.booleans(), max_size=60), st.floats(0.7, 0.99))
def test_watch_grows_by_at_most_one_a_step(past: list[bool], p0: float) -> None:
    gate = Watch(p0)
    for agreed in past:
        gate.update(agreed)
    grown = 0.0
    for agreed, chance in ((True, p0), (False, 1 - p0)):
        after = Watch(p0, gate.multiples, log_m1=gate.log_m1)
        after.update(agreed)
        grown += chance * math.exp(after.log_e)
    assert grown == pytest.approx(1 + math.exp(gate.log_e), rel=1e-9)


def test_an_arm_that_should_be_empty_is_certain_mismatch() -> None:
    gate = SampleRatio([0.0, 1.0])
    gate.update(0)
    assert gate.log_e == CERTAIN
