"""What another policy would have earned: right on the average, within its interval, and refused where nothing covers it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.offpolicy import CannotEvaluate
from graduand.rollout.offpolicy.decisions import Decision, Reward
from graduand.rollout.offpolicy.estimates import Estimate, Method, estimate, guesses

RIGHT = Reward("right", "share of answers that are right")
METHODS: tuple[Method, ...] = ("ips", "snips", "dr")
# Each unit's own share of right answers, by arm: the student is worse, and units differ.
TRUE = {"student": 0.8, "teacher": 0.9}


def logged(rng: np.random.Generator, units: int, share: float, wanted: float, each: int = 5) -> list[Decision]:
    """Units that have the student with probability `share`, seen by a policy that would give it to `wanted` of them."""
    found = []
    for unit in range(units):
        arm = "student" if rng.random() < share else "teacher"
        own = rng.beta(TRUE[arm] * 4, (1 - TRUE[arm]) * 4)
        for _ in range(each):
            found.append(
                Decision(unit, arm, float(rng.random() < own), {"student": share, "teacher": 1 - share},
                         {"student": wanted, "teacher": 1 - wanted})
            )  # fmt: skip
    return guesses(found)


@pytest.fixture(scope="module")
def many() -> dict[Method, list[Estimate]]:
    """What each method makes of the same 200 logs, with sessions of four requests."""
    found: dict[Method, list[Estimate]] = {method: [] for method in METHODS}
    for seed in range(200):
        log = logged(np.random.default_rng(seed), 300, 0.3, 0.5, each=4)
        for method in METHODS:
            found[method].append(estimate(log, RIGHT, method))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_intervals_hold_the_truth_as_often_as_they_say(many: dict[Method, list[Estimate]], method: Method) -> None:
    """An interval over requests would hold it in about 80% of the runs."""
    runs, truth = len(many[method]), 0.5 * 0.8 + 0.5 * 0.9
    held = sum(found.low <= truth <= found.high for found in many[method])
    values = [found.value for found in many[method]]
    assert 0.9 <= held / runs <= 0.99
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / np.sqrt(runs))


def test_the_logged_policy_itself_is_its_own_mean() -> None:
    decisions = logged(np.random.default_rng(1), 200, 0.3, 0.3)
    for method in ("ips", "snips"):
        found = estimate(decisions, RIGHT, method)  # type: ignore[arg-type]
        assert found.value == pytest.approx(found.logged_value)
        assert found.effective_units == pytest.approx(200)
        assert (found.reward, found.requests, found.units) == ("right", 1000, 200)


def test_units_that_repeat_do_not_narrow_the_interval() -> None:
    once = logged(np.random.default_rng(2), 100, 0.3, 0.6)
    found, doubled = estimate(once, RIGHT, "snips"), estimate([*once, *once], RIGHT, "snips")
    assert doubled.high - doubled.low == pytest.approx(found.high - found.low)


def test_a_policy_that_the_log_never_tried_is_refused() -> None:
    """A hybrid cut decides without drawing: unsure requests never have the student's answer."""
    decisions = logged(np.random.default_rng(3), 100, 0.5, 0.5)
    cut = [replace(one, logged={one.arm: 1.0}) for one in decisions]
    for method in METHODS:
        with pytest.raises(CannotEvaluate, match="never took there: their probabilities do not cover"):
            estimate(cut, RIGHT, method)


def test_what_the_policy_would_not_take_needs_no_cover() -> None:
    decisions = logged(np.random.default_rng(3), 100, 0.5, 0.5)
    only = [replace(one, wanted={"teacher": 1.0}) for one in decisions]
    assert estimate(only, RIGHT, "snips").value == pytest.approx(
        np.mean([one.reward for one in only if one.arm == "teacher"])
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"logged": {"student": 0.2, "teacher": 0.2}}, "sum to 1"),
        ({"wanted": {"student": -0.1, "teacher": 1.1}}, "in \\[0, 1\\]"),
        ({"arm": "another"}, "logged probability is 0"),
        ({"reward": float("nan")}, "finite"),
    ],
)
def test_rows_that_cannot_be_weighed_are_refused(change: dict[str, object], says: str) -> None:
    decisions = logged(np.random.default_rng(4), 100, 0.5, 0.5)
    with pytest.raises(CannotEvaluate, match=says):
        estimate([replace(decisions[0], **change), *decisions[1:]], RIGHT, "ips")  # type: ignore[arg-type]


def test_too_few_units_are_refused() -> None:
    with pytest.raises(CannotEvaluate, match="29 units are too few"):
        estimate(logged(np.random.default_rng(5), 29, 0.5, 0.5), RIGHT, "ips")
    with pytest.raises(CannotEvaluate, match="0 units are too few"):
        estimate([], RIGHT, "ips")


def test_weights_that_rest_on_few_units_are_refused() -> None:
    with pytest.raises(CannotEvaluate, match="as if all weighed alike"):
        estimate(logged(np.random.default_rng(6), 300, 0.02, 1.0), RIGHT, "ips")


def test_a_guess_is_needed_and_never_sees_its_own_reward() -> None:
    decisions = logged(np.random.default_rng(7), 100, 0.5, 0.5)
    with pytest.raises(CannotEvaluate, match="needs a guess"):
        estimate([replace(one, guesses={}) for one in decisions], RIGHT, "dr")
    changed = guesses([replace(one, reward=99.0) if one.unit == 0 else one for one in decisions])
    assert all(new.guesses == old.guesses for new, old in zip(changed, decisions, strict=True) if new.unit % 5 == 0)


@given(st.integers(0, 10_000), st.floats(0.2, 0.8), st.floats(0.0, 1.0), st.floats(-5, 5), st.floats(-5, 5))
def test_a_shifted_reward_shifts_the_value(seed: int, share: float, wanted: float, scale: float, shift: float) -> None:
    decisions = logged(np.random.default_rng(seed), 200, share, wanted, each=1)
    moved = guesses([replace(one, reward=scale * one.reward + shift) for one in decisions])
    for method in ("snips", "dr"):
        try:
            before = estimate(decisions, RIGHT, method)  # type: ignore[arg-type]
        except CannotEvaluate:
            return
        after = estimate(moved, RIGHT, method)  # type: ignore[arg-type]
        assert after.value == pytest.approx(scale * before.value + shift, abs=1e-6)
