"""Evidence gathered: signals and paths reach their gates, units and cycles are whole, storage keeps bits."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.assignment import BUCKETS, arm
from graduand.rollout.evidence import Evidence
from graduand.rollout.ledger import ARMS, WINDOW_S, Answered, Ledger, Pair, _sample_ratio, ledger_from_dict, start
from graduand.rollout.machine import decide
from graduand.rollout.spec.file import read
from graduand.rollout.state import Hold, Phase, State
from graduand.rollout.units import GAP_S
from tests.rollout.plays import SPEC, Once, begin, good, reach, verb

DAY = 86400.0
RICH = read(
    {
        "route": "r",
        "student": "s@3f9c1a",
        "steps": ["shadow", "canary 10", "full"],
        "gates": ["agreement", {"agreement": {"field": "kind"}}, "score", "incumbent", {"latency": {"slo": "1s"}}],
        "cycle": "none",
    }
)


def counts(ledger: Ledger) -> dict[str, int]:
    assert ledger.course is not None
    return {name: proof.n for name, proof in ledger.course.proofs.items()}


def harm(ledger: Ledger) -> dict[str, int]:
    return {name: tracked.gate.n for name, tracked in ledger.harm.items()}


def fed(ledger: Ledger, pairs: list[Pair], once: Once | None = None) -> Once:
    once = once or Once()
    for pair in pairs:
        ledger.pair(pair, once)
    return once


def test_each_signal_reaches_its_gates() -> None:
    ledger = start(reach("canary-10", RICH)[0])
    pairs = [
        Pair(1.0, agreed=True, fields={"kind": True, "other": False}, score=0.7, duel="equal", path="served"),
        Pair(2.0, agreed=False, score=0.7, checks={"policy": True}, duel="lost", unparsed=True, path="served"),
        Pair(3.0, path="served"),  # no outcome: the worst one
    ]
    fed(ledger, pairs)
    ledger.answered(Answered(4.0, by_student=True, times_s={"first_token": 0.3, "total": 2.0}))
    ledger.answered(Answered(5.0 + WINDOW_S, by_student=True, times_s={"first_token": 9.0}))
    ledger.answered(Answered(6.0, by_student=False, times_s={"first_token": 9.0}))
    # The incumbent's gate learns nothing where both are right, a field's nothing where it is not there.
    known = {"agreement": 3, "agreement:kind": 2, "score": 3, "incumbent": 2, "latency:first_token": 1}
    assert counts(ledger) == known
    assert ledger.course is not None
    assert ledger.course.proofs["agreement"].gate.mean == pytest.approx(1 / 3)
    assert ledger.course.futile["agreement"].gate.mean == pytest.approx(2 / 3)
    assert (ledger.pairs, ledger.unparsed, ledger.step_n) == (3, 1, 2)
    assert (ledger.course.seen.requests, ledger.course.seen.missing) == (3, 1)


def test_copies_and_served_answers_never_share_an_e() -> None:
    ledger = start(reach("canary-5")[0])
    fed(ledger, [Pair(float(at), True, path="copies", unit=at) for at in range(9)])
    fed(ledger, [Pair(float(at), False, path="served", unit=100 + at) for at in range(5)])
    ledger.tick(GAP_S + 100, Once())
    assert harm(ledger) == {
        "agreement of copies": 9, "agreement as served": 5, "agreement as served, dropped": 5, "errors of copies": 0,
        "errors as served": 0,
    }  # fmt: skip
    assert ledger.harm["agreement of copies"].gate.log_e < 0 < ledger.harm["agreement as served"].gate.log_e


def test_a_session_is_one_observation_and_its_first_audit_is_looked_at_at_once() -> None:
    ledger = start(reach("canary-25")[0])
    once = fed(ledger, [Pair(float(at), at != 3, path="served", unit=7) for at in range(20)])
    assert harm(ledger)["agreement as served, dropped"] == 1
    assert (counts(ledger), harm(ledger)["agreement as served"]) == ({"agreement": 0}, 0)
    ledger.tick(20 + GAP_S, once)
    assert (counts(ledger), harm(ledger)["agreement as served"]) == ({"agreement": 1}, 1)
    assert ledger.course is not None
    assert ledger.course.proofs["agreement"].gate.mean == pytest.approx(0.95)
    assert (ledger.course.seen.units, ledger.course.seen.sittings, ledger.course.seen.requests) == (1, 1, 20)


@pytest.mark.parametrize(("claim", "observations"), [("sessions", 3), ("users", 1)])
def test_users_like_these_are_one_observation_each(claim: str, observations: int) -> None:
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": ["shadow", "full"], "claim": claim, "cycle": "none"})
    ledger = start(reach("full", spec)[0])
    once = Once()
    for session in range(3):
        at = session * 2 * GAP_S
        fed(ledger, [Pair(at + n, True, path="served", unit=7) for n in range(3)], once)
    ledger.tick(7 * GAP_S, once)
    assert counts(ledger) == {"agreement": observations}
    note = ledger.snapshot().gates["agreement"].note
    assert ("one observation a user" in note) == (claim == "users")


def daily(pairs: int = 1) -> State:
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": [{"shadow": {"pairs": pairs}}, "full"]})
    return decide(begin(spec), good(begin(spec), 0.0), 0.0).state


def test_promotion_is_looked_at_at_the_ends_of_whole_cycles_and_harm_at_once() -> None:
    state = daily()
    ledger, once = start(state), Once()
    for at in range(400):
        ledger.pair(Pair(at * 60.0, True, unit=at), once)
    assert harm(ledger)["agreement of copies"] > 300
    assert (counts(ledger), ledger.snapshot().cycles) == ({"agreement": 0}, 0)
    ledger.tick(DAY, once)
    assert (counts(ledger), ledger.snapshot().cycles) == ({"agreement": 400}, 1)
    ledger.pair(Pair(DAY, True, unit=8), once)
    decision = decide(state, ledger.snapshot(), DAY)
    assert decision.event is None
    assert "1 of at least 2 whole cycles" in " ".join(decision.reasons)
    ledger.pair(Pair(2 * DAY - 60, True, unit=9), once)
    ledger.tick(2 * DAY, once)
    assert decide(state, ledger.snapshot(), 2 * DAY).event is not None


def test_days_that_vary_wait_for_another_one() -> None:
    """Both are above the bound, and their requests certify that; the next day may not be."""
    state = daily()
    for means, waits in (((0.985, 0.965), True), ((0.98, 0.98), False)):
        ledger, once = start(state), Once()
        for day, mean in enumerate(means):
            pairs = [Pair(day * DAY + at * 100, at % 200 >= 200 * (1 - mean)) for at in range(600)]
            fed(ledger, [*pairs, Pair((day + 1) * DAY - 1, True)], once)
            ledger.tick((day + 1) * DAY, once)
        decision = decide(state, ledger.snapshot(), 2 * DAY)
        assert (decision.event is None) == waits
        assert ("another cycle tells" in decision.reasons[0]) == waits


def test_a_cycle_with_a_hold_in_it_does_not_count() -> None:
    state = daily()
    ledger, once = start(state), Once()
    fed(ledger, [Pair(at * 60.0, True, unit=at) for at in range(100)], once)
    held = verb(state, "pause", 0.5 * DAY)
    ledger = ledger.follow(held)
    fed(ledger, [Pair(0.5 * DAY + at, True, unit=at) for at in range(50)], once)
    back = verb(held, "resume", 0.6 * DAY)
    ledger = ledger.follow(back)
    fed(ledger, [Pair(0.6 * DAY + at, True, unit=200 + at) for at in range(30)], once)
    ledger.tick(1.59 * DAY, once)
    assert ledger.snapshot().cycles == 0
    ledger.tick(1.6 * DAY, once)
    assert (ledger.snapshot().cycles, counts(ledger)) == (1, {"agreement": 30})
    assert harm(ledger)["agreement of copies"] >= 150  # harm is looked for in a hold too


def test_days_that_differ_hold_the_step_and_ask_for_weeks() -> None:
    state = daily()
    ledger, once, rng = start(state), Once(), random.Random(1)
    for day, mean in enumerate((0.99, 0.96)):
        fed(ledger, [Pair(day * DAY + at * 20, rng.random() < mean) for at in range(4000)], once)
        ledger.pair(Pair((day + 1) * DAY - 1, True), once)
        ledger.tick((day + 1) * DAY, once)
    decision = decide(state, ledger.snapshot(), 2 * DAY)
    assert decision.state.hold is Hold.CYCLES
    assert "7d" in decision.reasons[0]
    resumed = verb(decision.state, "resume", 2 * DAY + 1)
    again = ledger.follow(resumed).snapshot()
    assert again.differ == ""  # a person has seen it; what was proved stays
    assert again.gates["agreement"].n == 8002


def test_a_step_proves_itself_afresh_and_a_re_entry_goes_on() -> None:
    state, now = reach("canary-25")
    ledger = start(state)
    fed(ledger, [Pair(now + at, True, path="served") for at in range(50)])
    assert counts(ledger) == {"agreement": 50}
    held = decide(state, good(state, now + 8 * DAY, gates={}), now + 8 * DAY).state
    held = held if held.hold is Hold.INCONCLUSIVE else verb(state, "pause", now + 8 * DAY)
    assert counts(ledger.follow(verb(held, "resume", now + 8 * DAY))) == {"agreement": 50}
    onward = verb(state, "skip", now)
    assert counts(ledger.follow(onward)) == {"agreement": 0}


def test_answers_of_an_earlier_step_certify_nothing() -> None:
    ledger = start(reach("canary-25")[0])
    fed(ledger, [Pair(float(at), True, path="served", of_step=False) for at in range(9)])
    assert counts(ledger) == {"agreement": 0}
    assert harm(ledger)["agreement as served"] == 9


def test_a_failure_counts_once_a_unit_and_every_request_beside_it() -> None:
    ledger = start(reach("canary-5")[0])
    pairs = [Pair(float(at), True, path="served", unit=at % 3, student_failed=True) for at in range(30)]
    fed(ledger, pairs)
    gate = ledger.harm["errors as served"].gate
    assert gate.n == 3
    assert gate.requests.n == 30  # type: ignore[union-attr]


def test_failures_of_few_units_hold_and_name_them() -> None:
    state, now = reach("canary-5")
    ledger, once = start(state), Once()
    for at in range(3000):
        failed = at % 20 == 0
        pair = Pair(now + at, True, path="served", unit=7 if failed else 1000 + at, student_failed=failed)
        ledger.pair(pair, once)
        ledger.answered(Answered(now + at, by_student=True))
        ledger.pair(Pair(now + at, True, path="copies"), once)
    decision = decide(state, ledger.snapshot(), now + 3000)
    assert decision.state.hold is Hold.UNITS
    assert "7 (150 times)" in decision.reasons[0]


def test_paths_that_differ_hold_the_step() -> None:
    """What is served is right less often than copies, though not so bad as to be called harmful."""
    state, now = reach("canary-25")
    ledger, once, rng = start(state), Once(), random.Random(3)
    for at in range(6000):
        served = at % 4 == 0
        agreed = rng.random() < (0.91 if served else 1.0)
        ledger.pair(Pair(now + at, agreed, path="served" if served else "copies"), once)
        if served:
            ledger.answered(Answered(now + at, by_student=True))
    decision = decide(state, ledger.snapshot(), now + 6000)
    assert decision.state.hold is Hold.PATHS
    assert "the paths differ" in decision.reasons[0]


@pytest.mark.parametrize(("policy", "phase"), [("hold", Phase.HOLD), ("rollback", Phase.ROLLING_BACK)])
def test_a_student_known_to_be_below_the_bound_is_not_waited_for(policy: str, phase: Phase) -> None:
    steps = [{"shadow": {"pairs": 10}}, "full"]
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": steps, "cycle": "none", "on_inconclusive": policy})
    state = decide(begin(spec), good(begin(spec), 0.0), 0.0).state
    ledger, rng = start(state), random.Random(4)
    fed(ledger, [Pair(float(at), rng.random() < 0.915) for at in range(800)])
    decision = decide(state, ledger.snapshot(), 800.0)
    assert decision.state.phase is phase
    assert "known to be below 0.95" in decision.reasons[0]


def test_a_student_that_is_worse_on_one_slice_is_stopped() -> None:
    """Nine in ten requests are English and go well; the overall agreement is far above what is asked."""
    gates = ["agreement 0.9", {"agreement": {"p0": 0.9, "slice": "french"}}]
    steps = [{"shadow": {"pairs": 100}}, "full"]
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": steps, "gates": gates, "cycle": "none"})
    state, rng = decide(begin(spec), good(begin(spec), 1), 1).state, random.Random(2)
    ledger, once = start(state), Once()
    for at in range(3000):
        french = rng.random() < 0.1
        pair = Pair(at, rng.random() < (0.8 if french else 0.99), slices=("french",) if french else ())
        ledger.pair(pair, once)
    decision = decide(state, ledger.snapshot(), 3601)
    assert decision.state.phase is Phase.ROLLING_BACK or decision.state.hold is Hold.FUTILE
    assert "agreement@french" in decision.reasons[0]


def test_few_users_are_seldom_drawn_and_that_is_no_silence() -> None:
    state, now = reach("full")
    ledger = start(state)
    ledger.answered(Answered(now + 10, by_student=True))
    late = now + 10 * state.spec.stale_s
    ledger.answered(Answered(late, by_student=True))
    assert decide(state, ledger.snapshot(), late).event is None
    ledger.answered(Answered(now + 20, by_student=True, drawn="served"))
    ledger.answered(Answered(late, by_student=True))
    assert decide(state, ledger.snapshot(), late).state.hold is Hold.NO_DATA  # the pair should have come long ago


def test_a_silent_night_does_not_spoil_a_cycle() -> None:
    state = daily()
    ledger, once = start(state), Once()
    fed(ledger, [Pair(at * 60.0, True, unit=at) for at in range(100)], once)
    silent = decide(state, ledger.snapshot(), 0.5 * DAY).state
    assert silent.hold is Hold.NO_DATA
    ledger = ledger.follow(silent)
    fed(ledger, [Pair(0.6 * DAY, True, unit=1)], once)
    ledger = ledger.follow(decide(silent, ledger.snapshot(), 0.6 * DAY).state)
    ledger.tick(DAY, once)
    assert (ledger.snapshot().cycles, counts(ledger)) == (1, {"agreement": 101})


def test_no_errors_are_news_too() -> None:
    ledger = start(reach("canary-10", RICH)[0])
    fed(ledger, [Pair(7.0, True, path="served")])
    assert (harm(ledger)["errors as served"], ledger.harm["errors as served"].last_at) == (0, 7.0)


def test_what_starts_anew_and_what_goes_on() -> None:
    state, now = reach("canary-5")
    ledger = start(state)
    fed(ledger, [Pair(1.0, True, path="served")])
    ledger.answered(Answered(1.0, by_student=True))
    ledger.unit("treatment")
    onward = verb(state, "skip", now)
    ledger = ledger.follow(onward)
    assert (ledger.step_n, ledger.step_last_at, harm(ledger)["agreement as served"]) == (0, None, 1)
    assert ledger.srm is not None
    assert ledger.srm.n == 0
    back = verb(onward, "rollback", now)
    done = decide(back, good(back, now), now).state
    again = ledger.follow(verb(done, "retry", now, salt="salt-2"))
    assert (again.attempt, harm(again)["agreement as served"]) == (2, 1)
    fresh = ledger.follow(verb(done, "retry", now, salt="salt-2", anew=True, share=0.1))
    assert (fresh.attempt, fresh.basis, harm(fresh)["agreement as served"]) == (2, 2, 0)


@pytest.mark.parametrize("weight", [1, 100, 4999, 5000, 5001, 9999])
def test_expected_shares_are_those_of_the_assignment(weight: int) -> None:
    gate = _sample_ratio(weight)
    assert gate is not None
    arms = [arm(position, weight) for position in range(BUCKETS)]
    assert list(gate.shares) == [arms.count(name) / BUCKETS for name in ARMS]


def test_there_is_no_ratio_to_test_when_one_arm_has_all() -> None:
    assert _sample_ratio(0) is None
    assert _sample_ratio(BUCKETS) is None


def test_watch_learns_only_after_promotion() -> None:
    for place, n in (("full", 0), ("promoted", 1)):
        ledger = start(reach(place)[0])
        fed(ledger, [Pair(1.0, True, path="served")])
        assert ledger.watch.gate.n == n


ACTS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, GAP_S), st.sampled_from([True, False, None]), st.booleans()), max_size=40
)


@pytest.mark.parametrize("cycle", ["24h", "none"])
@given(acts=ACTS)
def test_stored_in_the_middle_changes_no_bit(cycle: str, acts: list[tuple[int, float, bool | None, bool]]) -> None:
    spec = read({**RICH_FORM, "cycle": cycle})
    state = good_canary(spec)
    straight, stored, once, same, now = start(state), start(state), Once(), Once(), state.entered_at
    for unit, wait, agreed, served in acts:
        now += wait * 10
        pair = Pair(
            now, agreed, {} if agreed is None else {"kind": agreed}, None if agreed is None else 0.5,
            "" if agreed is None else "won",
            path="served" if served else "copies", unit=unit or None, student_failed=served, p=0.5,
        )  # fmt: skip
        for ledger, seen in ((straight, once), (stored, same)):
            ledger.pair(pair, seen)
            ledger.answered(Answered(now, served, {"first_token": wait}))
            ledger.unit(ARMS[unit % 3])
        stored = ledger_from_dict(json.loads(json.dumps(stored.to_dict())))
    assert stored.to_dict() == straight.to_dict()
    assert stored.snapshot() == straight.snapshot()


RICH_FORM: dict[str, Any] = {
    "route": "r", "student": "s@3f9c1a", "steps": ["shadow", "canary 10", "full"],
    "gates": ["agreement", {"agreement": {"field": "kind"}}, "score", "incumbent", {"latency": {"slo": "1s"}}],
}  # fmt: skip


def good_canary(spec: Any) -> State:
    state, now = begin(spec), 0.0
    while state.current is None or state.current.kind != "canary":
        now += 1000.0
        decision = decide(state, good(state, now), now)
        state = decision.state
        assert now < 10**6, decision.reasons
    return state


def test_a_ledger_and_the_machine_promote_a_good_student() -> None:
    state, now, rng, once = begin(SPEC), 0.0, random.Random(1), Once()
    ledger = start(state)
    snapshot: Evidence | None = None
    for _ in range(600):
        now += 60
        for _ in range(20):
            served = state.phase is not Phase.SHADOW and rng.random() < 0.3
            ledger.pair(Pair(now, rng.random() < 0.98, path="served" if served else "copies"), once)
            ledger.answered(Answered(now, by_student=served))
        snapshot = ledger.snapshot(precheck=())
        state = decide(state, snapshot, now).state
        if state.approval == "asked":
            state = verb(state, "approve", now)
        if state.phase is Phase.PROMOTED:
            break
        ledger = ledger.follow(state)
    assert state.phase is Phase.PROMOTED
    assert snapshot is not None
    assert "units unknown" in snapshot.gates["agreement"].note
