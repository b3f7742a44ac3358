"""What the admin plane, the command line, the metrics and a rollout's prechecks say of the fleet."""

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.cli import main
from graduand.gateway.client.admin import Admin
from graduand.gateway.config.read import parse
from graduand.gateway.control import precheck
from graduand.gateway.model.routes import Settings
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.places import Cell
from graduand.gateway.state.sqlite import SqliteStore
from graduand.gateway.telemetry.engines import gauges, wanted
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Totals
from graduand.rollout.spec.spec import Spec
from tests.gateway.fleet.engines import Engine

NAME = "small@3f9c1a0b22de"
AWAY = "http://127.0.0.1:9/v1"


@pytest.fixture
def engine() -> Engine:
    started = Engine()
    started.adapters[NAME] = "/adapters/small"
    return started


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Settings:
    return parse(
        {
            "upstreams": {"gpu": {"kind": "vllm", "base_urls": [engine.url, AWAY], "slots": 2}},
            "routes": {
                "r": {
                    "teacher": {"upstream": "gpu", "model": "base"}, "student": {"upstream": "gpu", "adapter": NAME},
                    "mode": "canary",
                }
            },
            "state": f"sqlite:///{tmp_path}/state.db", "logs": f"file://{tmp_path}",
        },
        where="test", environ={},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "state.db")


def put(store: SqliteStore, **cells: Cell) -> None:
    """The adapter's places."""
    documents = Documents(store)
    with store.transaction():
        places.write(documents, {}, {("gpu", NAME): dict(cells)})


def test_list(
    settings: Settings, engine: Engine, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    admin = TestClient(app(Configuration(settings, Totals(tmp_path))), raise_server_exceptions=False)
    monkeypatch.setattr(Admin, "call", lambda _, method, path: admin.request(method, path).json())
    monkeypatch.setenv("COLUMNS", "200")
    store.add_adapter(NAME, "gpu", "/adapters/small", who="test")
    [one] = admin.get("/v1/adapters").json()["adapters"]
    assert (one["managed"], [place["state"] for place in one["replicas"]]) == (False, ["listed", "away"])
    put(store, **{engine.url: Cell("ready", 1.0), AWAY: Cell("failed", 2.0, "no room", 1)})
    assert main(["adapters", "list"]) == 0
    shown = capsys.readouterr().out
    assert "ready" in shown
    assert "failed: no room" in shown
    put(store)
    assert main(["adapters", "list"]) == 0
    assert "no place" in capsys.readouterr().out


def test_wanted_where_it_belongs(settings: Settings, engine: Engine, store: SqliteStore) -> None:
    store.add_adapter("other@000000000000", "gpu", "/x", who="test")
    asked, homes = wanted(settings)
    values = gauges(settings.upstreams.values(), [], asked, homes)[m.ADAPTER_WANTED]
    assert values == {(NAME, "gpu"): 2, ("other@000000000000", "gpu"): 2}
    put(store, **{engine.url: Cell("ready", 1.0), AWAY: Cell("draining", 2.0)})
    values = gauges(settings.upstreams.values(), [], *wanted(settings))[m.ADAPTER_WANTED]
    assert values[NAME, "gpu"] == 1


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("ready", None),
        ("loading", "ready: loading"),
        ("failed", "ready: it broke"),
        (None, "no place"),
        ("gone", "does not have"),
    ],
)
def test_a_rollout_waits_for_it(
    settings: Settings, engine: Engine, store: SqliteStore, state: str | None, problem: str | None
) -> None:
    spec = replace(_spec(), route="r", student=NAME)
    if state is None:
        put(store)
    elif state == "gone":  # ready, as far as was seen; and just lost
        put(store, **{engine.url: Cell("ready", 1.0)})
        engine.adapters.clear()
    else:
        put(store, **{engine.url: Cell(state, 1.0, "it broke" if state == "failed" else "")})
    found = precheck.problems(spec, settings, None)
    assert bool(found) == (problem is not None)
    assert problem is None or problem in found[0]


def _spec() -> Spec:
    from graduand.rollout.spec import file as specfile

    return specfile.read({"route": "r", "student": NAME, "steps": ["shadow", "canary 10", "full"]})
