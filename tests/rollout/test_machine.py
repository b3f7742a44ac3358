"""Decisions: what moves a rollout, what holds it, what rolls it back, and what must never promote it."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.machine import IllegalEvent, apply, decide
from graduand.rollout.state import STEPPING, Event, Hold, Phase, State, serving
from tests.rollout.plays import HYBRID, SPEC, begin, good, harmful, reach, verb

DAY = 86400.0


def test_good_evidence_goes_all_the_way() -> None:
    state, now, path = begin(), 0.0, []
    for _ in range(40):
        now += 1000
        decision = decide(state, good(state, now), now)
        if decision.event is not None:
            path.append(decision.event.kind)
        state = decision.state
        if state.approval == "asked":
            state = verb(state, "approve", now)
    assert path == ["prechecked", "advance", "ask_approval", "advance", "advance", "advance"]
    assert state.phase is Phase.PROMOTED
    assert (serving(state).mode, serving(state).weight_bp) == ("student", 10_000)


def test_a_hybrid_rollout_ends_in_hybrid() -> None:
    state, _ = reach("promoted", HYBRID)
    assert serving(state).mode == "hybrid"


def test_hybrid_waits_for_a_threshold() -> None:
    state, now = reach("canary-10", HYBRID)
    decision = decide(state, good(state, now + 2000, threshold_ready=False), now + 2000)
    assert decision.event is None
    assert "threshold" in decision.reasons[0]


UNMET = [
    ("gates", {"agreement": Reading(2.9, 500, 0.0)}, "agreement: evidence 18.2 of 20 asked for"),
    ("gates", {"agreement": Reading(float("nan"), 500, 0.0)}, "agreement"),
    ("step_n", 99, "99 of 100 requests"),
]


@pytest.mark.parametrize(("field", "value", "says"), UNMET)
def test_each_unmet_condition_stays_and_says_so(field: str, value: Any, says: str) -> None:
    state, entered = reach("canary-25")
    now = entered + 2000
    if field == "gates":
        value = {name: replace(reading, last_at=now) for name, reading in value.items()}
    decision = decide(state, good(state, now, **{field: value}), now)
    assert decision.event is None
    assert decision.state is state
    assert says in " ".join(decision.reasons)


def test_dwell_is_waited_out_and_held_time_does_not_count() -> None:
    state, entered = reach("canary-5")  # dwell is 30 minutes
    assert decide(state, good(state, entered + 1799), entered + 1799).event is None
    paused = verb(state, "pause", entered + 60)
    resumed = verb(paused, "resume", entered + 10_000)
    assert resumed.dwelt_s(entered + 10_000) == pytest.approx(60)
    early = entered + 10_000 + 1700
    assert decide(resumed, good(resumed, early), early).event is None
    late = entered + 10_000 + 1741
    assert decide(resumed, good(resumed, late), late).event is not None


HOLDS: list[tuple[dict[str, Any], Hold]] = [
    ({"srm": Reading(8.0, 5000, 0.0)}, Hold.SRM),
    ({"lease_held": False}, Hold.LEASE_LOST),
    ({"step_last_at": 0.0}, Hold.NO_DATA),
    ({"step_last_at": None}, Hold.NO_DATA),
    ({"gates": {}}, Hold.NO_DATA),
    ({"harm": {}}, Hold.NO_DATA),
]


@pytest.mark.parametrize(("changes", "why"), HOLDS)
def test_holds_keep_the_weight(changes: dict[str, Any], why: Hold) -> None:
    state, entered = reach("canary-25")
    now = entered + 2000
    after = decide(state, good(state, now, **changes), now).state
    assert (after.phase, after.hold, after.held) == (Phase.HOLD, why, Phase.CANARY)
    assert serving(after) == serving(state)


@pytest.mark.parametrize("why", [Hold.NO_DATA, Hold.LEASE_LOST])
def test_passing_holds_end_by_themselves(why: Hold) -> None:
    state, entered = reach("canary-5")
    bad = {"step_last_at": 0.0} if why is Hold.NO_DATA else {"lease_held": False}
    now = entered + 2000
    held = decide(state, good(state, now, **bad), now).state
    assert decide(held, good(held, now + 10, **bad), now + 10).event is None
    again = decide(held, good(held, now + 100), now + 100).state
    assert again.phase is Phase.CANARY
    assert again.dwelt_s(now + 100) == pytest.approx(2000)


@pytest.mark.parametrize("kind", ["pause", "srm"])
def test_other_holds_wait_for_a_person(kind: str) -> None:
    state, entered = reach("canary-5")
    now = entered + 2000
    mismatch = good(state, now, srm=Reading(8.0, 5000, now))
    held = verb(state, "pause", now) if kind == "pause" else decide(state, mismatch, now).state
    assert decide(held, good(held, now + 9000), now + 9000).event is None
    resumed = verb(held, "resume", now + 9000)
    assert resumed.phase is Phase.CANARY
    assert (resumed.entry > held.entry) == (kind == "srm")  # old counts would hold it again at once


@pytest.mark.parametrize(("policy", "phase"), [("hold", Phase.HOLD), ("rollback", Phase.ROLLING_BACK)])
def test_inconclusive_never_promotes(policy: Any, phase: Phase) -> None:
    state, entered = reach("canary-25", replace(SPEC, on_inconclusive=policy))
    now = entered + 7 * DAY
    short = good(state, now, gates={"agreement": Reading(1.0, 500, now)})
    assert decide(state, short, now - 1).state.phase is Phase.CANARY
    decision = decide(state, short, now)
    assert decision.state.phase is phase
    assert "inconclusive after 7 days" in decision.reasons[0]


def test_resuming_an_inconclusive_step_gives_it_its_time_again() -> None:
    state, entered = reach("canary-25")
    now = entered + 7 * DAY
    short = {"agreement": Reading(1.0, 500, now)}
    held = decide(state, good(state, now, gates=short), now).state
    resumed = verb(held, "resume", now + 60)
    assert decide(resumed, good(resumed, now + 61, gates=short), now + 61).event is None


def everywhere() -> list[tuple[str, State, float]]:
    """Every state in which the student has an effect, held ones and one that waits for approval."""
    places = [(name, *reach(name)) for name in ("shadow", "canary-5", "canary-25", "full", "promoted")]
    places += [("hybrid", *reach("hybrid", HYBRID))]
    places += [(f"{name} held", verb(state, "pause", now), now) for name, state, now in places if name != "promoted"]
    state, now = reach("canary-5")
    waiting = decide(state, good(state, now + 2000), now + 2000).state
    assert waiting.approval == "asked"
    return [*places, ("waiting for approval", waiting, now + 2000)]


@pytest.mark.parametrize(("name", "state", "now"), everywhere(), ids=[place[0] for place in everywhere()])
def test_harm_rolls_back_from_everywhere(name: str, state: State, now: float) -> None:
    for evidence in (
        harmful(state, now + 5),
        harmful(state, now + 5, entry=-1, lease_held=False, step_last_at=None),
        good(state, now + 5, trips=("the adapter vanished",)),
        good(state, now + 5, harm={"agreement as served": Reading(float("nan"), 1, now)}),
    ):
        decision = decide(state, evidence, now + 5)
        assert decision.state.phase is Phase.ROLLING_BACK
        assert serving(decision.state).weight_bp == 0  # weight first ...
        still = decide(decision.state, replace(evidence, weights_applied=False), now + 6)
        assert still.state.phase is Phase.ROLLING_BACK  # ... bookkeeping when every worker has it
        assert decide(decision.state, evidence, now + 7).state.phase is Phase.ROLLED_BACK


def test_harm_threshold_is_shared_between_gates() -> None:
    """What harm gates stand for on both paths, five at alpha .01, asks for E >= 500 each."""
    state, entered = reach("canary-5")
    now = entered + 5
    for log_e, trips in ((6.2, False), (6.3, True)):
        evidence = good(state, now, harm={**good(state, now).harm, "agreement as served": Reading(log_e, 300, now)})
        assert (decide(state, evidence, now).state.phase is Phase.ROLLING_BACK) == trips


def test_the_watch_speaks_only_after_promotion() -> None:
    loud = Reading(9.3, 12_000, 0.0)
    state, now = reach("promoted")
    assert decide(state, good(state, now, watch=loud), now).state.phase is Phase.ROLLING_BACK
    state, now = reach("full")
    assert decide(state, good(state, now, watch=loud), now).state.phase is Phase.FULL


def test_failed_prechecks_hold_and_pending_ones_wait() -> None:
    state = begin()
    assert decide(state, good(state, 5, precheck=None), 5).event is None
    held = decide(state, good(state, 5, precheck=("the adapter is not loaded",)), 5)
    assert held.state.hold is Hold.PRECHECK
    assert held.reasons == ("precheck failed: the adapter is not loaded",)
    assert verb(held.state, "retry", 6, salt="salt-2").phase is Phase.PRECHECK


def test_approval_is_asked_once_and_waits_for_ever() -> None:
    state, entered = reach("canary-5")
    now = entered + 2000
    asked = decide(state, good(state, now), now).state
    late = now + 30 * DAY
    assert decide(asked, good(asked, late), late).event is None
    denied = verb(asked, "deny", late)
    assert (denied.hold, denied.approval) == (Hold.DENIED, "none")


def test_evidence_of_another_step_or_attempt_moves_nothing() -> None:
    state, entered = reach("canary-5")
    now = entered + 2000
    assert decide(state, good(state, now, entry=state.entry - 1), now).event is None
    assert decide(state, harmful(state, now, attempt=state.attempt + 1), now).event is None


readings = st.builds(
    Reading,
    log_e=st.floats(-1e3, 1e3) | st.just(float("nan")),
    n=st.just(0),
    last_at=st.none() | st.floats(0, 1e7),
)


@given(
    st.sampled_from(["shadow", "canary-5", "canary-25", "full"]),
    readings,
    st.integers(0, 3),
    st.floats(0, 1e7),
    st.booleans(),
)
def test_zero_data_never_promotes(place: str, reading: Reading, step_n: int, later: float, fresh: bool) -> None:
    state, entered = reach(place)
    now = entered + later
    evidence = good(state, now, gates={"agreement": replace(reading, last_at=now if fresh else reading.last_at)})
    for silent in (evidence, good(state, now, step_n=0), good(state, now, step_last_at=None, gates={})):
        after = decide(state, silent, now).state
        assert after.step == state.step
        assert after.phase is not Phase.PROMOTED


@given(st.sampled_from(everywhere()), st.floats(0, 1e7), st.booleans(), st.booleans())
def test_the_same_input_gives_the_same_decision(
    place: tuple[str, State, float], later: float, lease: bool, harm: bool
) -> None:
    _, state, now = place
    evidence: Evidence = (harmful if harm else good)(state, now + later, lease_held=lease)
    assert decide(state, evidence, now + later) == decide(state, evidence, now + later)


def test_every_decision_gives_reasons() -> None:
    for name, state, now in everywhere():
        for evidence in (good(state, now), harmful(state, now), good(state, now, gates={}, step_last_at=None)):
            decision = decide(state, evidence, now + 10)
            assert decision.reasons, name
            assert all(decision.reasons), name


def test_resting_phases_stay() -> None:
    state, now = reach("canary-5")
    resting = verb(decide(state, good(state, now), now).state, "abort", now)
    assert resting.phase is Phase.ROLLING_BACK
    aborted = decide(resting, good(resting, now), now).state
    assert aborted.phase is Phase.ABORTED
    assert decide(aborted, harmful(aborted, now), now).event is None
    assert Phase.ABORTED not in STEPPING


def test_a_holdout_stays_with_the_teacher_after_promotion_only() -> None:
    spec = replace(SPEC, holdout_bp=100)
    full, _ = reach("full", spec)
    promoted, _ = reach("promoted", spec)
    assert (serving(full).mode, serving(full).weight_bp) == ("student", 10_000)
    assert (serving(promoted).mode, serving(promoted).weight_bp) == ("canary", 9_900)


def test_new_evidence_enters_the_step_again_and_draws_from_the_account() -> None:
    state, now = reach("canary-25")
    renewed = apply(state, Event("renew", now + 5, state.version, reason="another teacher", data={"share": 0.15}))
    assert (renewed.basis, renewed.entry, renewed.current) == (state.basis + 1, state.entry + 1, state.current)
    assert renewed.gates[0].log_threshold == pytest.approx(state.spec.gates[0].log_threshold - math.log(0.15))
    with pytest.raises(IllegalEvent, match="share"):
        apply(state, Event("renew", now + 5, state.version, reason="another teacher", data={"share": 0}))


PROVEN = [(0, "0 of at least 2 whole cycles"), (1, "1 of at least 2 whole cycles")]


@pytest.mark.parametrize(("cycles", "says"), PROVEN)
def test_a_proof_waits_for_whole_cycles(cycles: int, says: str) -> None:
    state, entered = reach("canary-25")
    state = replace(state, spec=replace(state.spec, cycle="24h"))
    now = entered + 2000
    decision = decide(state, good(state, now, cycles=cycles), now)
    assert decision.event is None
    assert says in " ".join(decision.reasons)


HELD: list[tuple[dict[str, Any], Hold]] = [
    ({"path": Reading(8.0, 500, 0.0, "copies agree +9.0% more often")}, Hold.PATHS),
    ({"harm": {"errors as served": Reading(1.0, 5, 0.0, apart="they sit in few units")}}, Hold.UNITS),
    ({"futile": {"agreement": Reading(3.5, 500, 0.0, "93%")}}, Hold.FUTILE),
    ({"differ": "the cycles differ"}, Hold.CYCLES),
]


@pytest.mark.parametrize(("changes", "why"), HELD)
def test_what_a_person_has_to_look_at_holds_and_is_entered_again_when_it_is_resumed(
    changes: dict[str, Any], why: Hold
) -> None:
    state, entered = reach("canary-25")
    now = entered + 2000
    if "harm" in changes:
        quiet = good(state, now).harm
        changes = {"harm": {**quiet, **{name: replace(one, last_at=now) for name, one in changes["harm"].items()}}}
    held = decide(state, good(state, now, **changes), now).state
    assert (held.hold, serving(held)) == (why, serving(state))
    assert decide(held, good(held, now + 9000), now + 9000).event is None
    assert verb(held, "resume", now + 9000).entry == state.entry + 1


def test_where_nothing_can_be_held_two_counts_that_differ_are_harm() -> None:
    alarm = Reading(9.0, 50, 0.0, apart="more units, not more requests")
    for place, phase in (("canary-25", Phase.HOLD), ("promoted", Phase.ROLLING_BACK)):
        state, entered = reach(place)
        now = entered + 5
        harm = {**good(state, now).harm, "errors as served": replace(alarm, last_at=now)}
        assert decide(state, good(state, now, harm=harm), now).state.phase is phase
