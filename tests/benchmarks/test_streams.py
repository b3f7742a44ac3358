"""The stream load against its own upstream, over real sockets: nothing lost, nothing invented."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from benchmarks import load
from benchmarks.environments import ROOT
from benchmarks.fleet import probe
from benchmarks.process import free_port


@pytest.fixture
def upstream() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", str(port)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while (problem := probe(port)) is not None:
            assert process.poll() is None, "the upstream ended"
            assert time.monotonic() < deadline, problem
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(autouse=True)
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    # Which core is of no account here, and a test must run where taskset is missing.
    monkeypatch.setattr(load, "pinned", lambda core, command: list(command))


def test_paced_streams_arrive_whole(upstream: int) -> None:
    seen = load.streams(upstream, "paced", core=0, count=8, seconds=0.4)
    # 8 streams of: role, 20 tokens, finish, [DONE].
    assert (seen["count"], seen["unfinished"]) == (8 * 23, 0)
    assert seen["gap_max_ms"] >= seen["gap_p99_ms"] > 0


def test_full_speed_streams_begin_anew(upstream: int) -> None:
    """In 0.4 s on a machine with nothing else to do; a busy one may need longer."""
    for seconds in (0.4, 4.0, 20.0):
        seen = load.streams(upstream, "full", core=0, count=8, seconds=seconds)
        assert seen["unfinished"] == 0
        if seen["streams"] > 8:
            break
    assert seen["streams"] > 8
    assert seen["chunks_per_s"] > 0


def test_nobody_there_is_a_failed_measurement() -> None:
    with pytest.raises(load.LoadError, match=r"refused|failed"):
        load.streams(free_port(), "paced", core=0, count=2, seconds=0.2)
