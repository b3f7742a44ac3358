"""The admin plane's process: `python -m graduand.gateway.processes.admin`, started and configured by the supervisor.

Reads settings from standard input as a worker does. When it dies, the data plane serves on and it is started again.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from graduand.gateway.admin.app import app
from graduand.gateway.admin.calls import Configuration
from graduand.gateway.model.routes import Settings
from graduand.gateway.processes.child import first_settings, follow
from graduand.gateway.telemetry.engines import Engines
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile


def main() -> None:
    """Entry point; the one argument is JSON: listener (a file descriptor) and run_folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s admin: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every look at an engine
    arguments = json.loads(sys.argv[1])
    folder = Path(arguments["run_folder"])
    configuration = Configuration(first_settings(), Totals(folder), Metrics(SeriesFile(folder / "admin.series")))
    # A file of its own, because it counts in a thread of its own.
    engines = Engines(Metrics(SeriesFile(folder / "engines.series")), lambda: configuration.settings)

    def take(settings: Settings) -> None:
        configuration.settings = settings

    follow(take, lambda: os.kill(os.getpid(), signal.SIGTERM))
    threading.Thread(target=engines.run, args=(threading.Event(),), name="engines", daemon=True).start()
    server = uvicorn.Server(
        uvicorn.Config(app(configuration), log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    )
    server.run(sockets=[socket.socket(fileno=arguments["listener"])])


if __name__ == "__main__":
    main()
