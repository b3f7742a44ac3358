"""Who answers: shares, stickiness, and what the decision tells the log."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.model.routes import Incumbent, Route, Student, Teacher
from graduand.gateway.model.routing import STUDENT, TEACHER, decide

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), mode="canary", weight_bp=1000)
weights = st.integers(0, 10_000)
units = st.text(max_size=20)


@pytest.mark.parametrize(
    ("mode", "arm", "reason", "shadow"),
    [
        ("teacher", TEACHER, "teacher", False),
        ("shadow", TEACHER, "teacher", True),
        ("student", STUDENT, "student", False),
    ],
)
@given(unit=units, weight=weights)
def test_modes_without_a_draw(mode: str, arm: str, reason: str, shadow: bool, unit: str, weight: int) -> None:
    decision = decide(replace(ROUTE, mode=mode, weight_bp=weight), unit, "id", 0.0)
    assert (decision.arm, decision.reason, decision.shadow, decision.probability) == (arm, reason, shadow, 1.0)


@given(units, weights, weights)
def test_dialling_up_takes_the_student_from_nobody(unit: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    if decide(replace(ROUTE, weight_bp=low), unit, "1", 0.0).arm == STUDENT:
        assert decide(replace(ROUTE, weight_bp=high), unit, "2", 0.0).arm == STUDENT


@given(units, weights, st.text(max_size=5), st.text(max_size=5))
def test_a_unit_sticks_whatever_the_request(unit: str, weight: int, one: str, other: str) -> None:
    route = replace(ROUTE, weight_bp=weight, shadow_bp=0)
    assert decide(route, unit, one, 0.0) == decide(route, unit, other, 0.0)


@given(units, weights)
def test_probabilities_and_reasons_fit_the_arm(unit: str, weight: int) -> None:
    decision = decide(replace(ROUTE, weight_bp=weight), unit, "id", 0.0)
    share = weight / 10_000
    if decision.arm == STUDENT:
        assert (decision.reason, decision.probability, decision.shadow) == ("canary", share, False)
        assert decision.bucket < weight
    else:
        assert decision.reason in ("control", "teacher")
        assert decision.probability == 1 - share
    assert decision.probability > 0


@pytest.mark.parametrize(("weight", "share"), [(0, 0.0), (1, 0.0001), (1000, 0.1), (5000, 0.5), (10_000, 1.0)])
def test_share_of_users(weight: int, share: float) -> None:
    route = replace(ROUTE, weight_bp=weight)
    got = sum(decide(route, f"user-{number}", "id", 0.0).arm == STUDENT for number in range(20_000)) / 20_000
    assert got == pytest.approx(share, abs=0.01)


def test_control_is_as_large_as_treatment() -> None:
    reasons = Counter(decide(ROUTE, f"user-{number}", "id", 0.0).reason for number in range(20_000))
    assert reasons["control"] == pytest.approx(reasons["canary"], rel=0.15)


def test_without_a_unit_each_request_is_drawn_anew_and_it_is_said() -> None:
    decisions = [decide(ROUTE, None, f"request-{number}", 0.0) for number in range(5000)]
    assert all(decision.unit_missing for decision in decisions)
    assert sum(decision.arm == STUDENT for decision in decisions) / 5000 == pytest.approx(0.1, abs=0.02)
    assert not decide(ROUTE, "ann", "id", 0.0).unit_missing


def test_another_rollout_draws_other_users() -> None:
    one = {n for n in range(5000) if decide(ROUTE, f"u{n}", "", 0.0).arm == STUDENT}
    other = {n for n in range(5000) if decide(replace(ROUTE, rollout="second"), f"u{n}", "", 0.0).arm == STUDENT}
    assert len(one & other) / len(one) == pytest.approx(0.1, abs=0.06)


@pytest.mark.parametrize(("sample", "share"), [(0, 0.0), (2500, 0.25), (10_000, 1.0)])
def test_shadow_sample(sample: int, share: float) -> None:
    route = replace(ROUTE, mode="shadow", shadow_bp=sample)
    decisions = [decide(route, f"user-{number % 5000}", f"request-{number}", 0.0) for number in range(10_000)]
    assert sum(one.shadow for one in decisions) / 10_000 == pytest.approx(share, abs=0.03)
    assert {one.drawn_bp for one in decisions} == {sample}
    assert [one.shadow for one in decisions[:5000]] == [
        one.shadow for one in decisions[5000:]
    ]  # a user's day, as a whole
    days = [decide(route, "ann", "id", day * 86400.0).shadow for day in range(5000)]
    assert sum(days) / 5000 == pytest.approx(share, abs=0.03)


def test_a_user_is_known_again_in_the_next_rollout() -> None:
    one, other = (decide(replace(ROUTE, rollout=name, salt=name), "ann", "id", 0.0) for name in ("first", "second"))
    assert one.unit_hash != other.unit_hash
    assert one.unit == other.unit != 0
    assert decide(replace(ROUTE, unit_salt="secret"), "ann", "id", 0.0).unit != one.unit
    assert decide(ROUTE, None, "id", 0.0).unit == 0


@pytest.mark.parametrize(
    ("mode", "base", "reasons"),
    [
        ("shadow", "student", {("student", True)}),
        ("shadow", "hybrid", {("hybrid:confident", True)}),
        ("canary", "student", {("canary", False), ("control", True), ("student", True)}),
        ("canary", "hybrid", {("canary", False), ("hybrid:confident", True)}),
        ("hybrid", "student", {("student", True)}),  # the new one has no threshold yet
        ("student", "student", {("student", False)}),
    ],
)
def test_an_incumbent_takes_the_teachers_place(mode: str, base: str, reasons: set[tuple[str, bool]]) -> None:
    beside = replace(ROUTE, mode=mode, weight_bp=2000, incumbent=Incumbent("old@3f9c1a", base), audit_bp=3000)
    decisions = [decide(beside, f"user-{number}", f"id-{number}", 0.0) for number in range(2000)]
    assert {(one.reason, one.incumbent) for one in decisions} == reasons
    assert {one.arm for one in decisions} == {STUDENT}
    assert 0.25 < sum(one.shadow for one in decisions) / 2000 < 0.35  # the audit's share, whoever answers
    if mode == "canary":  # who is given the new student does not depend on what the others have
        without = [
            decide(replace(beside, incumbent=None), f"user-{number}", f"id-{number}", 0.0) for number in range(2000)
        ]
        assert [one.reason == "canary" for one in decisions] == [one.reason == "canary" for one in without]
