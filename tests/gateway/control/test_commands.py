"""`graduand rollout` and the API behind it: every verb, compare-and-swap, idempotency, audit, exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from graduand.gateway import cli
from tests.gateway.control.conftest import Live
from tests.gateway.control.live import GOOD, SLICED, TASK, Users, steps

SLOW = [{"shadow": {"pairs": 20}}, {"canary": {"weight": 10, "requests": 5, "dwell": "1h"}}, "full"]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.yaml"
    data = {
        "route": "verbs",
        "student": GOOD,
        "gates": ["agreement 0.8"],
        "cycle": "none",
        "steps": SLOW,
        "approvals": ["canary-10"],
    }
    path.write_text(yaml.safe_dump(data))
    return path


class Command:
    """`graduand rollout` against the live gateway."""

    def __init__(self, live: Live, capsys: pytest.CaptureFixture[str]) -> None:
        self.live, self.capsys = live, capsys

    def __call__(self, *arguments: object, code: int = 0) -> str:
        action, *rest = map(str, arguments)
        got = cli.main(["rollout", action, *rest, "--admin", self.live.gateway.admin_url])
        out = self.capsys.readouterr()
        assert got == code, out
        return out.out + out.err

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def run(live: Live, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("GRADUAND_WHO", "ann")
    return Command(live, capsys)


def test_a_rollout_by_hand(run: Command, live: Live, spec: Path) -> None:
    started = run.json("start", spec, "--why", "try it", "--key", "k1")
    name = started["id"]
    assert run.json("start", spec, "--key", "k1")["id"] == name  # the same key
    assert "is in rollout" in run("start", spec, code=1)
    with Users(live.gateway.port, "verbs"):
        live.rollouts.until(name, "shadow")
        while live.rollouts.get(name)["approval"] != "asked":
            pass
        assert "needs a person's approval" in run("explain", "verbs")  # by its route
        assert "canary-10 (approval)" in run("status", name)
        assert run.json("approve", name, "--why", "looked at it")["approval"] == "given"
        live.rollouts.until(name, "canary-10")
        version = live.rollouts.get(name)["version"]
        assert "version" in run("pause", name, "--version", version - 1, code=1)
        paused = run.json("pause", name, "--key", "p1", "--version", version)
        assert (paused["phase"], paused["hold"], paused["weight"]) == ("hold", "paused", 10)
        assert run.json("pause", name, "--key", "p1", "--version", version)["version"] == paused["version"]
        assert run.json("resume", name)["phase"] == "canary"
        assert "needs a reason" in run("promote", name, code=1)
        assert "not possible" in run("retry", name, code=1)
        assert run.json("promote", name, "--why", "in a hurry")["step"] == "full"
        rolled = run.json("rollback", name, "--why", "changed my mind")
        assert (rolled["mode"], rolled["weight"]) == ("teacher", 0)
        live.rollouts.until(name, "rolled_back")
        again = run.json("retry", name, "--why", "second thoughts")
        assert (again["attempt"], again["pairs"]) == (2, 0)
        live.rollouts.until(name, "shadow")
    assert run.json("abort", name)["phase"] == "aborted"
    events = run.json("history", name)["events"]
    assert {event["who"] for event in events} == {"ann", "controller"}
    assert [event["reason"] for event in events if event["event"] == "promote"] == ["in a hurry"]
    assert "second thoughts" in run("history", name)
    assert name in run("list", "--route", "verbs")
    changes = live.gateway.admin.get("/v1/events").json()["events"]
    assert any(change.get("rollout") == name and change["who"] == "ann" for change in changes)
    run("watch", name, code=1)  # it ended, and not by promotion


def test_the_route_belongs_to_its_rollout(run: Command, live: Live, spec: Path) -> None:
    name = run.json("start", spec)["id"]
    live.rollouts.until(name, "shadow")
    refused = live.gateway.change("verbs", mode="student")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "rollout_running")
    run("abort", name)
    assert live.gateway.change("verbs", mode="teacher").status_code == 200


def test_a_promoted_rollout_gives_way(run: Command, live: Live, spec: Path) -> None:
    name = run.json("start", spec)["id"]
    live.rollouts.until(name, "shadow")
    assert run.json("promote", name, "--full", "--why", "a test")["phase"] == "promoted"
    run("watch", name)
    other = run.json("start", spec)["id"]
    live.rollouts.until(other, "shadow")
    assert live.rollouts.get(name)["phase"] == "superseded"
    run("promote", other, "--full", "--why", "a test")
    assert live.gateway.change("verbs", mode="teacher").status_code == 200
    assert live.rollouts.get(other)["phase"] == "superseded"
    assert live.gateway.admin.get("/v1/routes/verbs").json()["mode"] == "teacher"


def test_prechecks_hold(run: Command, live: Live, tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    path.write_text(yaml.safe_dump({"route": "verbs", "student": "absent@123456"}))
    name = run.json("start", path)["id"]
    held = live.rollouts.until(name, "hold")
    assert held["hold"] == "precheck"
    assert "does not have the adapter absent@123456" in held["note"]
    assert held["mode"] == "teacher"
    assert [one["verb"] for one in held["possible"]] == ["abort", "pause", "resume", "retry", "rollback"]
    run("abort", name)


def test_a_route_with_a_slash(run: Command, live: Live, tmp_path: Path) -> None:
    path = tmp_path / "slash.yaml"
    path.write_text(yaml.safe_dump({"route": "team/verbs", "student": GOOD}))
    name = run.json("start", path)["id"]
    assert name == "team-verbs-1"
    assert run.json("status", "team/verbs")["id"] == name
    assert run.json("abort", "team/verbs")["phase"] == "aborted"


def test_plan(run: Command, spec: Path) -> None:
    data = run.json("plan", spec, "--requests-per-s", 2, "--agreement", 0.98)
    assert [step["name"] for step in data["steps"]] == ["shadow", "canary-10", "full"]
    assert data["steps"][0]["seconds"] == data["steps"][0]["observations"] / 2
    text = run("plan", spec, "--requests-per-s", 2)
    assert "likely to hold it up" in text
    assert "warning" in text
    assert "hardly ever prove" in run("plan", spec, "--agreement", 0.7, "--requests-per-s", 1)


def test_simulate(run: Command, live: Live, tmp_path: Path) -> None:
    path = tmp_path / "quick.yaml"
    quick = [{"shadow": {"pairs": 50, "t_max": "1h"}}, "full"]
    data = {"route": "sliced", "student": SLICED, "gates": ["agreement 0.8"], "cycle": "none", "steps": quick, "task": TASK,
            "on_inconclusive": "rollback"}  # fmt: skip
    path.write_text(yaml.safe_dump(data))
    told = run.json("simulate", path, "--runs", 4, "--agreement", 0.99)["students"]
    assert told["described"]["promoted"] == 1
    assert told["harmful"]["promoted"] == 0
    assert "false promotion" in run("simulate", path, "--runs", 2)
    much = live.gateway.admin.post("/v1/rollouts/simulate", json={"spec": data, "runs": 2, "requests_per_s": 11})
    assert much.status_code == 422
    assert "at most 20" in much.json()["error"]["message"]
    api = live.gateway.admin.post("/v1/rollouts/simulate", json={"spec": data, "runs": 2})
    assert api.json()["students"]["described"]["runs"] == 2
    logs = live.gateway.folder / "logs"
    with Users(live.gateway.port, "sliced"):
        name = live.rollouts.start("sliced", SLICED, steps=steps(pairs=10_000))
        while live.rollouts.get(name)["pairs"] < 100:
            pass
    live.rollouts.verb(name, "abort")
    logged = run.json("simulate", path, "--runs", 2, "--logs", logs)["students"]["described"]
    assert 0.9 < logged["agreement"] < 1


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"route": "vrbs"}, 404, "Did you mean 'verbs'"),
        ({"gates": ["agreement", "incumbent"]}, 400, "no student is in service"),
        ({"gates": ["incumbent"]}, 400, "still healthy after promotion"),
        ({"gates": ["score"]}, 400, "gate score needs a judge"),
        ({"task": {"kind": "text"}}, 400, "name one: judge:"),
        ({"task": {"kind": "text", "judge": {"upstream": "techer", "model": "m"}}}, 400, "Did you mean 'teacher'"),
        ({"task": {**TASK, "judge": {"upstream": "teacher", "model": "m"}}}, 400, "kind is label"),
        ({"task": {"kind": "lable"}}, 400, "task"),
        ({"slices": {"a": {}}}, 400, "a label, a prompt or metadata"),
        ({"slices": {"a": {"prompt": "("}}}, 400, "no regular expression"),
        ({"stepz": []}, 400, "Did you mean 'steps'"),
    ],
)
def test_what_could_never_work_is_refused(live: Live, change: dict[str, Any], status: int, text: str) -> None:
    body = {"spec": {"route": "verbs", "student": GOOD, **change}}
    answer = live.gateway.admin.post("/v1/rollouts", json=body)
    assert answer.status_code == status, answer.text
    assert text in answer.json()["error"]["message"]


def test_what_is_not_there(run: Command, live: Live, tmp_path: Path) -> None:
    assert "there is no rollout 'nothing'" in run("status", "nothing", code=1)
    bad = tmp_path / "bad.yaml"
    bad.write_text("route: x\nstepz: []")
    assert "Did you mean 'steps'" in run("start", bad, code=2)
    assert "cannot read" in run("start", tmp_path / "missing.yaml", code=2)
    answer = live.gateway.admin.post("/v1/rollouts/verbs-1/promot", json={})
    assert (answer.status_code, "Did you mean 'promote'" in answer.text) == (404, True)
    answer = live.gateway.admin.post("/v1/rollouts/verbs-1/pause", json={"wy": "x"})
    assert (answer.status_code, "Did you mean 'why'" in answer.text) == (422, True)
