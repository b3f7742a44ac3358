"""What runs for a request is compiled where anything is: the list of setup.py holds every module of the hot path."""

import ast
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.model.routes import Route, Student, Teacher, Unit
from tests.gateway.dataplane.inprocess import records, serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.running import until
from tests.gateway.speaking import Client, chat
from tests.gateway.upstream import Upstream, answer

ROOT = Path(__file__).parents[3]
# These run as plain Python: most of what they do is to copy bytes, or they only declare data.
PLAIN = {
    "gateway/logs/journal.py", "gateway/logs/segment.py", "gateway/model/routes.py", "monitoring/metrics.py",
    "monitoring/series.py",
}  # fmt: skip


@pytest.fixture
def ran() -> Iterator[set[str]]:
    """The project's own files whose code runs as Python in threads that begin now."""
    files: set[str] = set()

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    threading.setprofile(note)
    yield files
    threading.setprofile(None)


def compiled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What setup.py compiles; it is read and not run, because to run it is to build."""
    monkeypatch.chdir(ROOT)
    tree = ast.parse((ROOT / "setup.py").read_text())
    kept = [one for one in tree.body if isinstance(one, ast.Assign | ast.ImportFrom | ast.FunctionDef)]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(kept, []), "setup.py", "exec"), names)
    return {str(path).removeprefix("graduand/") for path in names["hot"]()}


def own(files: set[str]) -> set[str]:
    found = {Path(file).resolve() for file in files if file.endswith(".py")}
    inside = {path.relative_to(ROOT) for path in found if path.is_relative_to(ROOT)}
    return {str(path) for path in inside if path.parts[0] in ("gateway", "monitoring", "rollout", "training")}


def test_what_a_request_runs_is_compiled(
    tmp_path: Path, upstream: Upstream, ran: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = upstream.place("hot", answer)
    route = Route(
        "triage", Teacher("t", "gpt-4o"), Student("s", "small@3f9c1a"), "canary", 5000, Unit("user"), audit_bp=10_000,
        checks=("secret", "repetition"),
    )  # fmt: skip
    with serving(tmp_path, [one_upstream(name, "vllm", place.url) for name in "ts"], [route]) as port:
        with Client(port) as client:
            client.ask(chat("triage"))
            ran.clear()  # what only begins once is over
            for number in range(20):
                asked = chat("triage", stream=number % 2 == 0, user=f"u{number}")
                assert client.ask(asked).status == 200
        until(lambda: len(records(tmp_path)) >= 40, "the copies' records are written")
        executed = own(set(ran))
    listed = compiled(monkeypatch)
    assert executed, "nothing was seen to run"
    assert executed - listed <= PLAIN
    assert not PLAIN & listed
    assert listed >= {f"gateway/dataplane/{name}.py" for name in ("exchange", "relay", "dialects/chat", "http/server")}
