"""What a worker frees and takes again costs no page faults, counted in a process of its own."""

import ctypes
import subprocess
import sys

import pytest

BATCHES = """
import resource
{first}
for number in range(120):
    if number == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = [bytes([1]) * 100_000 for _ in range(20)]
    del batch
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    command = [sys.executable, "-c", BATCHES.format(first=first)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_freed_memory_is_kept() -> None:
    assert faults("from graduand.gateway.processes.allocator import keep_freed; keep_freed()") < 100
    assert faults("") > 10_000, (
        "the system's allocator keeps it by itself now: gateway/processes/allocator.py has no use any more"
    )
