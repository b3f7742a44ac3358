"""The demo's processes: started in order, waited for, and ended in reverse order, whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

READY_WITHIN_S = 120.0
ENDED_WITHIN_S = 30.0


class DidNotStart(RuntimeError):
    """A server of the demo did not come up; the message says where its output is."""


class Servers:
    """Servers run by the `graduand` command of this environment; each writes to a log file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Servers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave servers behind: they have sessions of their own, so nobody else would end them.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for process in reversed(self._running):
                _end(process)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, name: str, *arguments: str, ready: str) -> "subprocess.Popen[bytes]":
        """Start `graduand ARGUMENTS` and wait until the URL `ready` answers."""
        output = self._folder / f"{name}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "graduand", *arguments],
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        self._running.append(process)
        until = time.monotonic() + READY_WITHIN_S
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > until:
                tail = output.read_text("utf-8", "replace").strip()[-2000:]
                raise DidNotStart(f"{name} did not start; {output} says:\n{tail}")
            time.sleep(0.1)
        return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, otherwise a free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("this machine has no free port")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
