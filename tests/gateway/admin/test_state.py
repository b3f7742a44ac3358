"""The admin plane on the state store, and `graduand state`: what is shown, and what accepting does."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from graduand.gateway import cli
from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.model.routes import Route, Settings, Student, Teacher
from graduand.gateway.state import places
from graduand.gateway.state.open import open_state
from graduand.monitoring.metrics import Totals
from tests.gateway.redises import RedisServer, free_port
from tests.gateway.running import until

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), mode="canary", weight_bp=5000)


def settings(state: str, folder: Path) -> Settings:
    return Settings({}, {"triage": ROUTE}, state=state, logs=f"file://{folder}")


def client(settings: Settings, folder: Path) -> TestClient:
    return TestClient(app(Configuration(settings, Totals(folder))), raise_server_exceptions=False)


def test_a_file(tmp_path: Path) -> None:
    admin = client(settings(f"sqlite:///{tmp_path}/state.db", tmp_path), tmp_path)
    assert admin.patch("/v1/routes/triage", json={"weight": 3}).status_code == 200
    shown = admin.get("/v1/state").json()
    assert (shown["up"], shown["version"], shown["leader"], shown["problem"]) == (True, 2, None, None)
    refused = admin.post("/v1/state/accept", json={"why": "no reason"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "nothing_lost")


@pytest.fixture
def address(redis_server: RedisServer, tmp_path: Path) -> Iterator[str]:
    """An admin plane over a Redis that holds one change, served for the command line."""
    mine = settings(redis_server.url, tmp_path)
    store = open_state(mine)
    store.found()
    store.change_route(ROUTE, who="ann", weight_bp=300)
    store.serves("0", 2)
    with store.transaction():
        store.put_lease(places.LEASE, "a machine/7/0123", 1, store.now() + 600)
    store.snapshot()
    store.keep()
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app(Configuration(mine, Totals(tmp_path))), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the admin plane starts")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


def test_a_redis_that_loses_its_data(
    address: str, redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["state", "show", "--admin", address]) == 0
    said = capsys.readouterr().out
    assert redis_server.url in said
    assert "serves by version 2" in said
    assert "leader of rollouts: none\nmanager of the fleet: a machine/7/0123\n" in said
    assert cli.main(["state", "accept", "--admin", address]) == 1
    assert "nothing to accept" in capsys.readouterr().err
    redis_server.empty()
    assert cli.main(["state", "show", "--admin", address]) == 1
    assert "problem: Redis has come back empty" in capsys.readouterr().out
    assert cli.main(["routes", "set", "triage", "--weight", "50", "--admin", address]) == 1
    assert "graduand state accept" in capsys.readouterr().err
    assert cli.main(["state", "accept", "--why", "it was flushed", "--admin", address]) == 0
    assert "routes carried over: triage" in capsys.readouterr().out
    [route] = client(settings(redis_server.url, tmp_path), tmp_path).get("/v1/routes").json()["routes"]
    assert (route["weight"], route["version"]) == (3, 3)
    assert cli.main(["state", "show", "--json", "--admin", address]) == 0


def test_redis_is_away(tmp_path: Path) -> None:
    admin = client(settings(f"redis://127.0.0.1:{free_port()}/0", tmp_path), tmp_path)
    for path in ("/v1/routes", "/v1/rollouts", "/v1/events", "/v1/adapters"):
        answer = admin.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "state_unavailable"), path
    assert admin.get("/v1/state").json()["up"] is False
    assert admin.get("/healthz").status_code == 200
