"""Sittings: whole, once, in time, with what is missing at its worst."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.assignment import DAY_S, drawn
from graduand.rollout.units import GAP_S, MOST_OPEN, Sitting, Sittings, Tally, sittings_from_dict

Step = tuple[int | None, float, float | None]
STEPS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.floats(0, 3 * GAP_S), st.sampled_from([0.0, 1.0, None])),
    max_size=60,
)


def played(steps: list[Step], sittings: Sittings) -> list[Sitting]:
    out, now = [], 0.0
    for unit, wait, outcome in steps:
        now += wait
        out += sittings.over(now)
        out += sittings.add(unit, "served", now, {"agreement": outcome})[1]
    return out


@given(STEPS)
def test_every_request_comes_out_once_and_gaps_separate(steps: list[Step]) -> None:
    sittings = Sittings()
    out = played(steps, sittings) + sittings.cut()
    assert sum(sitting.requests for sitting in out) == len(steps)
    known = sum(tally.known for sitting in out for tally in sitting.tallies.values())
    assert known == sum(outcome is not None for _, _, outcome in steps)
    for unit in range(6):
        own = sorted((one.began, one.last) for one in out if one.unit == unit)
        assert all(later - end > GAP_S for (_, end), (later, _) in pairwise(own))


@given(STEPS)
def test_stored_in_the_middle_changes_nothing(steps: list[Step]) -> None:
    straight, stored = Sittings(), Sittings()
    out, same = [], []
    for step in steps:
        out += played([step], straight)
        same += played([step], stored)
        stored = sittings_from_dict(json.loads(json.dumps(stored.to_dict())))
    assert out == same
    assert straight.cut() == stored.cut()


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=1))
def test_what_is_missing_is_at_its_worst(outcomes: list[float | None]) -> None:
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    least = [0.0 if one is None else one for one in outcomes]
    most = [1.0 if one is None else one for one in outcomes]
    assert (tally.least, tally.most) == (pytest.approx(sum(least) / len(least)), pytest.approx(sum(most) / len(most)))


def test_an_unknown_unit_is_a_sitting_of_its_own() -> None:
    sittings = Sittings()
    began, ended = sittings.add(None, "copies", 1.0, {"a": 1.0})
    assert (began, [one.requests for one in ended]) == (True, [1])
    assert not sittings.open


def test_paths_and_probabilities_are_kept_apart() -> None:
    sittings = Sittings()
    sittings.add(1, "copies", 1.0, {"a": 1.0})
    sittings.add(1, "served", 2.0, {"a": 0.0}, p=0.5)
    assert len(sittings.open) == 2
    began, ended = sittings.add(1, "served", 3.0, {"a": 0.0}, p=1.0)
    assert (began, [(one.p, one.requests) for one in ended]) == (True, [(0.5, 1)])
    assert sittings.add(1, "served", 4.0, {"a": 0.0}, p=1.0) == (False, [])
    assert sittings.add(1, "served", 5.0, {"a": 0.0}, p=1.0, of_step=False)[0]


def test_too_many_open_sittings_end_those_silent_longest() -> None:
    sittings, out = Sittings(), []
    for unit in range(MOST_OPEN + 3):
        out += sittings.add(unit, "served", float(unit % 7), {"a": 1.0})[1]
    assert [one.unit for one in out] == [0, 1, 2]
    assert len(sittings.open) == MOST_OPEN


@given(st.integers(1, 9999), st.text(max_size=5), st.floats(0, 1e10))
def test_a_unit_day_is_drawn_whole(share_bp: int, unit: str, at: float) -> None:
    begin = at // DAY_S * DAY_S
    hours = {drawn("audit", "salt", unit, begin + hour * 3600.0, share_bp) for hour in range(24)}
    assert len(hours) == 1


def test_days_and_units_are_drawn_with_the_probability_that_is_said() -> None:
    units = [drawn("audit", "salt", f"u{n}", 0.0, 2500) for n in range(4000)]
    days = [drawn("audit", "salt", "ann", day * DAY_S, 2500) for day in range(4000)]
    for found in (units, days):
        assert sum(found) / len(found) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)
