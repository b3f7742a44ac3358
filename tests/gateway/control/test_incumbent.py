"""A student tried beside the one in service: that one goes on serving until the new one is promoted, and comes back."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.admin.requests import check_incumbent
from graduand.gateway.control import moves
from graduand.gateway.control.store.rows import Row
from graduand.gateway.errors import ConfigError, RequestError
from graduand.gateway.model.routing import decide
from graduand.rollout.assignment import arm
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Event, Phase
from tests.gateway.control.judges import JudgeServer
from tests.gateway.control.test_judging import TEXT, look_until
from tests.gateway.control.worlds import OLD_NAME, SPEC, STUDENT_NAME, World

DUEL: dict[str, Any] = {"gates": ["agreement 0.8", "incumbent"], "audit": 1.0}


@pytest.fixture
def world(tmp_path: Path, state: str) -> World:
    """The file says that the old student answers everything."""
    return World(tmp_path, mode="student", state=state)


def to_shadow(world: World, **changes: Any) -> str:
    rollout = world.start(**{**DUEL, **changes})
    assert serves(world) == ("student", OLD_NAME, None)
    world.look(3)
    assert world.phase is Phase.SHADOW
    return rollout


def serves(world: World) -> tuple[str, str, str | None]:
    """The route's mode, its student, and the incumbent beside it."""
    route = world.route
    assert route.student is not None
    return route.mode, route.student.adapter, route.incumbent.adapter if route.incumbent is not None else None


def test_a_better_student_takes_the_incumbents_place(world: World) -> None:
    to_shadow(world)
    assert serves(world) == ("shadow", STUDENT_NAME, OLD_NAME)
    assert world.row.incumbent is not None
    world.ask(100, agree=0.98, incumbent=0.8)
    world.look(1, step_s=0.0)
    learnt = world.row.ledger.courses["shadow"].proofs["incumbent"].gate
    assert (learnt.n, learnt.mean) == (18, 1.0)  # of a hundred, the two differ on eighteen
    world.look(1)
    assert serves(world) == ("canary", STUDENT_NAME, OLD_NAME)
    for _ in range(5):
        world.ask(100, agree=0.98, incumbent=0.8)
        world.look(1, step_s=3)
    assert serves(world) == ("student", STUDENT_NAME, OLD_NAME)
    for _ in range(5):
        world.ask(100, agree=0.98, incumbent=0.8)
        world.look(1, step_s=3)
    assert world.phase is Phase.PROMOTED
    assert serves(world) == ("student", STUDENT_NAME, None)
    assert world.row.incumbent is None
    world.ask(300, agree=0.2)
    world.look(1)
    # Nobody has looked at the old student since: after promotion, harm gives the route to the teacher.
    assert (world.phase, world.route.mode) == (Phase.ROLLING_BACK, "teacher")


@pytest.mark.parametrize("where", ["shadow", "canary"])
def test_a_worse_student_gives_the_route_back_as_it_was(world: World, where: str) -> None:
    before = world.route
    to_shadow(world)
    if where == "canary":
        world.ask(100, agree=0.98, incumbent=0.8)
        world.look(2)
        assert world.phase is Phase.CANARY
    for _ in range(10):
        world.ask(100, agree=0.7, incumbent=0.95)
        world.look(1)
    assert world.phase is Phase.ROLLING_BACK
    assert serves(world) == ("student", OLD_NAME, None)
    after = world.route
    assert (after.rollout, after.salt, after.audit_bp) == (before.rollout, before.salt, before.audit_bp)
    world.look(1)
    assert world.phase is Phase.ROLLING_BACK  # until every worker serves that
    world.served()
    world.look(1)
    assert world.phase is Phase.ROLLED_BACK
    world.verb("retry", salt="salt-2")
    assert serves(world) == ("student", OLD_NAME, None)  # a retry takes nothing away before its first step
    world.look(3)
    assert serves(world) == ("shadow", STUDENT_NAME, OLD_NAME)
    world.verb("abort")
    assert serves(world) == ("student", OLD_NAME, None)


