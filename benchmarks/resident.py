"""What a process holds, read from /proc: resident memory, file descriptors, connections. Linux only."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED, CLOSE_WAIT = "01", "08"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process. `anonymous_mb` is its heap; the rest of `total_mb` are mapped files, shared or its own."""

    at_s: float
    requests: int
    total_mb: float
    anonymous_mb: float
    descriptors: int


def sample(pid: int, at_s: float, requests: int) -> Sample:
    """Look at a process now."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name] = int(size) / 1024
    return Sample(at_s, requests, sizes["Rss:"], sizes["Anonymous:"], descriptors(pid))


def descriptors(pid: int) -> int:
    """How many files, sockets and the like the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def connections(pid: int) -> list[tuple[int, int]]:
    """Local and remote port of each of the process's TCP connections, also of those that only the other side closed."""
    ours = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            ours.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *rest = line.split()
        if state in (ESTABLISHED, CLOSE_WAIT) and f"socket:[{rest[5]}]" in ours:
            found.append((int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)))
    return found
