"""Outcomes of both arms in a made-up world: compared by user, in canary steps, when their deadline is over."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.admin import requests
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.study import planning
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.routes import Route, Student, Teacher
from graduand.rollout.gates.matching import WINDOW_S
from graduand.rollout.simulate.policy import Scenario
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Hold, Phase
from tests.gateway.control.worlds import SPEC, TASK, World

OUTCOME = {"outcome": {"within": "60s", "right": ["accepted"], "margin": 0.3}}
ASKED: dict[str, Any] = {
    "gates": ["agreement 0.3", OUTCOME],
    "steps": [
        {"shadow": {"pairs": 20}}, {"canary": {"weight": 50, "requests": 20, "dwell": "1s", "t_max": "7d"}},
        {"full": {"requests": 20, "dwell": "1s"}},
    ],
    "audit": 1.0, "stale_after": "2h",
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, state: str) -> World:
    return World(tmp_path, state=state)


def to_canary(world: World, **changes: Any) -> None:
    world.start(**{**ASKED, **changes})
    world.look(3)
    world.ask(60)
    world.look(2)
    assert world.phase is Phase.CANARY


def live(
    world: World, *, student: float, teacher: float, hours: int = 12, says: str = "accepted", each: int = 100
) -> None:
    """Hours of users, of whom so many of each arm say something."""
    for _ in range(hours):
        first = world.asked + 1
        lines = world.lines(each, agree=0.7)
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write("\n".join(lines) + "\n")
        served = [one for one in map(json.loads, lines) if one["role"] == "served"]
        with world.store.transaction():
            for number, one in enumerate(served, first):
                share = student if one["arm"] == "student" else teacher
                if number % 100 < 100 * share:
                    world.store.write_statement(one["id"], world.now, None, says)
        world.look(1)
        world.look(2, step_s=WINDOW_S / 2)
        if world.phase is not Phase.CANARY:
            return


def test_students_whose_users_accept_as_often_are_promoted_and_the_difference_is_shown(world: World) -> None:
    to_canary(world)
    live(world, student=0.6, teacher=0.6)
    assert world.phase is Phase.FULL
    assert "from 70% of the control's" in world.row.state.note
    assert "matched users" in world.row.state.note


def test_one_whose_users_accept_less_often_is_rolled_back(world: World) -> None:
    """A harm gate looks for as long as the step lasts: outcomes take their time."""
    steps = [ASKED["steps"][0], {"canary": {"weight": 50, "requests": 20, "dwell": "12h", "t_max": "7d"}}, "full"]
    to_canary(world, gates=["agreement 0.3"], harm=[OUTCOME], steps=steps)
    live(world, student=0.3, teacher=0.8)
    assert world.phase is Phase.ROLLING_BACK
    assert "harm gate outcome" in world.row.state.note


def test_one_that_is_known_to_be_worse_is_not_waited_for(world: World) -> None:
    to_canary(world)
    live(world, student=0.3, teacher=0.8)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.FUTILE)
    assert "known to be below what its margin allows" in world.row.state.note


def test_silence_is_the_worst_in_both_arms(world: World) -> None:
    """Nobody says anything: nothing differs, and nothing is proved by that."""
    to_canary(world)
    live(world, student=0.0, teacher=0.0)
    gate = world.proof("outcome").so_far
    assert (world.phase, gate.mean, gate.log_e) == (Phase.CANARY, 0.5, 0.0)
    assert gate.n > 200


def test_nothing_is_learnt_before_the_deadline(world: World) -> None:
    to_canary(world)
    lines = world.lines(50)
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("\n".join(lines) + "\n")
    world.look(1)
    assert len(world.store.awaited(world.row, 100)) == 50
    world.look(1, step_s=50)
    assert len(world.store.awaited(world.row, 100)) == 50
    world.look(2, step_s=20)
    assert world.store.awaited(world.row, 100) == []
    assert world.row.ledger.responses.n == 0  # until its hour is over


def test_users_who_speak_more_often_of_one_arm_keep_the_step(world: World) -> None:
    """All that is said is bad, and of the student less is said at all: its outcomes are no worse, and nothing is proved."""
    to_canary(world, harm=["errors"])
    live(world, student=0.1, teacher=0.8, says="rejected")
    assert world.phase is Phase.CANARY
    reading = world.controller.evidence(world.row, world.now).gates["outcome"]
    assert reading.apart
    reasons = world.controller.evidence(world.row, world.now)
    assert "fewer of the student's answers" in reasons.gates["outcome"].apart


def test_a_score_is_an_outcome_from_worst_to_best(world: World) -> None:
    to_canary(world, gates=["agreement 0.3", {"outcome": {"within": "60s", "name": "stars", "worst": 5, "best": 1}}])
    measure = world.row.state.spec.outcomes["outcome:stars"]
    assert [measure.value(score, None) for score in (5, 3, 1, 0, 9, None)] == [0.0, 0.5, 1.0, 1.0, 0.0, 0.0]
    assert world.proof("outcome:stars").n == 0


def test_a_holdout_keeps_comparing_after_promotion(world: World) -> None:
    to_canary(world, holdout=20)
    world.verb("promote", full=True)
    assert (world.phase, world.route.weight_bp) == (Phase.PROMOTED, 8000)
    world.served()
    for _ in range(14):
        lines = world.lines(100, agree=1.0)
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write("\n".join(lines) + "\n")
        said(world.store, world, lines)
        world.look(1)
        world.look(2, step_s=WINDOW_S / 2)
        if world.phase is not Phase.PROMOTED:
            break
    assert world.phase is Phase.ROLLING_BACK
    assert "harm gate outcome" in world.row.state.note


def said(store: Rollouts, world: World, lines: list[str]) -> None:
    """Users of the holdout accept everything, the others nothing."""
    with store.transaction():
        for one in map(json.loads, lines):
            if one["role"] == "served" and one["arm"] == "teacher":
                store.write_statement(one["id"], world.now, None, "accepted")


def test_a_controller_that_is_killed_counts_each_user_once(world: World) -> None:
    to_canary(world)
    live(world, student=0.5, teacher=0.5, hours=2)
    before = world.proof("outcome").so_far.n
    world.new_controller()
    world.now += 60
    world.look(3)
    assert world.proof("outcome").so_far.n == before


def test_a_plan_says_what_it_takes_and_nothing_simulates_users() -> None:
    spec = specfile.read({**SPEC, **ASKED, "cycle": "none"})
    [told] = [one for one in planning.plan(spec, 1.0, None)["warnings"] if one.startswith("outcome")]
    assert "users have 60 s to say something" in told
    assert "no more than 0.3 is lost in 100% of" in told
    with pytest.raises(ConfigError, match="nobody says anything of what is made up"):
        planning.simulate(spec, Scenario(0.98), 1, 1)


def test_a_route_without_copies_is_warned_of() -> None:
    spec = specfile.read({**SPEC, **ASKED})
    route = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "old@3f9c1a"), shadow_bp=0)
    assert any("an outcome gate learns nothing" in one for one in requests.advice(spec, TASK, route))
