"""A confidence threshold in a made-up world: what teaches it, and how it is taken back."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graduand.gateway.control import moves
from graduand.gateway.model.routing import CONFIDENT, DEFERRED
from graduand.rollout.hybrid.learning import Terms
from graduand.rollout.state import Phase
from tests.gateway.control.worlds import STUDENT_NAME, World, record
from tests.rollout.hybrid.worlds import learnt, sure_or_not

STEPS = [{"shadow": {"pairs": 50, "t_max": "1h"}}, {"hybrid": {"requests": 1000, "dwell": "1h", "classes": "none"}}]


@pytest.fixture
def world(tmp_path: Any, state: str) -> World:
    return World(tmp_path, state=state)


def hybrid(world: World, audit: float = 1.0) -> None:
    """A rollout in its hybrid step, with a threshold that was proved on other pairs."""
    world.start(steps=STEPS, audit=audit, harm=[{"agreement": {"p0": 0.01}}])
    world.look(3)
    terms = Terms(0.05, 0.1, STUDENT_NAME, "none", lifetime_s=1e9)
    row = world.row
    row.learning = learnt(sure_or_not(np.random.default_rng(3), 1500), terms, now=world.now)
    assert row.learning.threshold is not None
    with world.store.transaction():
        moves.carry_threshold(world.store, row, world.now, world.settings.routes)
    world.ask(60)
    world.look(3)
    assert world.phase is Phase.HYBRID
    assert world.route.threshold is not None
    world.served()


def test_a_promise_that_audits_break_is_taken_back(world: World) -> None:
    hybrid(world)
    world.ask(100, agree=0.8)
    world.look(2)
    assert world.route.threshold is None
    assert "withdrawn" in world.row.learning.said
    assert world.row.learning.starts == 1  # the next one has a smaller share of delta
    assert world.store.sample_count(world.row) == 0
    assert world.phase is Phase.HYBRID  # the teacher answers, and copies teach another


def test_a_promise_that_holds_is_kept(world: World) -> None:
    hybrid(world)
    world.ask(300, agree=0.99)
    world.look(2)
    assert world.route.threshold is not None
    promise = world.row.learning.promise
    assert promise is not None
    assert promise.drops[""].n >= 300


def test_audits_of_one_user_are_one_observation(world: World) -> None:
    hybrid(world)
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        for line in world.lines(100, agree=0.0):
            out.write(json.dumps({**json.loads(line), "unit_hash": 77}) + "\n")
    world.look(2)
    promise = world.row.learning.promise
    assert promise is not None
    assert promise.drops[""].n == 1
    assert world.route.threshold is not None


def deferral(world: World, number: int, says: str, unit: int) -> list[dict[str, Any]]:
    """The two records of a request whose student was not sure enough, in the order in which workers write them."""
    from graduand.gateway.model.routing import decide

    decision = decide(world.route, f"user-{unit}", str(number), world.now)
    student = record(f"deferred-{number}", world.now, decision, "student", DEFERRED, says, "?", STUDENT_NAME)
    token = {"token": says, "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -0.5}]}
    said = {"choices": [{"message": {"content": says}, "logprobs": {"content": [token]}}]}
    student = {**student, "role": "deferred", "parent_id": f"id-{number}", "response_json": json.dumps(said)}
    served = record(f"id-{number}", world.now, decision, "teacher", DEFERRED, "yes", "?", None)
    return [{**student, "sampled_p": 0.25}, {**served, "copy_wanted": False, "sampled_p": 0.25}]


@pytest.mark.parametrize("turned", [False, True])
def test_what_was_deferred_teaches_at_its_weight_and_feeds_no_gate(world: World, turned: bool) -> None:
    hybrid(world, audit=0.25)
    pairs, n = world.row.ledger.pairs, world.store.sample_count(world.row)
    for number, says in ((9001, "yes"), (9002, "no")):
        found = deferral(world, number, says, number)
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            for one in reversed(found) if turned else found:
                out.write(json.dumps(one) + "\n")
        world.look(1)
    assert world.row.ledger.pairs == pairs
    taught = world.store.samples(world.row, 10)[n:]
    assert [one.agreed for one in taught] == [True, False]
    assert {(one.probability, one.floor, one.weight) for one in taught} == {(1.0, 0.25, 0.25)}


def test_released_answers_weigh_as_they_are_audited(world: World) -> None:
    hybrid(world, audit=1.0)
    n = world.store.sample_count(world.row)
    lines = [json.loads(line) for line in world.lines(1)]
    assert lines[0]["reason"] == CONFIDENT
    token = {"token": "yes", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -5.0}]}
    said = {"choices": [{"message": {"content": "yes"}, "logprobs": {"content": [token]}}]}
    lines[0]["response_json"] = json.dumps(said)
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("".join(json.dumps(one) + "\n" for one in lines))
    world.look(1)
    [taught] = world.store.samples(world.row, 10)[n:]
    assert (taught.weight, taught.student, taught.teacher) == (1.0, "yes", "yes")


def test_an_expired_threshold_is_forgotten_and_learnt_anew(world: World) -> None:
    hybrid(world)
    row = world.row
    assert row.learning.threshold is not None
    row.learning = replace(row.learning, threshold=replace(row.learning.threshold, expires_at=world.now))
    with world.store.transaction():
        world.store.write_row(row)
    world.ask(1)
    world.look(1)
    assert world.route.threshold is None
    assert (world.row.learning.frozen, world.row.learning.starts) == (None, 1)
