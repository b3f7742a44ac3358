"""Gold labels with a cheap guess: certified falsely no more often than said, and sooner than by gold alone."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates import GateError
from graduand.rollout.gates.correctness import BELIEFS, BETS, Correctness
from graduand.rollout.gates.drawing import FLOOR, Guess, draw, probabilities
from graduand.rollout.gates.state import dump, load
from graduand.rollout.simulate.correctness import World, certified, drawn, log_e

RUNS, ALPHA = 1000, 0.05
guess = st.floats(0, 1)


def bar(p: float, runs: int) -> float:
    return 4 * math.sqrt(p * (1 - p) / runs)


@pytest.mark.parametrize(
    "world",
    [
        World(0.8),
        World(0.8, good=0.5),
        World(0.8, flattering=True),
        World(0.8, good=0.97, doubtful=True),
        World(0.8, worst_first=True),
        World(0.88, skipped=1 - 0.8 / 0.88),
    ],
    ids=str,
)
def test_at_the_bound_it_certifies_no_more_often_than_alpha(world: World) -> None:
    """A hundred labels, looked at after each."""
    assert certified(world, np.random.default_rng(1), p0=0.8, runs=RUNS, alpha=ALPHA) <= ALPHA


def test_looking_after_each_label_would_break_a_fixed_sample_rule() -> None:
    """The same labels by a normal interval at each look: this test could fail for the gate."""
    labels = drawn(World(0.8), np.random.default_rng(2), 100, RUNS)
    n = np.arange(1, 101)
    share = labels.correct.cumsum(1) / n
    sure = (share - 1.645 * np.sqrt(share * (1 - share) / n) > 0.8)[:, 19:].any(1)
    assert sure.mean() > 0.15


def test_a_good_guess_saves_labels() -> None:
    """p0 .8, true .92, a hundred labels, the guess right nine times of ten."""
    both = [certified(World(0.92), np.random.default_rng(3), p0=0.8, gold_alone=alone) for alone in (False, True)]
    assert both[0] > 0.9
    assert both[0] > both[1] + 0.1


def test_a_useless_guess_costs_little() -> None:
    both = [
        certified(World(0.92, good=0.5), np.random.default_rng(4), p0=0.8, gold_alone=alone) for alone in (False, True)
    ]
    assert both[0] > both[1] - 0.05


@pytest.mark.parametrize("world", [World(0.85), World(0.85, good=0.97, doubtful=True, skipped=0.1)], ids=str)
def test_the_quick_gate_is_the_gate(world: World) -> None:
    floor = FLOOR if world.doubtful else 1.0
    labels = drawn(world, np.random.default_rng(5), 60, 8)
    quick = log_e(labels, 0.8, floor)
    for run in range(8):
        gate = Correctness(0.8, floor)
        for n in range(60):
            gate.update(
                bool(labels.correct[run, n]), predicted=float(labels.predicted[run, n]), mean=float(labels.mean[run, n]),
                weight=float(labels.weight[run, n]),
            )  # fmt: skip
            assert gate.log_e == pytest.approx(quick[run, n], abs=1e-9)


@given(st.lists(st.tuples(guess, st.booleans()), min_size=1, max_size=30), guess, st.floats(0.05, 0.95))
def test_the_mean_over_the_draw_is_the_blocks_share(
    block: list[tuple[float, bool]], belief: float, floor: float
) -> None:
    chances = probabilities([p for p, _ in block], floor)
    mean = sum(p for p, _ in block) / len(block)
    expected = 0.0
    for (p, right), chance in zip(block, chances, strict=True):
        weight = 1 / (len(block) * chance)
        expected += chance * (weight * right - belief * (weight * p - mean))
    assert sum(chances) == pytest.approx(1)
    assert min(chances) >= floor / len(block) - 1e-12
    assert expected == pytest.approx(sum(right for _, right in block) / len(block), abs=1e-9)


@given(st.lists(guess, min_size=1, max_size=20), st.floats(0, 1, exclude_max=True))
def test_a_drawn_request_carries_what_its_gate_needs(predicted: list[float], place: float) -> None:
    one = draw([Guess(str(at), p) for at, p in enumerate(predicted)], place)
    assert one.predicted == predicted[int(one.record)]
    assert 0 < one.weight <= 1 / FLOOR + 1e-9
    Correctness(0.9, FLOOR).update(True, predicted=one.predicted, mean=one.mean, weight=one.weight)


def test_draws_come_as_often_as_they_say() -> None:
    block = [Guess("a", 0.5), Guess("b", 1.0), Guess("c", 0.9)]
    places = np.random.default_rng(6).random(20_000)
    seen = [draw(block, float(place)).record for place in places]
    for name, chance in zip("abc", probabilities([one.predicted for one in block]), strict=True):
        assert seen.count(name) / 20_000 == pytest.approx(chance, abs=0.015)


def test_a_skipped_draw_is_a_wrong_one() -> None:
    skipped, wrong = Correctness(0.8), Correctness(0.8)
    skipped.update(None, predicted=0.9, mean=0.9)
    wrong.update(False, predicted=0.9, mean=0.9)
    assert skipped.log_e == wrong.log_e < 0
    assert (skipped.n, skipped.skipped, wrong.skipped) == (1, 1, 0)


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), guess, guess, st.floats(0.1, 2)), max_size=60))
def test_it_stays_finite_and_comes_back_from_its_state(rows: list[tuple[bool | None, float, float, float]]) -> None:
    gate = Correctness(0.9, 0.5)
    for correct, predicted, mean, weight in rows:
        gate.update(correct, predicted=predicted, mean=mean, weight=weight)
    assert math.isfinite(gate.log_e)
    assert 0 <= gate.estimate() <= 1
    assert load(json.loads(json.dumps(dump(gate)))) == gate


@pytest.mark.parametrize(
    ("predicted", "mean", "weight"),
    [(1.1, 0.5, 1), (0.5, -0.1, 1), (0.5, 0.5, 0), (0.5, 0.5, 2.1), (float("nan"), 0, 1)],
)
def test_values_without_a_guarantee_are_refused(predicted: float, mean: float, weight: float) -> None:
    gate = Correctness(0.9, 0.5)
    with pytest.raises(GateError):
        gate.update(True, predicted=predicted, mean=mean, weight=weight)
    assert gate == Correctness(0.9, 0.5)


@pytest.mark.parametrize(("p0", "floor"), [(0, 1), (1, 1), (0.9, 0), (0.9, 1.1)])
def test_settings_without_a_guarantee_are_refused(p0: float, floor: float) -> None:
    with pytest.raises(GateError):
        Correctness(p0, floor)


def test_there_is_a_log_for_each_belief_and_bet() -> None:
    assert len(Correctness(0.8).logs) == len(BELIEFS) * len(BETS)
