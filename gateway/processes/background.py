"""Processes that wait for the data plane: they get the time that nobody else wants.

Niceness alone is not enough: Linux shares a core equally between sessions (autogroups, sched(7)), and each of the
gateway's processes has a session of its own.
"""

import contextlib
import os
from pathlib import Path

NICENESS = 19


def give_way() -> None:
    """Let this process, and its session, have the core only when it is free."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # not on every kernel
        Path("/proc/self/autogroup").write_text(str(NICENESS))
