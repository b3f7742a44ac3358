"""Rollouts of a real gateway, end to end: each kind of student ends where it should, and silence moves nothing."""

import time

from tests.gateway.control.conftest import Live
from tests.gateway.control.live import BREAKING, GOOD, SLICED, TEACHER, Users, steps
from tests.gateway.running import until


def test_a_good_student_is_promoted_by_itself(live: Live) -> None:
    with Users(live.gateway.port, "good") as users:
        name = live.rollouts.start("good", GOOD)
        live.rollouts.until(name, "promoted")
        live.gateway.settled()
        settled_at = time.time()
        until(lambda: users.replies[-1].began > settled_at, "somebody asks after that")
    assert {reply.arm for reply in users.replies if reply.began > settled_at} == {"student"}
    events = live.rollouts.get(name, "/history")["events"]
    assert [event["event"] for event in events] == ["start", "prechecked", "advance", "advance", "advance"]
    assert [event["phase"] for event in events[1:]] == ["shadow", "canary", "full", "promoted"]
    assert events[0]["who"] == "ann"
    assert "evidence" in events[2]["reason"]
    by_reason = {reply.reason for reply in users.replies}
    assert {"teacher", "canary", "control", "student"} <= by_reason


def test_a_student_that_is_worse_on_a_slice_is_held(live: Live) -> None:
    gates = ["agreement 0.8", {"agreement": {"p0": 0.8, "slice": "refunds"}}]
    slow = [{"shadow": {"pairs": 60}}, *steps()[1:]]
    with Users(live.gateway.port, "sliced", pause_s=0.01) as users:
        name = live.rollouts.start(
            "sliced", SLICED, gates=gates, slices={"refunds": {"prompt": "refund"}}, steps=slow,
            harm=[{"agreement": {"p0": 0.5}}],
        )  # fmt: skip
        held = live.rollouts.until(name, "hold")
    assert (held["hold"], held["mode"], held["weight"]) == ("futile", "shadow", 0)
    assert any("agreement@refunds" in reason for reason in held["reasons"])
    assert held["agreement"]["share"] > 0.9
    assert {reply.arm for reply in users.replies} == {"teacher"}
    seen = live.rollouts.get(name, "/disagreements")["disagreements"]
    assert seen[0]["slices"] == ["refunds"]
    assert (seen[0]["student"], "refund" in seen[0]["prompt"]) == ("maybe", True)


LASTS = {"weight": 10, "requests": 100_000, "dwell": "1h"}


def test_a_student_that_breaks_at_ten_percent_is_rolled_back(live: Live) -> None:
    """Within a second every worker serves weight 0: in one of a few rollouts, for a worker may be given no time itself."""
    took_s = [broken_and_rolled_back(live)]
    while min(took_s) >= 1:
        assert len(took_s) < 4, took_s
        took_s.append(broken_and_rolled_back(live))


def broken_and_rolled_back(live: Live) -> float:
    """Break the student in a canary; return the seconds from the trip until every worker serves weight 0."""
    live.faults.broken = False
    # What the breaker still keeps from the student after the last time would be harm in the shadow.
    until(lambda: live.gateway.total("graduand_breaker_open", "faults") == 0, "the student's replica is asked again")
    with Users(live.gateway.port, "breaking") as users:
        name = live.rollouts.start("breaking", BREAKING, steps=steps(LASTS))
        live.rollouts.until(name, "canary-10")
        live.faults.broken = True
        live.rollouts.until(name, "rolled_back")
        until(lambda: live.rollouts.get(name, "/history")["events"][-1]["event"] == "zeroed", "weight 0 is served")
        trip, zeroed = live.rollouts.get(name, "/history")["events"][-2:]
        until(lambda: users.replies[-1].began > zeroed["at"], "somebody asks after that")
    assert trip["event"] == "trip"
    assert "errors" in trip["reason"]
    assert {reply.reason for reply in users.replies if reply.began > zeroed["at"]} == {"teacher"}
    return float(zeroed["at"] - trip["at"])


def test_on_silence_nothing_moves(live: Live) -> None:
    name = live.rollouts.start("silent", GOOD, stale_after="2s", steps=steps(LASTS))
    held = live.rollouts.until(name, "hold")
    assert (held["hold"], held["mode"], held["weight"]) == ("no_data", "shadow", 0)
    with Users(live.gateway.port, "silent"):  # what ends the silence ends the hold
        live.rollouts.until(name, "canary-10")

    def still() -> bool:
        """Copies of the last requests may still come in, and end a hold for a moment."""
        held = live.rollouts.until(name, "hold")
        assert (held["mode"], held["weight"], held["step"]) == ("canary", 10, "canary-10")
        time.sleep(1)
        return bool(live.rollouts.get(name)["version"] == held["version"])

    until(still, "nothing moves any more")
    assert live.rollouts.verb(name, "abort", why="enough").status_code == 200


def test_what_the_student_answers_is_audited(live: Live) -> None:
    name = live.rollouts.start("audited", GOOD, audit=1.0, steps=[{"shadow": {"pairs": 10}}, "full"])
    with Users(live.gateway.port, "audited", pause_s=0.01):
        live.rollouts.until(name, "full")
        before = live.rollouts.get(name)["pairs"]
        while live.rollouts.get(name)["pairs"] < before + 30:
            time.sleep(0.02)
        assert live.rollouts.verb(name, "promote", why="a test").status_code == 200
        while live.rollouts.get(name)["watch"]["n"] < 20:
            time.sleep(0.02)
    audits = [one for one in live.gateway.records() if one["role"] == "audit"]
    served = {one["id"]: one for one in live.gateway.records() if one["role"] == "served"}
    assert all((one["arm"], one["adapter"], one["served_model"]) == ("teacher", None, TEACHER) for one in audits)
    assert all(served[one["parent_id"]]["arm"] == "student" for one in audits)
    assert live.rollouts.get(name)["agreement"]["share"] == 1


def test_a_budget_that_delays_is_named(live: Live) -> None:
    name = live.rollouts.start("budgeted", GOOD)
    live.rollouts.until(name, "shadow")
    with Users(live.gateway.port, "budgeted", pause_s=0.01):
        while live.gateway.total("graduand_shadow_requests_total", "budgeted", "over_budget") < 20:
            time.sleep(0.02)
    until(lambda: live.rollouts.get(name)["pairs"] == 3, "what was paid for has arrived")
    reasons = live.rollouts.get(name, "/explain")["reasons"]
    assert any("shadow_budget: today's is used up (3 of 3 requests)" in reason for reason in reasons), reasons
    spec = {"route": "budgeted", "student": GOOD, "gates": ["agreement 0.8"]}
    plan = live.gateway.admin.post("/v1/rollouts/plan", json={"spec": spec, "requests_per_s": 1}).json()
    assert (plan["steps"][0]["waits_for"], plan["steps"][0]["too_slow"]) == ("the day's copies", True)
    assert live.rollouts.verb(name, "abort").status_code == 200
