"""Evidence gathered: signals reach their gates, steps and attempts start what they should, storage keeps bits."""

import json
import random

import pytest

from graduand.rollout.assignment import BUCKETS, arm
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.ledger import ARMS, Answered, Ledger, Pair, _sample_ratio, ledger_from_dict, start
from graduand.rollout.machine import decide
from graduand.rollout.spec.file import read
from graduand.rollout.state import Hold, Phase
from tests.rollout.plays import SPEC, begin, good, reach, verb

RICH = read(
    {
        "route": "r",
        "student": "s@3f9c1a",
        "steps": ["shadow", "canary 10", "full"],
        "gates": ["agreement", {"agreement": {"field": "kind"}}, "score", "incumbent", {"latency": {"slo": "1s"}}],
    }
)


def counts(ledger: Ledger) -> dict[str, int]:
    return {name: tracked.gate.n for name, tracked in ledger.promote.items()}


def test_each_signal_reaches_its_gates() -> None:
    state, _ = reach("canary-10", RICH)
    ledger = start(state)
    ledger.pair(Pair(1.0, agreed=True, fields={"kind": True, "other": False}))
    ledger.pair(Pair(2.0, agreed=False, score=0.7, incumbent_agreed=True, unparsed=True))
    ledger.pair(Pair(3.0))  # unscored: nobody learns
    ledger.answered(Answered(4.0, by_student=True, times_s={"first_token": 0.3, "total": 2.0}))
    ledger.answered(Answered(5.0, by_student=False, failed=True, times_s={"first_token": 9.0}))
    assert counts(ledger) == {
        "agreement": 2,
        "agreement:kind": 1,
        "score": 1,
        "incumbent": 1,
        "latency:first_token": 1,
    }
    harm = {name: tracked.gate.n for name, tracked in ledger.harm.items()}
    assert harm == {"agreement": 2, "incumbent": 1, "errors": 1}
    assert (ledger.pairs, ledger.unparsed, ledger.step_n) == (3, 1, 1)
    assert ledger.harm["errors"].last_at == 5.0


def test_a_student_that_is_worse_on_one_slice_is_held() -> None:
    """Nine in ten requests are English and go well; the overall agreement is far above what is asked."""
    gates = ["agreement 0.9", {"agreement": {"p0": 0.9, "slice": "french"}}]
    steps = [{"shadow": {"pairs": 100, "t_max": "1h"}}, "full"]
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": steps, "gates": gates})
    state, rng = decide(begin(spec), good(begin(spec), 1), 1).state, random.Random(2)
    ledger = start(state)
    for at in range(3000):
        french = rng.random() < 0.1
        ledger.pair(Pair(at, rng.random() < (0.8 if french else 0.99), slices=("french",) if french else ()))
    assert ledger.promote["agreement@french"].gate.n < 400
    decision = decide(state, ledger.snapshot(), 3600 + 1)
    assert decision.state.hold is Hold.INCONCLUSIVE
    assert next(reason for reason in decision.reasons if "of 20 asked for" in reason).startswith("agreement@french")


def test_no_errors_are_news_too() -> None:
    state, _ = reach("canary-10", RICH)
    ledger = start(state)
    ledger.answered(Answered(7.0, by_student=False))
    assert (ledger.harm["errors"].gate.n, ledger.harm["errors"].last_at) == (0, 7.0)


def test_steps_and_attempts_start_what_they_should() -> None:
    state, now = reach("canary-5")
    ledger = start(state)
    ledger.pair(Pair(1.0, agreed=True))
    ledger.answered(Answered(1.0, by_student=True))
    ledger.unit("treatment")
    onward = verb(state, "skip", now)
    ledger = ledger.follow(onward)
    assert (ledger.step_n, ledger.step_last_at, counts(ledger)) == (0, None, {"agreement": 1})
    assert ledger.srm is not None
    assert ledger.srm.n == 0
    back = verb(onward, "rollback", now)
    done = decide(back, good(back, now), now).state
    fresh = ledger.follow(verb(done, "retry", now, salt="salt-2"))
    assert (fresh.attempt, counts(fresh)) == (2, {"agreement": 0})


def test_holding_changes_no_evidence() -> None:
    state, now = reach("canary-5")
    ledger = start(state)
    ledger.answered(Answered(1.0, by_student=True))
    before = ledger.to_dict()
    assert ledger.follow(verb(state, "pause", now)).to_dict() == before


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
        ledger.pair(Pair(1.0, agreed=True))
        assert ledger.watch.gate.n == n


def test_stored_in_the_middle_changes_no_bit() -> None:
    state, _ = reach("canary-10", RICH)
    straight, stored, rng = start(state), start(state), random.Random(5)
    for at in range(200):
        agreed = rng.random() < 0.9
        pair = Pair(at, agreed, {"kind": agreed}, rng.random(), rng.random() < 0.8)
        request = Answered(at, rng.random() < 0.1, rng.random() < 0.2, {"first_token": rng.random() * 2})
        for ledger in (straight, stored):
            ledger.pair(pair)
            ledger.answered(request)
            ledger.unit(ARMS[at % 3])
        stored = ledger_from_dict(json.loads(json.dumps(stored.to_dict())))
    assert stored.to_dict() == straight.to_dict()
    assert stored.snapshot() == straight.snapshot()


def test_a_ledger_and_the_machine_promote_a_good_student() -> None:
    state, now, rng = begin(SPEC), 0.0, random.Random(1)
    ledger = start(state)
    for _ in range(400):
        now += 60
        for _ in range(20):
            ledger.pair(Pair(now, agreed=rng.random() < 0.98))
            ledger.answered(Answered(now, by_student=rng.random() < 0.3))
        state = decide(state, ledger.snapshot(precheck=()), now).state
        if state.approval == "asked":
            state = verb(state, "approve", now)
        ledger = ledger.follow(state)
    assert state.phase is Phase.PROMOTED
    gate = ledger.promote["agreement"].gate
    assert isinstance(gate, Agreement)
    assert "7832 of 8000 agree, 97.9%" in ledger.promote["agreement"].reading().note
