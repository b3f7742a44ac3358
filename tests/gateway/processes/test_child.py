"""A process beside the data plane as the supervisor sees it: told by standard input, ended by a signal or with its parent."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graduand.gateway.config.read import parse
from graduand.gateway.model.routes import Settings, settings_to_json
from tests.gateway.running import ROOT

CODE = """
import threading
from graduand.gateway.processes.child import SideProcess

class Told:
    @property
    def settings(self): raise NotImplementedError
    @settings.setter
    def settings(self, new): print(*new.routes, flush=True)

stopped = threading.Event()
process = SideProcess("example", stopped.set)
print(*process.settings.routes, process.series, process.holder, flush=True)
process.follow(Told())
print(process.stopping.wait(60) and stopped.wait(60), flush=True)
"""
# The signal comes while the main thread has the lock of the very event that it sets, as `wait` has for a moment.
HELD = """
import os, signal
from graduand.gateway.processes.child import SideProcess

process = SideProcess("example")
with process.stopping._cond:
    os.kill(os.getpid(), signal.SIGTERM)
    print("held", flush=True)
print(process.stopping.wait(60), flush=True)
"""
PATIENCE_S = 60

Process = subprocess.Popen[str]


def settings(route: str) -> Settings:
    upstreams = {"t": {"kind": "openai", "base_urls": ["http://127.0.0.1:9/v1"]}}
    routes = {route: {"teacher": {"upstream": "t", "model": "gpt"}}}
    return parse({"upstreams": upstreams, "routes": routes}, where="test", environ={})


def tell(process: Process, route: str) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings_to_json(settings(route))) + "\n")
    process.stdin.flush()


def line(process: Process) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(code: str = CODE) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps({"run_folder": str(tmp_path)})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        started.append(process)
        tell(process, "first")
        return process

    yield start
    for one in started:
        with one:
            one.kill()


@pytest.mark.parametrize("how", ["signal", "parent"])
def test_it_follows_and_ends(start: Callable[[], Process], how: str, tmp_path: Path) -> None:
    process = start()
    route, series, holder = line(process)
    assert (route, series) == ("first", str(tmp_path / "example.series"))
    assert holder.startswith(f"{os.uname().nodename}/{process.pid}/")
    for name in ("second", "third"):
        tell(process, name)
        assert line(process) == [name]
    if how == "signal":
        process.send_signal(signal.SIGTERM)
    else:
        assert process.stdin is not None
        process.stdin.close()  # as the kernel does when the supervisor is killed
    assert line(process) == ["True"]
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.timeout(PATIENCE_S)
def test_a_signal_at_the_worst_moment_ends_it_all_the_same(start: Callable[..., Process]) -> None:
    process = start(HELD)
    assert line(process) == ["held"]
    assert line(process) == ["True"]
    assert process.wait(PATIENCE_S) == 0
