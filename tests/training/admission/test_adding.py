"""`adapters add` asks for the admission: refused without it, and the record is made by the command that the message names."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from graduand.gateway.adapters.admission import ADMISSION_FILE
from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.cli import main
from graduand.gateway.model.routes import Replica, Settings, Upstream
from graduand.gateway.state.sqlite import SqliteStore
from graduand.monitoring.metrics import Totals


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
    [kept] = SqliteStore(tmp_path / "state.db").adapters()
    assert kept.base == json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert admin.delete(f"/v1/adapters/{added.json()['name']}").status_code == 200


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
