"""One data-plane process: `python -m gateway.worker`, started and configured by the supervisor.

Reads its settings as the first line of standard input and every reloaded configuration as a further line; the end of
standard input means that the supervisor has died, and ends the worker. SIGTERM drains: no new connection, every request
under way is finished (bounded by the longest `total_s`), the log is written out.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import uvloop

from gateway import record
from gateway.config import local_path
from gateway.dataplane.fleet import Fleet
from gateway.dataplane.keys import ClientKeys, KeyLimits
from gateway.dataplane.plane import Plane
from gateway.dataplane.server import ClientConnection
from gateway.log import LogWriter
from gateway.routes import Limits, RouteTable, Settings, settings_from_json
from gateway.watcher import TableWatcher
from monitoring.metrics import Metrics
from monitoring.series import SeriesFile

SWEEP_EVERY_S = 0.05
TIDY_EVERY_S = 1.0
BACKLOG = 4096

logger = logging.getLogger("graduand")


class Worker:
    """The process's parts and its way from start to drained."""

    def __init__(self, number: int, listener: socket.socket, run_folder: Path, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._run_folder = run_folder
        self._connections: set[ClientConnection] = set()
        self._watcher = TableWatcher(settings.state, settings.routes, self._table_changed, str(number))
        self._log = LogWriter(local_path(settings.logs), name=f"w{number}-{os.getpid()}")
        self._plane = Plane(
            self._watcher.first(),
            Fleet(settings.upstreams, self._loop),
            ClientKeys(settings.client_keys),
            self._limits(settings),
            Metrics(SeriesFile(run_folder / f"worker-{number}.series")),
            self._log,
        )
        self._stopping = asyncio.Event()
        self._longest_s = _longest(settings)

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        loop, plane = self._loop, self._plane
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        threading.Thread(target=self._read_settings, name="settings", daemon=True).start()
        server = await loop.create_server(
            lambda: ClientConnection(plane.handle, self._connections, loop), sock=self._listener, backlog=BACKLOG
        )
        # What is alive now lives as long as the process: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        ticking = loop.create_task(self._tick())
        await self._stopping.wait()
        plane.draining = True
        server.close()
        await self._drain()
        ticking.cancel()
        plane.tick()
        self._watcher.stop()
        self._log.close()
        plane.tick()

    async def _tick(self) -> None:
        tidy_at = 0.0
        while True:
            now = self._loop.time()
            self._plane.fleet.sweep(now)
            self._plane.tick()
            if now >= tidy_at:
                tidy_at = now + TIDY_EVERY_S
                self._plane.fleet.forget_old(now)
                for connection in list(self._connections):
                    connection.expire(now)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _drain(self) -> None:
        until = self._loop.time() + self._longest_s
        for connection in list(self._connections):
            connection.close_when_done()
        while (self._plane.in_flight or self._plane.shadower.size or self._connections) and self._loop.time() < until:
            await asyncio.sleep(SWEEP_EVERY_S / 5)

    def _serve_by(self, table: RouteTable) -> None:
        self._plane.serve_by(table)
        self._watcher.serves(table.version)

    def _limits(self, settings: Settings) -> KeyLimits | None:
        if settings.limits == Limits() or settings.client_keys is None:
            return None
        return KeyLimits(self._run_folder / "limits", len(settings.client_keys), settings.limits)

    # From other threads.

    def _table_changed(self, table: RouteTable) -> None:
        self._loop.call_soon_threadsafe(self._serve_by, table)

    def _read_settings(self) -> None:
        for line in sys.stdin:
            self._loop.call_soon_threadsafe(self._reconfigure, settings_from_json(json.loads(line)))
        self._loop.call_soon_threadsafe(self._stopping.set)

    def _reconfigure(self, settings: Settings) -> None:
        plane = self._plane
        plane.configure(settings.upstreams, ClientKeys(settings.client_keys), self._limits(settings))
        for connection in self._connections:
            connection.authorized = None
        self._longest_s = _longest(settings)
        self._watcher.configure(settings.routes)


def _longest(settings: Settings) -> float:
    return max(route.timeouts.total_s for route in settings.routes.values())


async def _main(arguments: dict[str, Any], settings: Settings) -> None:
    listener = socket.socket(fileno=arguments["listener"])
    await Worker(arguments["number"], listener, Path(arguments["run_folder"]), settings).run()


def main() -> None:
    """Entry point; the one argument is JSON: number, listener (a file descriptor) and run_folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s worker %(process)d: %(message)s")
    record.reseed()
    arguments = json.loads(sys.argv[1])
    settings = settings_from_json(json.loads(sys.stdin.readline()))
    uvloop.run(_main(arguments, settings))


if __name__ == "__main__":
    main()
