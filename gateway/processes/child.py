"""A process that the supervisor has started: how it begins, hears of new settings, and knows when to end.

Settings come as lines of standard input: the first at once, one more after every reload. Invariant: it never outlives the
supervisor. The end of standard input means that the supervisor has died, however that was, and ends the process as SIGTERM
and SIGINT do.
"""

import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from graduand.gateway.model.routes import Settings, settings_from_json
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.series import SeriesFile


class Configured(Protocol):
    """What goes by settings, which may be exchanged under it at any time."""

    settings: Settings


def first_settings() -> Settings:
    """The settings that the supervisor sends at the start; waits for them."""
    return settings_from_json(json.loads(sys.stdin.readline()))


def follow(taken: Callable[[Settings], None], ended: Callable[[], object]) -> None:
    """Pass on every later settings, and the supervisor's end, from a thread of their own."""

    def run() -> None:
        for line in sys.stdin:
            taken(settings_from_json(json.loads(line)))
        ended()

    threading.Thread(target=run, name="settings", daemon=True).start()


class SideProcess:
    """A process beside the data plane: it listens to nothing, and when it dies requests are served on.

    `name` is its word in the log and its file of counters. `settings` are the first ones; `stopping` is set when it has to
    end, and `stopped` is called then, too: in another thread.
    """

    def __init__(self, name: str, stopped: Callable[[], None] = lambda: None) -> None:
        logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {name}: %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every single request
        self.stopping = threading.Event()
        self._stopped = stopped
        self._follow_signals()
        self.arguments = json.loads(sys.argv[1])
        self.settings = first_settings()
        self.series = Path(self.arguments["run_folder"]) / f"{name}.series"
        # For leases: a process that is started again is another one, and another machine may have the same numbers.
        self.holder = f"{os.uname().nodename}/{os.getpid()}/{uuid.uuid4().hex[:8]}"

    def metrics(self) -> Metrics:
        """Its counters; once for each process."""
        return Metrics(SeriesFile(self.series))

    def stop(self) -> None:
        """Have it end soon."""
        self.stopping.set()
        self._stopped()

    def follow(self, one: Configured | None = None) -> None:
        """Give `one` every later settings, and end with the supervisor."""

        def take(settings: Settings) -> None:
            if one is not None:
                one.settings = settings

        follow(take, self.stop)

    def _follow_signals(self) -> None:
        # A handler runs wherever the main thread is, which may be inside of `stopping.wait` with the lock that `set` needs:
        # it would wait for itself for ever. So it only writes to a pipe, and a thread does the rest.
        heard, says = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(says, b"."))

        def run() -> None:
            while os.read(heard, 1):
                self.stop()

        threading.Thread(target=run, name="signals", daemon=True).start()
