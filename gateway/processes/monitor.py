"""The monitor's process: `python -m graduand.gateway.processes.monitor`, started and configured by the supervisor.

Reads settings from standard input as a worker does; its end means that the supervisor has died. It gives way to whatever
serves requests. When it dies nothing else does, and it goes on where its store says.
"""

import logging
import sqlite3
import threading
import time

from graduand.gateway.errors import GraduandError
from graduand.gateway.monitor.loop import Monitor
from graduand.gateway.monitor.store import Replaced
from graduand.gateway.processes import background
from graduand.gateway.processes.child import SideProcess

LOOK_EVERY_S = 0.25
AFTER_TROUBLE_S = 2.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point; the one argument is JSON: run_folder."""
    background.give_way()
    process = SideProcess("monitor")
    monitor = Monitor(process.settings, process.holder, time.time, process.metrics())
    process.follow(monitor)
    try:
        _run(monitor, process.stopping)
    finally:
        monitor.close()


def _run(monitor: Monitor, stopping: threading.Event) -> None:
    wait_s = 0.0
    while not stopping.wait(wait_s):
        try:
            wait_s = 0.0 if monitor.look() else LOOK_EVERY_S
        except Replaced:
            raise
        except (GraduandError, sqlite3.Error, OSError) as error:
            logger.error("a look failed and taught nothing: %s", error)
            wait_s = AFTER_TROUBLE_S


if __name__ == "__main__":
    main()
