"""The monitor's process: `python -m gateway.monitor.process`, started and configured by the supervisor.

Reads settings from standard input as a worker does; its end means that the supervisor has died. It gives way to whatever
serves requests. When it dies nothing else does, and it goes on where its store says.
"""

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
import uuid
from pathlib import Path

from gateway import background
from gateway.errors import GraduandError
from gateway.monitor.loop import Monitor
from gateway.monitor.store import Replaced
from gateway.routes import settings_from_json
from monitoring.metrics import Metrics
from monitoring.series import SeriesFile

LOOK_EVERY_S = 0.25
AFTER_TROUBLE_S = 2.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point; the one argument is JSON: run_folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s monitor: %(message)s")
    background.give_way()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = settings_from_json(json.loads(sys.stdin.readline()))
    metrics = Metrics(SeriesFile(Path(json.loads(sys.argv[1])["run_folder"]) / "monitor.series"))
    monitor = Monitor(settings, f"{os.getpid()}/{uuid.uuid4().hex[:8]}", time.time, metrics)

    def follow() -> None:
        for line in sys.stdin:
            monitor.settings = settings_from_json(json.loads(line))
        stopping.set()  # the supervisor has died

    threading.Thread(target=follow, name="settings", daemon=True).start()
    try:
        _run(monitor, stopping)
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
