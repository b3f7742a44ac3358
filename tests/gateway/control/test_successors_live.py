"""A real gateway with a judge, and with students in service: successors take their place or leave it, and pairs that wait
for a judge survive its absence and the controller's death."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from graduand.rollout.answers import judge, planted
from tests.gateway.control.judges import JudgeServer
from tests.gateway.control.live import (
    GOOD,
    PROMPTS,
    TASK,
    TEACHER,
    Recorded,
    Rollouts,
    Users,
    _Handler,
    _serving,
    answer,
    controller_id,
    kill,
    pairs_of,
    prompt,
    steps,
    stored,
)
from tests.gateway.running import Gateway, route, until, upstream
from tests.gateway.speaking import Client

OLD, BETTER, WORSE, BREAKS = "old@aaaaaa000001", "better@bbbbbb000002", "worse@cccccc000003", "breaks@dddddd000004"
GARBLES = "garbles@eeeeee000005"
WRONG = {OLD: 5, BETTER: 50, WORSE: 2, BREAKS: 50, GARBLES: 5}  # every so many-th answer
RUBRIC = "the answer is the teacher's"
RECORDED = {"kind": "text", "rubric": RUBRIC, "judge": {"upstream": "recorded", "model": "judge-1"}}
SERVED = {"kind": "text", "rubric": RUBRIC, "judge": {"upstream": "judge", "model": "judge-1"}}


def wrong(number: int) -> str:
    """The other label: an answer that every gate lets through."""
    return "no" if answer(TEACHER, number) == "yes" else "yes"


class Students:
    """All students of one upstream; one of them may be `broken`."""

    def __init__(self) -> None:
        owner = self
        self.broken = ""

        class Handler(_Handler):
            def do_GET(self) -> None:
                self.send(200, {"data": [{"id": name} for name in (*WRONG, GOOD)]})

            def do_POST(self) -> None:
                data = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model, number = data["model"], int(data["messages"][-1]["content"].split()[1].rstrip(":"))
                says = answer(TEACHER, number)
                if number % WRONG.get(model, PROMPTS + 1) == 0:
                    says = "no label at all" if model == GARBLES else wrong(number)
                choice = {"index": 0, "message": {"role": "assistant", "content": says}, "finish_reason": "stop"}
                whole = {"id": "x", "object": "chat.completion", "model": model, "choices": [choice]}
                out = model == owner.broken
                self.send(500 if out else 200, {"error": {"message": "out"}} if out else whole)

        self._server, self.url = _serving(Handler)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def verdicts() -> Iterator[dict[str, Any]]:
    """A judge that sees what is wrong, and a tie where both are the same; and all planted pairs."""
    for pair in planted.pairs():
        first, second = pair.questions()
        said = {1.0: ("B", "A"), 0.0: ("A", "B"), 0.5: ("TIE", "TIE")}[pair.score]
        for messages, verdict in zip((first, second), said, strict=True):
            yield {"model": "judge-1", "messages": messages, "answer": f"VERDICT: {verdict}"}
    for number in range(PROMPTS):
        right = answer(TEACHER, number)
        same, _ = judge.prompts(RUBRIC, prompt(number), right, right)
        first, second = judge.prompts(RUBRIC, prompt(number), right, wrong(number))
        for messages, said in ((same, "VERDICT: TIE"), (first, "Hm.\nVERDICT: A"), (second, "Hm.\nVERDICT: B")):
            yield {"model": "judge-1", "messages": messages, "answer": said}


@dataclass(frozen=True)
class World:
    """What the tests talk to."""

    gateway: Gateway
    rollouts: Rollouts
    judge: JudgeServer
    students: Students

    def start(self, name: str, student: str, **changes: Any) -> str:
        return self.rollouts.start(name, student, **{"audit": 0.5, **changes})

    def model(self, name: str) -> str:
        with Client(self.gateway.port) as client:
            got = client.ask({"model": name, "messages": [{"role": "user", "content": prompt(1)}]})
        return str(got.data["model"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("successors")
    recorded, server, students = Recorded(folder, verdicts()), JudgeServer(), Students()
    upstreams = {
        "teacher": upstream(f"{recorded.url}/v1"),
        "recorded": upstream(f"{recorded.url}/v1"),
        "judge": upstream(f"{server.url}/v1"),
        "students": upstream(f"{students.url}/v1", kind="vllm"),
    }
    in_service = {**route("teacher"), "student": {"upstream": "students", "adapter": OLD}, "unit": "user", "task": TASK}
    routes: dict[str, Any] = {
        name: {**in_service, "mode": "student", "teacher": {"upstream": "teacher", "model": TEACHER}}
        for name in ("succeeds", "worse", "breaks", "texts", "babble", "killed", "page", "garbled")
    }
    routes["garbled"]["student"] = {"upstream": "students", "adapter": GARBLES}
    for name in ("texts", "babble", "killed", "page"):
        routes[name]["mode"] = "teacher"
    gateway = Gateway(folder, upstreams, routes, workers=2)
    yield World(gateway, Rollouts(gateway), server, students)
    gateway.stop()
    for one in (server, students, recorded):
        one.close()
    assert "Traceback" not in gateway.errors, gateway.errors


DUEL: dict[str, Any] = {"gates": ["agreement 0.8", "incumbent"]}


def test_a_better_student_replaces_the_incumbent(world: World) -> None:
    name = world.start("succeeds", BETTER, **DUEL)
    seen = world.rollouts.until(name, "shadow")
    assert seen["incumbent"] == OLD
    assert world.model("succeeds") == OLD
    world.gateway.settled()
    with Users(world.gateway.port, "succeeds", pause_s=0.02) as users:
        world.rollouts.until(name, "promoted")
        until(lambda: world.model("succeeds") == BETTER, "every worker serves the new one")
    # Nobody was ever given back to the teacher.
    assert {reply.arm for reply in users.replies} == {"student"}
    assert {reply.reason for reply in users.replies} == {"student", "canary", "control"}
    assert world.gateway.admin.get("/v1/routes/succeeds").json()["incumbent"] is None
    records = [one for one in world.gateway.records() if one["rollout"] == name]
    by_reason = Counter((one["reason"], one["adapter"]) for one in records if one["role"] == "served")
    assert {adapter for reason, adapter in by_reason if reason == "canary"} == {BETTER}
    assert {adapter for reason, adapter in by_reason if reason == "control"} == {OLD}
    assert {adapter for reason, adapter in by_reason if reason == "student"} == {OLD, BETTER}
    copies = Counter((one["role"], one["arm"]) for one in records if one["role"] != "served")
    assert set(copies) == {("shadow", "student"), ("audit", "teacher")}
    wanted = sum(one["role"] == "served" and one["copy_wanted"] for one in records)
    assert wanted < 0.7 * sum(by_reason.values())  # the teacher is asked about a share only


def test_an_answer_that_a_gate_held_back_is_a_loss_of_the_incumbent(world: World) -> None:
    """The teacher answers instead, so the comparison would otherwise see only what the incumbent got right."""
    with Users(world.gateway.port, "garbled", pause_s=0.02) as users:
        name = world.start("garbled", BETTER, **DUEL)
        world.rollouts.until(name, "promoted")
    reasons = {(reply.arm, reply.reason) for reply in users.replies}
    assert ("teacher", "fallback:check:label") in reasons
    gate = next(gate for gate in world.rollouts.get(name)["gates"] if gate["name"] == "incumbent")
    assert gate["n"] > 0


def test_a_worse_student_leaves_the_incumbent_in_service(world: World) -> None:
    with Users(world.gateway.port, "worse", pause_s=0.02) as users:
        name = world.start("worse", WORSE, gates=["agreement 0.3", "incumbent"], harm=["incumbent 0.45", "errors"])
        world.rollouts.until(name, "rolled_back")
        after = time.time()
        until(lambda: users.replies[-1].began > after, "somebody asks after that")
    assert {(reply.arm, reply.reason) for reply in users.replies} == {("student", "student")}
    assert world.model("worse") == OLD
    shown = world.gateway.admin.get("/v1/routes/worse").json()
    assert (shown["mode"], shown["rollout"], shown["incumbent"]) == ("student", None, None)
    told = world.rollouts.get(name)
    assert "harm gate incumbent" in " ".join(
        event["reason"] for event in world.rollouts.get(name, "/history")["events"]
    )
    assert told["incumbent"] is None


@pytest.mark.slow
def test_a_successor_that_breaks_falls_back_and_is_rolled_back(world: World) -> None:
    canary = {"weight": 20, "requests": 100_000, "dwell": "1h"}
    with Users(world.gateway.port, "breaks", pause_s=0.02) as users:
        name = world.start("breaks", BREAKS, steps=steps(canary), **DUEL)
        world.rollouts.until(name, "canary-20")
        world.students.broken = BREAKS
        broke = time.time()
        world.rollouts.until(name, "rolled_back")
        world.students.broken = ""
    seen = {(reply.arm, reply.reason) for reply in users.replies if reply.began > broke}
    assert ("teacher", "fallback:http_500") in seen
    # Both students live on one upstream: while its breaker is open, neither is asked.
    fallbacks = {("teacher", "fallback:http_500"), ("teacher", "fallback:unavailable")}
    assert seen - fallbacks == {("student", "student"), ("student", "control")}
    until(lambda: world.model("breaks") == OLD, "the upstream is asked again")


def test_free_text_is_promoted_by_a_recorded_judge(world: World) -> None:
    gates = [{"score": {"p0": 0.35}}]
    with Users(world.gateway.port, "texts", threads=2, pause_s=0.1):  # about as fast as it is judged
        name = world.start("texts", BETTER, task=RECORDED, gates=gates)
        done = world.rollouts.until(name, "promoted")
    assert (done["judge"]["unscored"], done["judge"]["failed"]) == (0, 0)
    score = next(gate for gate in done["gates"] if gate["name"] == "score")
    assert 0.45 < float(score["note"].split("%")[0]) / 100 <= 0.5  # ties, but where the student is wrong
    seen = world.rollouts.get(name, "/disagreements")["disagreements"]
    assert all(one["student"] != one["teacher"] for one in seen)
    assert all(one["verdicts"] == ["Hm.\nVERDICT: A", "Hm.\nVERDICT: B"] for one in seen)
    assert world.gateway.total("graduand_judge_requests_total", "texts", "tie") > 50


def test_a_babbling_judge_moves_nothing(world: World) -> None:
    """What it does not judge is missing, and counts against the student."""
    lasts = {"weight": 10, "requests": 100_000, "dwell": "1h"}
    name = world.start("babble", BETTER, task=SERVED, gates=["score 0.35"], steps=steps(lasts))
    world.rollouts.until(name, "shadow")
    world.judge.mode = "babbling"
    with Users(world.gateway.port, "babble", threads=2, pause_s=0.1):
        until(lambda: world.rollouts.get(name)["judge"]["unscored"] > 60, "more answers than would have been enough")
        seen = world.rollouts.get(name)
        assert (seen["phase"], seen["weight"]) == ("shadow", 0)
        assert any("without an outcome, counted against the student" in reason for reason in seen["reasons"])
        assert any("unscored: neither pass nor fail" in reason for reason in seen["reasons"])
        world.judge.mode = "fair"
        world.rollouts.until(name, "canary-10")
    world.rollouts.verb(name, "abort")


@pytest.mark.slow
def test_kill_the_controller_while_the_judge_is_away_and_in_mid_judging(world: World) -> None:
    lasts = {"weight": 10, "requests": 100_000, "dwell": "1h"}
    name = world.start("killed", BETTER, task=SERVED, gates=["score 0.35"], steps=steps(lasts, pairs=100))
    world.rollouts.until(name, "shadow")
    world.judge.mode = "down"
    with Users(world.gateway.port, "killed", threads=1, pause_s=0.05):
        until(lambda: world.rollouts.get(name)["judge"]["waiting"] > 40, "pairs wait")
        down = world.rollouts.get(name)
        assert (down["phase"], down["pairs"]) == ("shadow", 0)
        assert kill(controller_id(world.gateway))
        world.judge.mode, world.judge.delay_s = "fair", 0.02
        for _ in range(3):
            before = world.judge.answered
            until(lambda before=before: world.judge.answered > before + 15, "the judge answers again")
            assert kill(controller_id(world.gateway))
        world.judge.delay_s = 0.0
        world.rollouts.until(name, "canary-10")
    until(lambda: world.rollouts.get(name)["judge"]["waiting"] == 0, "all are judged")
    world.rollouts.verb(name, "pause")
    until(
        lambda: len(set(_pairs(world, name))) == 1,
        lambda: f"each pair is judged once: {_pairs(world, name)}; {world.rollouts.get(name)}",
    )
    world.rollouts.verb(name, "abort")


def _pairs(world: World, name: str) -> tuple[int, int]:
    """How many pairs the ledger has, and how many the log without those that are counted as no pairs: a breaker may still
    be open after what another test broke, and a copy that was never sent teaches nothing; of the copies beside served
    answers, the judge sees about as many as of these."""
    store = stored(world.gateway)
    row = store.row(name)
    store.close()
    assert row is not None
    accounted, logged = pairs_of(row, world.gateway.records())
    unseen = row.counts.get("not judged: outside the sample", 0)
    return row.ledger.pairs, logged - (accounted - row.ledger.pairs) - unseen
