"""Two sides of the same hours: every value counts once, the same number on both sides, none across an hour."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates import GateError
from graduand.rollout.gates.matching import MOST, WINDOW_S, Matcher, matched

VALUES = st.lists(st.floats(0, 1), max_size=40)


@given(VALUES, VALUES)
def test_every_value_is_in_exactly_one_pair(one: list[float], other: list[float]) -> None:
    pairs = list(matched(one, other))
    assert len(pairs) == min(len(one), len(other))
    if pairs:
        # The means of groups whose sizes differ by one at most lie as the sides' own means do.
        assert min(one) - 1e-9 <= sum(ours for ours, _ in pairs) / len(pairs) <= max(one) + 1e-9
        if len(one) == len(pairs):
            assert [ours for ours, _ in pairs] == one
        if len(other) == len(pairs):
            assert [theirs for _, theirs in pairs] == other


@given(st.lists(st.tuples(st.floats(0, 5 * WINDOW_S), st.floats(0, 1), st.booleans()), max_size=60))
def test_it_comes_back_from_its_state(rows: list[tuple[float, float, bool]]) -> None:
    matcher, again = Matcher(), Matcher()
    for at, value, treated in rows:
        assert matcher.add(at, value, treated=treated) == again.add(at, value, treated=treated)
        again = Matcher(**json.loads(json.dumps(asdict(again))))
    assert again == matcher


def test_a_busy_hour_is_closed_early_and_one_side_alone_is_dropped() -> None:
    matcher = Matcher()
    for _ in range(MOST):
        assert matcher.add(0.0, 1.0, treated=True) == []
    assert matcher.add(0.0, 1.0, treated=False) == []
    assert (len(matcher.treated), len(matcher.control)) == (0, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_without_a_guarantee_are_refused(value: float) -> None:
    matcher = Matcher()
    with pytest.raises(GateError):
        matcher.add(0.0, value, treated=True)
    assert matcher == Matcher()
