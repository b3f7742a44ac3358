"""The fleet manager's process: `python -m gateway.fleet.process`, started and configured by the supervisor.

Reads settings from standard input as a worker does; its end means that the supervisor has died. When it dies the data plane
goes on with what it knew, and the next one goes on where replicas stand. It does not give way to the workers as monitor and
shipper do: it needs a few milliseconds a second, and starved it would not see that a replica has lost its adapters.
"""

import contextlib
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import uuid
from pathlib import Path

from gateway.errors import GraduandError
from gateway.fleet.manager import LOOK_EVERY_S, Manager
from gateway.routes import settings_from_json
from monitoring.metrics import Metrics, Totals
from monitoring.series import SeriesFile

# What replicas have done is looked at this soon, and many of them at once.
AFTER_DONE_S = 0.05
AFTER_TROUBLE_S = 2.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point; the one argument is JSON: run_folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s fleet: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every look at a replica
    stopping, woken = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    settings = settings_from_json(json.loads(sys.stdin.readline()))
    folder = Path(json.loads(sys.argv[1])["run_folder"])
    holder = f"{os.uname().nodename}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    manager = Manager(settings, holder, Metrics(SeriesFile(folder / "fleet.series")), Totals(folder), woken.set)

    def follow() -> None:
        for line in sys.stdin:
            manager.settings = settings_from_json(json.loads(line))
        stop()  # the supervisor has died

    threading.Thread(target=follow, name="settings", daemon=True).start()
    try:
        _run(manager, stopping, woken)
    finally:
        with contextlib.suppress(GraduandError, sqlite3.Error):  # the lease ends by itself
            manager.close()
    os._exit(0)  # without waiting for what replicas are doing


def _run(manager: Manager, stopping: threading.Event, woken: threading.Event) -> None:
    trouble = ""
    while not stopping.is_set():
        wait_s = LOOK_EVERY_S
        try:
            manager.look()
            trouble = ""
        except (GraduandError, sqlite3.Error, OSError) as error:
            if str(error) != trouble:
                logger.error("a look failed: %s", error)
            trouble, wait_s = str(error), AFTER_TROUBLE_S
        if not stopping.wait(AFTER_DONE_S) and woken.wait(wait_s - AFTER_DONE_S):
            woken.clear()


if __name__ == "__main__":
    main()
