"""The fleet manager's process: `python -m graduand.gateway.processes.fleet`, started and configured by the supervisor.

Reads settings from standard input as a worker does; its end means that the supervisor has died. When it dies the data plane
goes on with what it knew, and the next one goes on where replicas stand. It does not give way to the workers as monitor and
shipper do: it needs a few milliseconds a second, and starved it would not see that a replica has lost its adapters.
"""

import contextlib
import logging
import os
import threading

from graduand.gateway.errors import GraduandError
from graduand.gateway.fleet.manager import LOOK_EVERY_S, Manager
from graduand.gateway.processes.child import SideProcess
from graduand.monitoring.metrics import Totals

# What replicas have done is looked at this soon, and many of them at once.
AFTER_DONE_S = 0.05
AFTER_TROUBLE_S = 2.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point; the one argument is JSON: run_folder."""
    woken = threading.Event()
    process = SideProcess("fleet", woken.set)
    totals = Totals(process.series.parent)
    manager = Manager(process.settings, process.holder, process.metrics(), totals, woken.set)
    process.follow(manager)
    try:
        _run(manager, process.stopping, woken)
    finally:
        with contextlib.suppress(GraduandError):  # the lease ends by itself
            manager.close()
    os._exit(0)  # without waiting for what replicas are doing


def _run(manager: Manager, stopping: threading.Event, woken: threading.Event) -> None:
    trouble = ""
    while not stopping.is_set():
        wait_s = LOOK_EVERY_S
        try:
            manager.look()
            trouble = ""
        except (GraduandError, OSError) as error:
            if str(error) != trouble:
                logger.error("a look failed: %s", error)
            trouble, wait_s = str(error), AFTER_TROUBLE_S
        if not stopping.wait(AFTER_DONE_S) and woken.wait(wait_s - AFTER_DONE_S):
            woken.clear()


if __name__ == "__main__":
    main()
