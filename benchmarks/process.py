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
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import Unavailable

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT_S = 8
HERTZ = os.sysconf("SC_CLK_TCK")
# Places in /proc/PID/stat, counted after the process's name.
PARENT, USER_TICKS, SYSTEM_TICKS, STARTED = 1, 11, 12, 19
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


def wait_idle(core: int, most_s: float = 30.0) -> None:
    """Wait until a core has little to do; at most so long."""
    end, before = time.monotonic() + most_s, _core_ticks(core)
    while time.monotonic() < end:
        time.sleep(0.5)
        now = _core_ticks(core)
        if now[0] - before[0] < 0.1 * (now[1] - before[1]):
            return
        before = now


def _core_ticks(core: int) -> tuple[int, int]:
    """Busy and all ticks of a core since the system began (proc_stat(5))."""
    line = next(one for one in Path("/proc/stat").read_text().splitlines() if one.startswith(f"cpu{core} "))
    ticks = [int(number) for number in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # idle and waiting for a disk


def die_with_parent() -> None:
    """Ask the system to end this process when the benchmark dies, even if it is killed."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and its descendants, which are found again by their parents."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], *, core: int | None, log: Path, env: Mapping[str, str]) -> "Server":
        with log.open("wb") as output:
            process = subprocess.Popen(
                command if core is None else pinned(core, command),
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

    def _family(self) -> dict[int, list[str]]:
        """The server and its descendants, by process id, each with its fields of /proc/PID/stat."""
        running = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        found = {self.process.pid: running.get(self.process.pid, [])}
        grown = True
        while grown:
            more = {
                pid: stat for pid, stat in running.items() if stat and int(stat[PARENT]) in found and pid not in found
            }
            found |= more
            grown = bool(more)
        return found

    def descendant(self, word: str) -> int | None:
        """The process id of the descendant that has `word` in its command, if there is one."""
        for pid in self._family():
            with suppress(OSError):
                if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return pid
        return None

    def cpu_s(self) -> float:
        """Processor time that the server and its descendants have used so far."""
        return sum(int(stat[USER_TICKS]) + int(stat[SYSTEM_TICKS]) for stat in self._family().values() if stat) / HERTZ

    def peak_rss_mb(self) -> float:
        """Sum of the peaks of resident memory of the server and its descendants, in MB."""
        kilobytes = 0
        for pid in self._family():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            kilobytes += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return kilobytes / 1024

    def stop(self) -> None:
        """End the server, which ends its children; what is left after a while is made to."""
        family = self._family()
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid, stat in family.items():
            # The time of its start shows that it is still the same process.
            if stat and (now := _stat(pid)) and now[STARTED] == stat[STARTED]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the process's name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
