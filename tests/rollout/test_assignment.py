"""Shares, nesting and stickiness of the assignment."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.assignment import BUCKETS, arm, bucket

weights = st.integers(0, BUCKETS)
positions = st.integers(0, BUCKETS - 1)
any_text = st.text(st.characters(), max_size=20)  # lone surrogates too


@given(any_text, any_text, any_text)
def test_bucket_is_stable_and_in_range(salt: str, rollout: str, unit: str) -> None:
    assert 0 <= bucket(salt, rollout, unit) < BUCKETS
    assert bucket(salt, rollout, unit) == bucket(salt, rollout, unit)


def test_bucket_is_pinned() -> None:
    """A change here would move every user of every running rollout."""
    assert [bucket("salt", "triage", unit) for unit in ("ann", "bob", "")] == PINNED


PINNED = [1140, 1546, 7277]


@given(positions, weights, weights)
def test_dialling_up_moves_nobody_out_of_treatment(position: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    if arm(position, low) == "treatment":
        assert arm(position, high) == "treatment"


@given(positions, st.integers(0, 5000), st.integers(0, 5000))
def test_control_nests_up_to_half(position: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    if arm(position, low) == "control":
        assert arm(position, high) == "control"


@given(weights)
def test_exact_sizes(weight: int) -> None:
    sizes = Counter(arm(position, weight) for position in range(BUCKETS))
    assert sizes["treatment"] == weight
    assert sizes["control"] == min(weight, BUCKETS - weight)


@given(positions, st.integers(5000, BUCKETS))
def test_above_half_everything_else_is_control(position: int, weight: int) -> None:
    assert arm(position, weight) == ("treatment" if position < weight else "control")


@pytest.mark.parametrize("weight", [1, 100, 1000, 5000, 7500])
def test_shares_of_real_units(weight: int) -> None:
    units = 200_000
    treated = sum(bucket("s1", "r1", f"user-{n}") < weight for n in range(units))
    share = weight / BUCKETS
    assert abs(treated / units - share) < 5 * (share * (1 - share) / units) ** 0.5


def test_a_new_salt_reshuffles() -> None:
    """Two rollouts' treatment groups overlap only by chance."""
    units = [f"user-{n}" for n in range(50_000)]
    both = sum(bucket("s1", "r", unit) < 1000 and bucket("s2", "r", unit) < 1000 for unit in units)
    assert abs(both / len(units) - 0.01) < 5 * (0.01 * 0.99 / len(units)) ** 0.5


def test_joining_is_unambiguous() -> None:
    triples = [("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "", "bc"), ("", "", "abc"), ("1:a", "b", "c")]
    assert len({bucket(*triple) for triple in triples}) == len(triples)
