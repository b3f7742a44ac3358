"""The controller's process: `python -m gateway.control.process`, started and configured by the supervisor.

The one argument is JSON: run_folder, where its gauges go.

Reads settings from standard input as a worker does; its end means that the supervisor has died. When this process dies
the data plane serves on, unchanged, and the next controller goes on where the store says.
"""

import contextlib
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

from gateway.control.loop import Controller
from gateway.control.notify import Notifier
from gateway.errors import GraduandError
from gateway.routes import settings_from_json
from gateway.telemetry import rollouts
from monitoring.metrics import Metrics
from monitoring.series import SeriesFile

LOOK_EVERY_S = 0.1
EXPORT_EVERY_S = 1.0
AFTER_TROUBLE_S = 1.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s controller: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every question to a judge
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = settings_from_json(json.loads(sys.stdin.readline()))
    metrics = Metrics(SeriesFile(Path(json.loads(sys.argv[1])["run_folder"]) / "controller.series"))
    holder = f"{os.uname().nodename}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    controller = Controller(settings, holder, metrics=metrics)
    notifier = Notifier(settings, holder)

    def follow() -> None:
        for line in sys.stdin:
            controller.settings = settings_from_json(json.loads(line))
        stopping.set()  # the supervisor has died

    threading.Thread(target=follow, name="settings", daemon=True).start()
    try:
        _run(controller, metrics, stopping)
    finally:
        notifier.stop()
        with contextlib.suppress(GraduandError, sqlite3.Error):  # the lease ends by itself
            controller.close()


def _run(controller: Controller, metrics: Metrics, stopping: threading.Event) -> None:
    wait_s, export_at, trouble = 0.0, 0.0, ""
    while not stopping.wait(wait_s):
        try:
            wait_s, trouble = 0.0 if controller.look() else LOOK_EVERY_S, ""
            if time.monotonic() >= export_at:
                export_at = time.monotonic() + EXPORT_EVERY_S
                standing = controller.standing()
                rollouts.export(metrics, () if standing is None else rollouts.read(*standing, time.time()))
        except (GraduandError, sqlite3.Error, OSError) as error:
            # Nothing was changed: the transaction was undone. The route stays as it is, and nothing moves.
            if str(error) != trouble:
                logger.error("a look failed and changed nothing: %s", error)
            trouble, wait_s = str(error), AFTER_TROUBLE_S


if __name__ == "__main__":
    main()
