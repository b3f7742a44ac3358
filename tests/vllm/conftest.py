"""The road in front of a real vLLM: a recorded teacher, a trained adapter, the gateway, its commands and its admin plane."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from graduand.gateway.adapters.admission import ADMISSION_FILE
from tests.e2e import students
from tests.e2e.students import TEACHER, Server
from tests.gateway.running import ROOT, Gateway, upstream
from tests.gateway.speaking import Answer, Client
from tests.vllm import environment
from tests.vllm.server import VLLM

Json = dict[str, Any]
Say = Callable[[str], None]
# A processor that other work shares answers slowly; the gateway must not take that for a failure.
TIMEOUTS = {"connect_s": 5, "first_token_s": 240, "idle_s": 240, "total_s": 600}
CLIENT_S = 600.0
NOBODY = "nobody@000000000000"
SHORT = {"temperature": 0, "max_tokens": 8}


@dataclass(frozen=True)
class Road:
    """All of it, running; `adapter` is the trained student's immutable name, `path` its folder, `rows` what it learned."""

    folder: Path
    vllm: VLLM
    ready_s: float
    gateway: Gateway
    adapter: str
    path: Path
    rows: Path

    def graduand(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command, as a person types it; those that talk to the gateway are told where it is."""
        where = ["--admin", self.gateway.admin_url] if arguments[0] in ("adapters", "routes") else []
        return subprocess.run(
            [sys.executable, "-m", "graduand", *arguments, *where], capture_output=True, text=True, timeout=900, cwd=ROOT,
            check=False,
        )  # fmt: skip

    def ask(self, route: str, text: str, user: str = "ann", **more: Any) -> Answer:
        """One ticket, over a connection of its own."""
        body = {"model": route, "user": user, "messages": students.asked(text), **SHORT, **more}
        with Client(self.gateway.port, timeout_s=CLIENT_S) as client:
            return client.ask(body)

    def openai(self, url: str | None = None) -> openai.OpenAI:
        """The real client, of the gateway or of another address."""
        return openai.OpenAI(base_url=url or self.gateway.url, api_key="none", max_retries=0, timeout=CLIENT_S)

    def records(self, route: str, role: str) -> list[Json]:
        return [one for one in self.gateway.records() if one["route"] == route and one["role"] == role]

    def place(self) -> "subprocess.CompletedProcess[str]":
        """Load the adapter as a person does."""
        return self.graduand("adapters", "add", f"good={self.path}", "--upstream", "gpu")


def _route(student: str, **more: Any) -> Json:
    return {
        "teacher": {"upstream": "openai", "model": TEACHER}, "student": {"upstream": "gpu", "adapter": student},
        "timeouts": TIMEOUTS, "unit": "user", **more,
    }  # fmt: skip


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print a measurement, whatever becomes of the test's other output."""

    def told(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", flush=True)

    return told


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    try:
        environment.ready()
    except environment.CannotRun as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("vllm")
    trained = students.fitted("good", folder)
    path = folder / "adapters" / trained.name
    # A copy that nobody has admitted yet, whatever was done with the cached one.
    shutil.copytree(trained, path, ignore=shutil.ignore_patterns(ADMISSION_FILE))
    students.write_answers(folder / "answers.jsonl")
    vllm = VLLM(folder)
    teacher = Server(folder, "teacher", "recorded-teacher", "--answers", str(folder / "answers.jsonl"))
    try:
        ready_s = vllm.start()
        routes = {
            "tickets": _route(path.name),
            "students": _route(path.name, mode="student", on_student_failure="error"),
            "lost": _route(NOBODY, mode="student"),
            "only-lost": _route(NOBODY, mode="student", on_student_failure="error"),
        }
        upstreams = {"openai": upstream(teacher.url), "gpu": upstream(vllm.url, kind="vllm")}
        gateway = Gateway(folder, upstreams, routes)
        try:
            yield Road(folder, vllm, ready_s, gateway, path.name, path, folder / "good.jsonl")
        finally:
            gateway.stop(240)
        assert "Traceback" not in gateway.errors, gateway.errors
    finally:
        vllm.kill()
        teacher.stop()


def tickets(most: int) -> list[tuple[str, str]]:
    """Tickets and their queues, some of each queue."""
    every: list[tuple[str, str]] = list(dict(students.tickets()).items())
    step = max(1, len(every) // most)
    return every[::step][:most]


def as_json(done: "subprocess.CompletedProcess[str]") -> Json:
    """What a command with --json printed."""
    data: Json = json.loads(done.stdout)
    return data
