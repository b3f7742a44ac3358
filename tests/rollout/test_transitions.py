"""The tables: what is legal, what changes nothing, and that a log replays to the same state."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.rollout.machine import decide
from graduand.rollout.state import Event, Hold, Phase, Serving, State, draft, event_from_dict, serving, state_from_dict
from graduand.rollout.transitions import TABLE, VERBS, IllegalEvent, StaleVersion, apply, replay
from tests.rollout.plays import HYBRID, SPEC, begin, good, harmful, reach, verb

KINDS = sorted({kind for events in TABLE.values() for kind in events})


def one_of_each() -> dict[Phase, State]:
    """A state in every phase."""
    canary, now = reach("canary-5")
    back = verb(canary, "rollback", now)
    states = {
        Phase.DRAFT: draft("r1", SPEC, "salt-1", 0.0),
        Phase.PRECHECK: begin(),
        Phase.SHADOW: reach("shadow")[0],
        Phase.CANARY: canary,
        Phase.HYBRID: reach("hybrid", HYBRID)[0],
        Phase.FULL: reach("full")[0],
        Phase.PROMOTED: reach("promoted")[0],
        Phase.HOLD: verb(canary, "pause", now),
        Phase.ROLLING_BACK: back,
        Phase.ROLLED_BACK: decide(back, good(back, now), now).state,
        Phase.ABORTED: verb(reach("shadow")[0], "abort", now),
        Phase.SUPERSEDED: verb(canary, "supersede", now),
    }
    assert set(states) == set(Phase)
    assert all(state.phase is phase for phase, state in states.items())
    return states


STATES = one_of_each()
ILLEGAL = [(phase, kind) for phase in Phase for kind in KINDS if kind not in TABLE[phase]]


@pytest.mark.parametrize(("phase", "kind"), ILLEGAL)
def test_illegal_events_raise_and_change_nothing(phase: Phase, kind: str) -> None:
    state = STATES[phase]
    before = json.dumps(state.to_dict())
    with pytest.raises(IllegalEvent, match="possible now"):
        apply(state, Event(kind, 1e6, state.version, actor="ann", reason="x", data={"salt": "new", "hold": "srm"}))
    assert json.dumps(state.to_dict()) == before


@pytest.mark.parametrize("phase", list(Phase))
def test_unknown_and_stale_events_raise(phase: Phase) -> None:
    state = STATES[phase]
    with pytest.raises(IllegalEvent):
        apply(state, Event("explode", 1e6, state.version))
    with pytest.raises(StaleVersion, match="look at it again"):
        apply(state, Event("rollback", 1e6, state.version + 1))


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.CANARY, Phase.HYBRID, Phase.FULL, Phase.HOLD, Phase.PROMOTED])
@pytest.mark.parametrize("kind", ["trip", "rollback"])
def test_the_way_to_weight_0_is_never_barred(phase: Phase, kind: str) -> None:
    after = apply(STATES[phase], Event(kind, 1e6, STATES[phase].version, actor="ann"))
    assert serving(after) == Serving("teacher", 0)


REFUSED: list[tuple[Phase, str, str, dict[str, Any], str]] = [
    (Phase.CANARY, "approve", "x", {}, "no approval is being asked"),
    (Phase.CANARY, "deny", "x", {}, "no approval is being asked"),
    (Phase.CANARY, "advance", "x", {}, "only after approval"),
    (Phase.CANARY, "promote", "", {}, "needs a reason"),
    (Phase.CANARY, "skip", "", {}, "needs a reason"),
    (Phase.CANARY, "hold", "x", {"hold": "boredom"}, "one of the reasons"),
    (Phase.FULL, "skip", "x", {}, "last step cannot be skipped"),
    (Phase.HOLD, "recover", "x", {}, "does not end by itself"),
    (Phase.HOLD, "retry", "x", {"salt": "new"}, "resumed or rolled back"),
    (Phase.ROLLED_BACK, "retry", "x", {}, "new salt"),
    (Phase.ROLLED_BACK, "retry", "x", {"salt": "salt-1"}, "new salt"),
]


@pytest.mark.parametrize(("phase", "kind", "reason", "data", "says"), REFUSED)
def test_guards(phase: Phase, kind: str, reason: str, data: dict[str, Any], says: str) -> None:
    with pytest.raises(IllegalEvent, match=says):
        verb(STATES[phase], kind, 1e6, reason=reason, **data)


def test_people_sign_their_verbs() -> None:
    state = STATES[Phase.CANARY]
    with pytest.raises(IllegalEvent, match="actor"):
        apply(state, Event("pause", 1e6, state.version, actor=""))
    assert set(KINDS) >= VERBS


def test_nothing_skips_from_a_failed_precheck() -> None:
    state = begin()
    held = decide(state, good(state, 1, precheck=("bad",)), 1).state
    for kind in ("promote", "skip"):
        with pytest.raises(IllegalEvent, match="held in precheck"):
            verb(held, kind, 2)


def test_the_same_key_counts_once() -> None:
    state = STATES[Phase.CANARY]
    event = Event("pause", 1e6, state.version, actor="ann", key="k1")
    paused = apply(state, event)
    assert apply(paused, event) is paused


def test_promote_goes_one_step_or_all_the_way() -> None:
    state = STATES[Phase.CANARY]
    assert verb(state, "promote", 1e6).step == state.step + 1
    full = verb(state, "promote", 1e6, full=True)
    assert full.phase is Phase.PROMOTED
    assert serving(full) == Serving("student", 10_000)
    assert full.note == "because"


def test_a_retry_is_a_new_draw_with_fresh_evidence() -> None:
    again = verb(STATES[Phase.ROLLED_BACK], "retry", 1e6, salt="salt-2")
    assert (again.phase, again.attempt, again.salt, again.step) == (Phase.PRECHECK, 2, "salt-2", -1)


def test_abort_takes_the_weight_away_first() -> None:
    aborting = verb(STATES[Phase.CANARY], "abort", 1e6)
    assert (aborting.phase, aborting.goal) == (Phase.ROLLING_BACK, Phase.ABORTED)
    assert verb(aborting, "zeroed", 1e6).phase is Phase.ABORTED
    assert verb(STATES[Phase.SHADOW], "abort", 1e6).phase is Phase.ABORTED


def test_pausing_a_hold_takes_it_over() -> None:
    state, now = reach("canary-5")
    held = decide(state, good(state, now, lease_held=False), now).state
    assert held.hold is Hold.LEASE_LOST
    paused = verb(held, "pause", now)
    assert (paused.hold, paused.held) == (Hold.PAUSED, Phase.CANARY)


def test_a_clock_that_goes_back_makes_no_negative_time() -> None:
    state, now = reach("canary-5")
    paused = verb(state, "pause", now - 500)
    assert paused.updated_at == state.updated_at
    assert verb(paused, "resume", 0.0).dwelt_s(0.0) == 0


moves = st.lists(st.tuples(st.sampled_from([*KINDS, "look", "harm", "silence"]), st.floats(1, 5000)), max_size=40)


@settings(max_examples=200)
@given(moves, st.sampled_from([SPEC, HYBRID]))
def test_any_history_replays_to_the_same_state_and_moves_nobody_back(moves: list[tuple[str, float]], spec: Any) -> None:
    state = first = draft("r1", spec, "salt-1", 0.0)
    log: list[Event] = []
    now = 0.0
    for kind, later in moves:
        now += later
        event: Event | None = Event(
            kind, now, state.version, "ann", "why", data={"salt": f"salt-{len(log)}", "hold": "no_data"}
        )
        if kind in ("look", "harm", "silence"):
            silent = good(state, now, gates={}, step_n=0, step_last_at=None)
            seen = {"look": good(state, now), "harm": harmful(state, now), "silence": silent}[kind]
            event = decide(state, seen, now).event
        if event is None:
            continue
        try:
            after = apply(state, event)
        except IllegalEvent:
            continue
        log.append(event)
        assert after.version == state.version + 1
        if event.kind not in ("trip", "rollback", "abort", "supersede", "zeroed"):
            assert serving(after).weight_bp >= serving(state).weight_bp
        state = state_from_dict(json.loads(json.dumps(after.to_dict())))
        assert state == after
    stored = [event_from_dict(json.loads(json.dumps(event.to_dict()))) for event in log]
    assert replay(first, stored) == state
