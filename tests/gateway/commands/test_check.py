"""`graduand check`, and what it finds out when it may ask."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.__main__ import main
from tests.gateway.upstream import Conversation, Upstream


def lists(*names: str, status: int = 200) -> Any:
    def acts(talk: Conversation) -> None:
        refused = {"error": {"message": "Incorrect API key provided: sk-1"}}
        talk.whole(status, {"data": [{"id": name} for name in names]} if status == 200 else refused)

    acts.answers_gets = True  # type: ignore[attr-defined]
    return acts


def config(folder: Path, url: str, kind: str = "openai", model: str = "gpt-4o") -> Path:
    (folder / "key").write_text("sk-1")
    path = folder / "config.yaml"
    upstream = {"kind": kind, "base_urls": [url], "api_key": {"file": str(folder / "key")}}
    route = {"teacher": {"upstream": "t", "model": model}, "unit": "user"}
    logs = {"logs": f"file://{folder}/logs", "state": f"sqlite:///{folder}/state.db"}
    path.write_text(json.dumps({"upstreams": {"t": upstream}, "routes": {"triage": route}, **logs}))
    return path


ONLINE = [
    ("openai", lists("gpt-4o", "gpt-5"), 0, "lists 2 models, among them gpt-4o"),
    ("openai", lists("models/gpt-4o"), 0, "lists 1 model, among them gpt-4o"),
    ("openai", lists("gpt-4"), 0, "lists 1 model, but not gpt-4o, which routes ask it for. Did you mean 'gpt-4'?"),
    ("vllm", lists("llama"), 1, "but not gpt-4o"),
    ("openai", lists(status=401), 1, "refuses the key with 401: Incorrect API key provided: [key]"),
    ("openai", lists(status=404), 0, "answers, but lists no models here (404); is the base URL right?"),
    ("vllm", lists(status=404), 1, "answers 404"),
    ("openai", lists(status=503), 1, "answers 503"),
]


@pytest.mark.parametrize(("kind", "acts", "code", "said"), ONLINE)
def test_online(
    tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str], kind: str, acts: Any, code: int, said: str
) -> None:
    place = upstream.place("online", acts)
    path = config(tmp_path, place.url, kind)
    assert main(["check", "--config", str(path), "--online"]) == code
    shown = capsys.readouterr().out
    assert f"upstream t: {place.url} " in shown
    assert said in shown
    assert "sk-1" not in shown
    assert place.seen[0].header("authorization") == "Bearer sk-1"


def test_an_upstream_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, "http://127.0.0.1:9/v1")
    assert main(["check", "--config", str(path), "--online", "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)["online"]
    assert (found["upstream"], found["usable"]) == ("t", False)
    assert "cannot be reached" in found["said"]


def test_offline_nobody_is_asked(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    place = upstream.place("offline", lists("gpt-4o"))
    assert main(["check", "--config", str(config(tmp_path, place.url))]) == 0
    shown = capsys.readouterr().out
    assert not place.seen
    assert "warning: upstream t: " in shown  # no /v1
    (tmp_path / "key").write_text("Bearer sk-1")
    assert main(["check", "--config", str(config(tmp_path, f"{place.url}/v1")), "--json"]) == 0
