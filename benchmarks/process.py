"""Servers under test: started on one core, watched, measured and ended.

Invariant: every server started here is ended by `stop`, and by the system when the benchmark itself dies. Linux only:
cores are pinned with taskset, and memory and time are read from /proc.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import Unavailable

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT_S = 8
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# The library is loaded here, because little is safe between fork and exec.
_LIBC = ctypes.CDLL(None)


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """`command`, kept to one core."""
    taskset = shutil.which("taskset")
    if taskset is None:
        raise Unavailable("taskset is not installed (package util-linux)")
    return [taskset, "-c", str(core), *command]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Ask the system to end this process when the benchmark dies, even if it is killed."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and its children: they share a session, by which they are found again."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], *, core: int, log: Path, env: Mapping[str, str]) -> "Server":
        with log.open("wb") as output:
            process = subprocess.Popen(
                pinned(core, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        return cls(process, log)

    def ended(self) -> str | None:
        """Why the server is no longer there, or None while it runs."""
        if self.process.poll() is None:
            return None
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"ended with code {self.process.returncode}: {lines[-1].strip()[:200] if lines else 'said nothing'}"

    def _pids(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[3]) == self.process.pid:
                yield int(entry.name)

    def cpu_s(self) -> float:
        """Processor time that the server and its children have used so far."""
        ticks = 0
        for pid in self._pids():
            if fields := _stat(pid):
                ticks += int(fields[11]) + int(fields[12])
        return ticks / CLOCK_TICKS

    def peak_rss_mb(self) -> float:
        """Sum of the peaks of resident memory of the server and its children, in MB."""
        kilobytes = 0
        for pid in self._pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            kilobytes += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return kilobytes / 1024

    def stop(self) -> None:
        """End the server and its children: asked first, then made to."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: 0 is the state, 3 the session, 11 and 12 the times."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
