"""A real gateway, a recorded teacher and student: drift arrives, the rollout is held or the teacher gets the route, a
killed monitor goes on where it stopped, and a person ends it."""

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graduand.gateway.cli import main
from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from graduand.gateway.monitor.store import FILE, MonitorStore
from graduand.monitoring.drift import files
from graduand.monitoring.drift.reference import build, calibration_report
from graduand.monitoring.embedding.named import load
from graduand.training.redistil.alarms import unanswered
from tests.gateway.control.live import Rollouts, kill
from tests.gateway.running import Gateway, Json, RecordedTeacher, upstream
from tests.gateway.running import until as soon
from tests.monitoring.texts import prompts, recipes, tickets

TEACHER, STUDENT = "gpt-4o", "triage@3f9c1a0b22de"
USUAL, FOREIGN = tickets(1200), recipes(120)
TASK = {"kind": "label", "labels": ["yes", "no"]}


class World:
    """A gateway with the routes `held` and `given`, and one who asks it."""

    def __init__(self, folder: Path) -> None:
        made = build(prompts(USUAL[:600]), load("static"))
        reference = files.write(made, folder, calibration_report(made, 1000))
        answers = folder / "answers.jsonl"
        lines = [
            {
                "model": model,
                "messages": [{"role": "user", "content": text}],
                "answer": "yes" if len(text) % 2 else "no",
            }
            for model in (TEACHER, STUDENT)
            for text in [*USUAL, *FOREIGN]
        ]
        answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.recorded = RecordedTeacher(answers)
        section = {
            "teacher": {"upstream": "models", "model": TEACHER}, "student": {"upstream": "models", "adapter": STUDENT},
            "unit": "user", "task": TASK,
        }  # fmt: skip
        quiet = {"mix": False, "descriptors": False, "outputs": False, "reference": str(reference)}
        novelty = {"false_alarm_every": 1000, "clean_requests": 100, "min_time_s": 0}
        routes = {
            "held": {**section, "monitors": {**quiet, "novelty": {**novelty, "action": "hold"}}},
            "given": {**section, "mode": "canary", "weight": 50,
                      "monitors": {**quiet, "novelty": {**novelty, "action": "teacher", "resume": "auto"}}},
            "shown": {**section, "mode": "student", "monitors": {**quiet, "novelty": novelty}},
        }  # fmt: skip
        self.gateway = Gateway(folder, {"models": upstream(f"{self.recorded.url}/v1")}, routes)
        self.rollouts = Rollouts(self.gateway)
        self.users = itertools.count()

    def close(self) -> None:
        self.gateway.stop()
        self.recorded.close()

    def ask(self, route: str, texts: list[str]) -> list[tuple[str, str]]:
        """Ask each text once; arms and reasons."""
        found = []
        with self.gateway.client() as client:
            for text in texts:  # each by somebody else: of one person's requests the first of half an hour is looked at
                messages = [{"role": "user", "content": text}]
                got = client.ask({"model": route, "user": f"user-{next(self.users)}", "messages": messages})
                assert got.status == 200, got.body
                found.append((got.headers["x-graduand-arm"], got.headers["x-graduand-reason"]))
        return found

    def route(self, name: str) -> Json:
        data: Json = self.gateway.admin.get(f"/v1/routes/{name}").json()
        return data

    def novelty(self, route: str) -> Json:
        listed = self.gateway.admin.get("/v1/monitors").json()["monitors"]
        return next(
            (one for one in listed if (one["route"], one["monitor"]) == (route, "novelty")), {"n": 0, "alarms": 0}
        )

    def until(self, condition: Callable[[], object], what: str) -> None:
        def told() -> str:
            return f"{what}; {self.gateway.admin.get('/v1/monitors').json()}; {self.gateway.errors[-2000:]}"

        soon(condition, told)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("monitor"))
    yield made
    made.close()


def test_a_rollout_is_held_and_a_person_lets_it_go_on(world: World) -> None:
    name = world.rollouts.start("held", STUDENT, steps=[{"shadow": {"pairs": 5000, "t_max": "1h"}}, "canary 5", "full"])
    world.rollouts.until(name, "shadow")
    world.ask("held", USUAL[600:900])
    world.until(lambda: world.novelty("held")["n"] >= 300, "300 requests were looked at")
    assert world.rollouts.get(name)["phase"] == "shadow"
    world.ask("held", FOREIGN[:60])
    held = world.rollouts.until(name, "hold")
    assert held["hold"] == "drift"
    assert any("unlike what triage@3f9c1a0b22de was trained on" in reason for reason in held["reasons"])
    assert any("ends by graduand monitors release held novelty" in reason for reason in held["reasons"])
    [event] = [one for one in world.rollouts.get(name, "/history")["events"] if one["event"] == "hold"]
    assert (event["who"], "novelty: requests are unlike" in event["reason"]) == ("monitor", True)
    world.until(lambda: world.novelty("held")["n"] >= 360, "all were looked at: no alarm is to come any more")
    assert world.gateway.total("graduand_verdict_actions_total", "held", "novelty", "hold") == 1
    world.until(lambda: world.gateway.total("graduand_drift_alarm_active", "held", "novelty") == 1, "the gauge")
    listed = world.gateway.admin.get("/v1/monitors").json()["verdicts"]
    begun = world.gateway.admin.get("/v1/rollouts?route=held").json()["rollouts"]
    asks = unanswered(listed, begun, "held")  # `train redistil --on-alarm` reads the same
    assert asks is not None
    assert "novelty: requests are unlike" in asks["why"]
    answer = world.gateway.admin.post(
        "/v1/monitors/held/novelty/release", json={"why": "a recipe app, wanted"}, headers={"x-graduand-who": "ann"}
    )
    assert answer.status_code == 200, answer.text
    world.rollouts.until(name, "shadow")
    [*_, last] = world.rollouts.get(name, "/history")["events"]
    assert (last["event"], last["who"], "a recipe app" in last["reason"]) == ("resume", "ann", True)