def test_a_student_as_good_as_the_incumbent_is_held(world: World) -> None:
    to_shadow(world, steps=[{"shadow": {"pairs": 50, "t_max": "60s"}}, *SPEC["steps"][1:]])  # type: ignore[misc]
    for _ in range(5):
        world.ask(100, agree=0.9, incumbent=0.9)
        world.look(1, step_s=15)
    assert world.phase is Phase.HOLD
    assert "incumbent" in world.row.state.note
    assert serves(world) == ("shadow", STUDENT_NAME, OLD_NAME)


def test_who_answers_in_a_canary(world: World) -> None:
    to_shadow(world)
    world.verb("promote")
    route = world.route
    assert route.weight_bp == 1000
    seen = set()
    for number in range(3000):
        decision = decide(route, f"user-{number}", str(number), 0.0)
        side = arm(decision.bucket, 1000)
        seen.add((side, decision.arm, decision.reason, decision.incumbent))
    assert seen == {
        ("treatment", "student", "canary", False),
        ("control", "student", "control", True),
        ("rest", "student", "student", True),
    }


def test_arms_and_failures_of_a_canary(world: World) -> None:
    to_shadow(world, harm=[{"agreement": {"p0": 0.01}}])
    world.verb("promote")
    for _ in range(4):
        world.ask(200, broken=True)
        world.look(1)
    counts = world.row.counts
    assert 30 < counts["requests for the student"] < 160
    assert counts["student failed: http_500"] == counts["requests for the student"]
    assert "incumbent failed: http_500" not in counts
    srm = world.row.ledger.srm
    assert srm is not None
    assert sum(srm.counts) == world.asked
    assert srm.counts[0] == counts["requests for the student"]
    assert 30 < srm.counts[1] < 160


def test_parts_of_a_triple_in_any_order(world: World) -> None:
    to_shadow(world)
    lines = world.lines(4)
    assert len(lines) == 12
    order = [1, 2, 0, 5, 3, 4, 6, 8, 7, 11, 10, 9]
    for number in order:
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write(lines[number] + "\n")
        world.look(1)
    assert world.row.ledger.pairs == 4
    assert world.proof("agreement").n == 4
    assert world.proof("incumbent").n == 0  # both are right each time


def test_an_incumbent_that_was_not_asked_is_a_missing_outcome(world: World) -> None:
    to_shadow(world)
    world.verb("promote")
    lines = world.lines(400)
    lost = [
        one.replace('"error": null', '"error": "connect"') if '"shadow-' in one and OLD_NAME in one else one
        for one in lines
    ]
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("\n".join(lost) + "\n")
    world.look(1)
    treated = sum('"canary"' in one and '"id-' in one for one in lines)
    assert treated > 10
    assert world.row.ledger.pairs == 400
    gate = world.proof("incumbent").gate
    assert (gate.n, gate.mean) == (treated, 0.0)


def test_the_rollout_that_promoted_the_incumbent_sleeps_and_wakes(world: World) -> None:
    """The first one goes on watching its student when the second one is rolled back."""
    first = world.start(student=OLD_NAME, key="first", harm=[{"agreement": {"p0": 0.01}}], audit=0.5)
    world.look(3)
    world.verb("promote", full=True)
    owned = world.route
    assert owned.rollout == first
    second = to_second(world)
    [row] = [one for one in world.store.rows() if one.id == first]
    assert row.state.phase is Phase.PROMOTED
    with pytest.raises(RequestError, match=f"end that first: graduand rollout abort {second}"):
        act(world, row, "rollback")
    act(world, world.row, "abort")
    assert (world.route.rollout, world.route.salt, world.route.audit_bp) == (first, owned.salt, 5000)
    for _ in range(10):
        world.now += 1
        says = [one.replace(STUDENT_NAME, OLD_NAME) for one in world.lines(100, agree=0.3)]
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write("\n".join(says) + "\n")
        world.look(1)
    [row] = [one for one in world.store.rows() if one.id == first]
    assert row.state.phase is Phase.ROLLING_BACK
    assert "harm gate watch" in row.state.note
    assert world.route.mode == "teacher"


