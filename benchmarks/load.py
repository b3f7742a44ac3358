"""The load: wrk for whole answers, our own client for streams, both kept to the load's core."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT, program
from benchmarks.payload import CLIENT_KEY, USER
from benchmarks.process import die_with_parent, pinned
from graduand.gateway.errors import GraduandError

USERS = 4096
MARGIN_S = 30
Figures = dict[str, float]


class LoadError(GraduandError, RuntimeError):
    """A measurement did not come about; the report shows the reason in the place of the figures."""


def whole_answers(port: int, body: Path, *, core: int, connections: int, seconds: float) -> Figures:
    """Requests per second and latency of answers that are not streamed."""
    counted = _wrk(port, body, core, connections, seconds)
    if not counted["requests"]:
        raise LoadError(f"no request was answered in {seconds:g} s")
    if wrong := counted["bad_status"] + counted["broken"]:
        raise LoadError(f"{wrong} of {counted['requests']} requests failed")
    figures = {name: float(counted[name]) for name in ("p50_ms", "p99_ms", "seconds")}
    return {"requests_per_s": counted["requests"] / counted["seconds"], "count": counted["requests"], **figures}


def warm_up(port: int, body: Path, *, core: int, connections: int, seconds: float) -> None:
    """The same load without a judgement: a slow peer may well answer nobody in so short a time."""
    _wrk(port, body, core, connections, seconds)


def _wrk(port: int, body: Path, core: int, connections: int, seconds: float) -> dict[str, Any]:
    script = str(Path(__file__).with_name("chat.lua"))
    length = f"{max(1, round(seconds))}s"
    wrk = [program("wrk"), "-t1", f"-c{connections}", f"-d{length}", "--timeout", "30s", "-s", script]
    output = _run(
        pinned(core, [*wrk, f"http://127.0.0.1:{port}", "--", str(body), USER, CLIENT_KEY, str(USERS)]), seconds
    )
    found = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if found is None:
        raise LoadError(f"wrk printed no result: {output[-200:]}")
    counted: dict[str, Any] = json.loads(found.removeprefix("RESULT "))
    return counted


def streams(port: int, mode: str, *, core: int, count: int, seconds: float) -> Figures:
    """What benchmarks/streams.py saw of `count` streams at once."""
    command = [sys.executable, "-m", "benchmarks.streams", str(port), mode, str(count), f"{seconds:g}"]
    seen: dict[str, Any] = json.loads(_run(pinned(core, command), seconds))
    causes = seen.pop("causes")
    if causes and not seen.get("streams", 1):
        raise LoadError(
            f"no stream was whole: {', '.join(f'{count} times {cause}' for cause, count in causes.items())}"
        )
    return {name: float(value) for name, value in seen.items()}


def _run(command: list[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + MARGIN_S, cwd=ROOT, preexec_fn=die_with_parent
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"the load did not end within {seconds + MARGIN_S:g} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise LoadError(f"the load failed: {lines[-1][:200]}")
    return done.stdout