def test_the_teacher_gets_the_route_and_gives_it_back(world: World) -> None:
    arms = {arm for arm, _ in world.ask("given", USUAL[600:700])}
    assert arms == {"teacher", "student"}
    version = world.route("given")["version"]
    world.ask("given", FOREIGN[60:120])
    world.until(lambda: world.route("given")["limit"] == 0, "the route is limited")
    shown = world.route("given")
    assert (shown["mode"], shown["version"]) == ("shadow", version + 1)
    assert "the teacher answers everything" in shown["verdicts"][0]
    events = world.gateway.admin.get("/v1/events").json()["events"]
    assert any(one["who"] == "monitor" and one.get("limit_bp") == 0 and "novelty" in one["why"] for one in events)
    world.gateway.settled()
    # Clean requests give it back, once. None is asked twice: a few again and again are another stream than the usual one.
    assert {arm for arm, _ in world.ask("given", USUAL[800:850])} == {"teacher"}
    world.ask("given", USUAL[850:1000])
    world.until(lambda: world.route("given")["limit"] is None, "the limit ends")
    assert (world.route("given")["mode"], world.route("given")["weight"]) == ("canary", 50)
    assert world.route("given")["version"] == version + 2


def test_a_killed_monitor_goes_on_where_it_stopped(world: World) -> None:
    killed: set[int] = set()
    for start in range(0, 300, 100):
        world.ask("shown", USUAL[600 + start : 700 + start])
        world.until(
            lambda: set(world.gateway.process_ids("graduand.gateway.processes.monitor")) - killed, "the monitor runs"
        )
        [process] = world.gateway.process_ids("graduand.gateway.processes.monitor")
        assert kill(process)
        killed.add(process)
    world.until(lambda: world.novelty("shown")["n"] >= 300, "all requests were looked at")
    assert world.novelty("shown")["n"] == 300  # none was counted twice
    sql = """SELECT count(*), count(drift), min(drift.novelty_p) > 0, max(drift.novelty_p) <= 1, min(drift.e_value) > 0,
        (SELECT count(*) FROM drift WHERE route = 'shown' AND adapter = ?) FROM log WHERE route = 'shown' AND role = 'served'"""
    with Log(Source.of(str(world.gateway.folder / "logs"))) as log:  # what the detector said of each is there, once
        assert log.query(sql, [STUDENT]).fetchall() == [(300, 300, True, True, True, 300)]
    # What it knows is what one that was never killed knows.
    [process] = world.gateway.process_ids("graduand.gateway.processes.monitor")
    os.kill(process, signal.SIGSTOP)
    try:
        stored = _panels(world.gateway.folder / "logs")["shown"]
    finally:
        os.kill(process, signal.SIGCONT)
    assert stored == _never_killed(world.gateway, "shown")


def _panels(folder: Path) -> dict[str, Json]:
    import sqlite3

    found = sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True).execute("SELECT key, state FROM panels")
    return {json.loads(key)[0]: json.loads(state) for key, state in found}


def _never_killed(gateway: Gateway, route: str) -> Json:

    from graduand.gateway.config import read as config
    from graduand.gateway.monitor.panel import Panel

    settings = config.load(gateway.file)
    reference = files.read(gateway.folder)
    panel = Panel(route, STUDENT, settings.routes[route].monitors, reference, load("static"))
    for record in gateway.records():
        if record["route"] == route:
            panel.take(record)
    data: Json = json.loads(json.dumps(panel.state()))
    return data


def test_the_commands_show_and_refuse(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--admin", world.gateway.admin_url]
    assert main(["monitors", "list", *where]) == 0
    assert "novelty" in capsys.readouterr().out
    assert main(["monitors", "list", *where, "--json"]) == 0
    assert {one["monitor"] for one in json.loads(capsys.readouterr().out)["monitors"]} >= {"novelty", "check_failures"}
    assert main(["monitors", "release", "shown", "mix", *where]) == 1
    assert "no verdict of 'mix' stands on route 'shown'" in capsys.readouterr().err
    world.ask("shown", FOREIGN[:40])
    world.until(lambda: world.route("shown")["verdicts"], "a verdict stands")
    assert main(["routes", "list", *where]) == 0
    assert "shown: novelty: requests are unlike" in capsys.readouterr().out
    world.until(lambda: world.novelty("shown")["n"] >= 340, "all were looked at")
    assert main(["monitors", "release", "shown", "novelty", *where, "--why", "seen"]) == 0
    assert not world.route("shown")["verdicts"]


def test_only_the_last_monitor_may_write(tmp_path: Path) -> None:
    from graduand.gateway.monitor.store import Replaced

    first, second = MonitorStore(tmp_path, "first", 1.0), MonitorStore(tmp_path, "second", 2.0)
    second.commit({"a": 1}, {}, {})
    with pytest.raises(Replaced):
        first.commit({"a": 2}, {}, {})
    assert (second.offsets(), second.since) == ({"a": 1}, 1.0)
