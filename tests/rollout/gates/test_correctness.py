"""Gold labels with a cheap guess: certified falsely no more often than said, and sooner than by gold alone."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates import GateError
from graduand.rollout.gates.correctness import BELIEFS, BETS, Correctness
from graduand.rollout.gates.drawing import FLOOR, Block, Guess, chance, joined, single
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


def block_of(guesses: list[Guess], places: list[float]) -> Block:
    """A block as a queue makes it: one session after the other."""
    block = single(guesses[0])
    for one, place in zip(guesses[1:], places, strict=False):
        block = joined(block, single(one), place)
    return block


@given(st.lists(st.tuples(guess, st.booleans()), min_size=1, max_size=30), guess)
def test_the_mean_over_the_draw_is_the_blocks_share(block: list[tuple[float, bool]], belief: float) -> None:
    mean = sum(p for p, _ in block) / len(block)
    whole = sum(chance(p) for p, _ in block)
    expected = 0.0
    for p, right in block:
        weight = whole / (len(block) * chance(p))
        assert weight <= 1 / FLOOR + 1e-9
        expected += chance(p) / whole * (weight * right - belief * (weight * p - mean))
    assert expected == pytest.approx(sum(right for _, right in block) / len(block), abs=1e-9)


@given(st.lists(guess, min_size=1, max_size=20), st.lists(st.floats(0, 1, exclude_max=True), min_size=19, max_size=19))
def test_a_drawn_request_carries_what_its_gate_needs(predicted: list[float], places: list[float]) -> None:
    one = block_of([Guess(str(at), p) for at, p in enumerate(predicted)], places)
    assert one.kept.predicted == predicted[int(one.kept.record)]
    assert one.mean == pytest.approx(sum(predicted) / len(predicted))
    assert 0 < one.weight <= 1 / FLOOR + 1e-9
    Correctness(0.9, FLOOR).update(True, predicted=one.kept.predicted, mean=one.mean, weight=one.weight)


@pytest.mark.parametrize("paired", [False, True], ids=["one after the other", "halves joined"])
def test_draws_come_as_often_as_they_say(paired: bool) -> None:
    """However a block was put together."""
    predicted = {"a": 0.5, "b": 1.0, "c": 0.9, "d": 0.02}
    guesses = [Guess(name, p) for name, p in predicted.items()]
    whole = sum(chance(p) for p in predicted.values())
    seen: dict[str, int] = dict.fromkeys(predicted, 0)
    for places in np.random.default_rng(6).random((20_000, 3)).tolist():
        if paired:
            block = joined(block_of(guesses[:2], places), block_of(guesses[2:], places[1:]), places[2])
        else:
            block = block_of(guesses, places)
        seen[block.kept.record] += 1
        assert block.probability == pytest.approx(chance(block.kept.predicted) / whole)
    for name, p in predicted.items():
        assert seen[name] / 20_000 == pytest.approx(chance(p) / whole, abs=0.015)


def test_what_is_in_doubt_is_looked_at_more_often() -> None:
    assert chance(0.5) > chance(0.7) > chance(0.95) > chance(1.0) == FLOOR
    assert chance(0.7) == pytest.approx(chance(0.3))


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
    ("predicted", "mean", "weight", "share"),
    [
        (1.1, 0.5, 1, 1), (0.5, -0.1, 1, 1), (0.5, 0.5, 0, 1), (0.5, 0.5, 2.1, 1), (float("nan"), 0, 1, 1),
        (0.5, 0.5, 1, 0), (0.5, 0.5, 1, 1.1), (0.5, 0.5, 1, float("nan")),
    ],
)  # fmt: skip
def test_values_without_a_guarantee_are_refused(predicted: float, mean: float, weight: float, share: float) -> None:
    gate = Correctness(0.9, 0.5)
    with pytest.raises(GateError):
        gate.update(True, predicted=predicted, mean=mean, weight=weight, share=share)
    assert gate == Correctness(0.9, 0.5)


@pytest.mark.parametrize(("p0", "floor"), [(0, 1), (1, 1), (0.9, 0), (0.9, 1.1)])
def test_settings_without_a_guarantee_are_refused(p0: float, floor: float) -> None:
    with pytest.raises(GateError):
        Correctness(p0, floor)


def test_there_is_a_log_for_each_belief_and_bet() -> None:
    assert len(Correctness(0.8).logs) == len(BELIEFS) * len(BETS)