def test_promotion_supersedes_the_first_rollout(world: World) -> None:
    first = world.start(student=OLD_NAME, key="first", harm=[{"agreement": {"p0": 0.01}}])
    world.look(3)
    world.verb("promote", full=True)
    to_second(world)
    world.verb("promote", full=True)
    assert serves(world) == ("student", STUDENT_NAME, None)
    phases = {one.id: one.state.phase for one in world.store.rows()}
    assert phases[first] is Phase.SUPERSEDED


def to_second(world: World) -> str:
    second = world.start(key="second", **DUEL)
    world.look(3)
    assert (world.row.id, world.phase) == (second, Phase.SHADOW)
    assert serves(world) == ("shadow", STUDENT_NAME, OLD_NAME)
    return second


def act(world: World, row: Row, kind: str) -> None:
    with world.store.transaction():
        event = Event(kind, world.now, row.state.version, actor="ann", reason="because")
        moves.carry_out(world.store, row, event, world.settings.routes)


def test_both_students_before_the_judge(tmp_path: Path) -> None:
    judge = JudgeServer()
    world = World(tmp_path, mode="student", upstreams={"judge": judge.upstream()})
    to_shadow(world, task=TEXT, gates=["score 0.3", "incumbent"])
    world.ask(80, agree=0.98, incumbent=0.2)
    look_until(world, lambda: world.row.ledger.pairs >= 60)
    gate = world.row.ledger.courses["shadow"].proofs["incumbent"].gate
    assert (gate.n > 20, gate.mean) == (True, 1.0)
    judge.close()


@pytest.mark.parametrize(
    ("mode", "student", "problem"),
    [
        ("teacher", STUDENT_NAME, "no student is in service"),
        ("canary", STUDENT_NAME, "no student is in service"),
        ("student", OLD_NAME, "itself is in service"),
        ("student", STUDENT_NAME, ""),
        ("hybrid", STUDENT_NAME, ""),
    ],
)
def test_who_can_be_an_incumbent(tmp_path: Path, mode: str, student: str, problem: str) -> None:
    world = World(tmp_path, mode=mode)
    spec = specfile.read({**SPEC, **DUEL, "student": student})
    if problem:
        with pytest.raises(ConfigError, match=problem):
            check_incumbent(spec, world.route)
    else:
        check_incumbent(spec, world.route)


@pytest.mark.parametrize(
    ("asked", "others"), [({"model": OLD_NAME}, True), ({"model": STUDENT_NAME}, False), ({}, False)],
    ids=["the incumbent", "the student", "an older record"],
)  # fmt: skip
def test_what_the_incumbent_failed_at_is_not_its_successors(world: World, asked: dict[str, str], others: bool) -> None:
    """Its records still come in when it has been replaced; the student's own failures are learnt from."""
    to_shadow(world)
    world.ask(100, agree=0.98, incumbent=0.8)
    world.look(2)
    late = [json.loads(line) for line in world.lines(300)]
    late = [one for one in late if one["role"] == "served" and one["adapter"] == OLD_NAME and one["copy_wanted"]][:5]
    failed = {"arm": "teacher", "adapter": None, "reason": "fallback:check:label", "fallback_reason": "check:label"}
    attempt = {"upstream": "gpu", "arm": "student", "outcome": "ok", "ms": 1.0, **asked}
    while world.phase is not Phase.PROMOTED:
        world.ask(100, agree=0.98, incumbent=0.8)
        world.look(1, step_s=3)
    before = world.row.ledger.pairs
    with (world.folder / "logs" / "segments" / "w1.jsonl").open("w") as out:
        out.writelines(json.dumps({**one, **failed, "attempts": [attempt]}) + "\n" for one in late)
    world.look(2)
    assert len(late) == 5
    assert world.row.counts.get("pairs of another adapter", 0) == (5 if others else 0)
    assert world.row.ledger.pairs == before + (0 if others else 5)


def test_beside_an_incumbent_the_stated_share_of_all_traffic_is_audited(world: World) -> None:
    to_shadow(world, audit=0.25)
    assert world.route.audit_bp == 2500
    while world.phase is Phase.SHADOW:
        world.ask(100, agree=0.98, incumbent=0.8)
        world.look(1, step_s=3)
    assert (world.phase, world.route.audit_bp) == (Phase.CANARY, 2500)
