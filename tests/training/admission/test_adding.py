"""`adapters add` asks for the admission: refused without it, and the record is made by the command that the message names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from graduand.gateway.adapters.admission import ADMISSION_FILE
from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.cli import main
from graduand.gateway.client.admin import Admin
from graduand.gateway.model.routes import Replica, Settings, Upstream
from graduand.gateway.state.sqlite import SqliteStore
from graduand.monitoring.metrics import Totals
from tests.gateway.adapters.kinds import KINDS, make


@pytest.fixture
def admin(engine: str, tmp_path: Path) -> TestClient:
    """An admin plane whose upstream is the engine."""
    parts = urlsplit(engine)
    upstream = Upstream("gpu", "vllm", (Replica("http", str(parts.hostname), int(parts.port or 0), "/v1"),))
    state = f"sqlite:///{tmp_path}/state.db"
    settings = Settings({"gpu": upstream}, {}, state=state, logs=f"file://{tmp_path}")
    return TestClient(app(Configuration(settings, Totals(tmp_path))), raise_server_exceptions=False)


def test_added_only_after_admission(
    admin: TestClient, engine: str, copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = copied("letters")
    (folder / ADMISSION_FILE).unlink(missing_ok=True)
    wanted = {"name": "letters", "path": str(folder), "upstream": "gpu"}
    refused = admin.post("/v1/adapters", json=wanted)
    assert refused.status_code == 400
    assert f"graduand train admit --adapter {folder}" in refused.json()["error"]["message"]
    assert main(["train", "admit", "--adapter", str(folder), "--engine", engine]) == 0
    assert "is admitted" in capsys.readouterr().out
    added = admin.post("/v1/adapters", json=wanted)
    assert added.status_code == 201, added.text
    [shown] = admin.get("/v1/adapters").json()["adapters"]
    assert (shown["base"], shown["rank"], shown["training"]) == ("tiny", 8, "known")
    assert shown["bytes"] > 0
    [kept] = SqliteStore(tmp_path / "state.db").adapters()
    assert kept.base == json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert admin.delete(f"/v1/adapters/{added.json()['name']}").status_code == 200


@pytest.mark.parametrize(
    ("kind", "said"), [("lorax", "LoRAX loads an adapter by itself"), ("openai", "has no adapters to load")]
)
def test_an_upstream_that_takes_none_is_named(
    copied: Callable[[str], Path], tmp_path: Path, kind: Any, said: str
) -> None:
    upstream = Upstream("there", kind, (Replica("http", "127.0.0.1", 9, "/v1"),))
    settings = Settings({"there": upstream}, {}, state=f"sqlite:///{tmp_path}/state.db", logs=f"file://{tmp_path}")
    admin = TestClient(app(Configuration(settings, Totals(tmp_path))), raise_server_exceptions=False)
    refused = admin.post("/v1/adapters", json={"name": "letters", "path": str(copied("letters")), "upstream": "there"})
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


def test_a_refusal_is_told_and_remembered(
    admin: TestClient, engine: str, copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("letters")
    (folder / "run.json").unlink()
    assert main(["train", "admit", "--adapter", str(folder), "--engine", engine, "--base", "nowhere"]) == 2
    capsys.readouterr()
    base = Path(str(folder / "base"))
    base.symlink_to(_base(copied("other")))
    assert main(["train", "admit", "--adapter", str(folder), "--engine", engine, "--base", str(base)]) == 1
    assert "FAILED  record" in capsys.readouterr().out
    message = admin.post("/v1/adapters", json={"name": "x", "path": str(folder), "upstream": "gpu"}).json()
    assert "was refused admission (record, completions)" in message["error"]["message"]


def _base(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["config"]["base"])


@pytest.mark.slow
def test_without_an_engine_one_is_started(copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "admit", "--adapter", str(copied("letters"))]) == 0
    assert "is admitted" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_with_rows_one_that_was_trained_elsewhere_is_admitted_and_added(
    admin: TestClient, tiny_base: Path, tiny_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(KINDS["rank 4"], tiny_base, tmp_path / "theirs")
    monkeypatch.setattr(Admin, "call", lambda _, method, path, body: admin.request(method, path, json=body).json())
    command = ["adapters", "add", f"theirs={tmp_path}/theirs", "--upstream", "gpu", "--rows", str(tiny_rows)]
    assert main([*command, "--base", str(tiny_base), "--vouched-by", "ada"]) == 0
    [shown] = admin.get("/v1/adapters").json()["adapters"]
    assert (shown["rank"], shown["training"]) == (4, "unknown; ada vouches for it")
