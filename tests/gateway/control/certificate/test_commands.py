"""`graduand rollout certificate` and `verify`, against an admin plane in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from graduand.gateway import cli
from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.client.admin import Admin, AdminRefused
from graduand.gateway.model import canonical
from graduand.monitoring.metrics import Totals
from tests.gateway.control.certificate import test_verify
from tests.gateway.control.certificate.conftest import SHORT, Case, promoted
from tests.gateway.control.worlds import World

Json = dict[str, Any]
keys = test_verify.keys


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, named=True)
    served = TestClient(app(Configuration(world.settings, Totals(tmp_path))))

    def call(_: Admin, method: str, path: str, body: Json | None = None) -> Any:
        answer = served.request(method, path, json=body)
        if answer.status_code >= 400:
            raise AdminRefused(answer.json()["error"]["message"])
        return answer.json()

    monkeypatch.setattr(Admin, "call", call)
    return world


def run(*words: Any) -> int:
    return cli.main(["rollout", *map(str, words)])


def test_from_the_gateway_to_the_verdict(
    world: World, tmp_path: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    promoted(world)
    out, logs = tmp_path / "promotion.json", tmp_path / "logs"
    assert run("certificate", "triage", "--out", out, "--key", keys[0]) == 0
    assert "promoted by evidence" in capsys.readouterr().out
    assert canonical.loads(out.read_bytes())["signature"]["algorithm"] == "ed25519"
    assert run("verify", out, "--log", logs, "--key", keys[1]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "confirmed"
    assert run("verify", out) == 4
    case = Case({}, logs)
    test_verify.change_answer(case)
    capsys.readouterr()
    assert run("verify", out, "--log", logs, "--json") == 3
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "refused"
    assert next(one for one in said["lines"] if one["line"] == "records")["status"] == "refused"


def test_what_cannot_be_done_is_said(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    world.start(**SHORT)
    out = tmp_path / "promotion.json"
    assert run("certificate", "triage", "--out", out) == 1
    assert "has not been promoted" in capsys.readouterr().err
    assert not out.exists()
    assert run("certificate", "nothing", "--out", out) == 1
    assert run("verify", out) == 2
    assert "cannot read the certificate" in capsys.readouterr().err
    out.write_bytes(b"{}")
    assert run("verify", out) == 3
    assert run("verify", out, "--log", tmp_path / "nowhere") == 2


def test_the_audit_trail_is_shown_with_its_hashes(world: World, tmp_path: Path) -> None:
    promoted(world)
    served = TestClient(app(Configuration(world.settings, Totals(tmp_path))))
    events = served.get("/v1/events").json()["events"]
    assert [event["number"] for event in events] == list(range(len(events), 0, -1))
    assert all(len(event["hash"]) == 64 for event in events)
