"""One data-plane process: `python -m graduand.gateway.processes.worker`, started and configured by the supervisor.

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
from pathlib import Path
from typing import Any

import uvloop

from graduand.gateway.config.read import budgets_folder
from graduand.gateway.dataplane import sweep
from graduand.gateway.dataplane.budget import Budgets
from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.bodies import Held
from graduand.gateway.dataplane.http.server import ClientConnection
from graduand.gateway.dataplane.keys import ClientKeys, KeyLimits
from graduand.gateway.dataplane.plane import Plane
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.logs import places
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model import record
from graduand.gateway.model.routes import Limits, RouteTable, Settings
from graduand.gateway.processes.allocator import keep_freed
from graduand.gateway.processes.child import first_settings, follow
from graduand.gateway.state.watcher import TableWatcher
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.series import SeriesFile

DRAIN_LOOK_EVERY_S = 0.01
# What a client had sent, or was about to, when the drain began has arrived after so many looks: 0.3 s of a running process.
ARRIVAL_LOOKS = 30
REST_S = 0.5
GC_THRESHOLDS = (20_000, 20, 20)

logger = logging.getLogger("graduand")


class Worker:
    """The process's parts and its way from start to drained."""

    def __init__(self, number: int, listener: socket.socket, run_folder: Path, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._run_folder = run_folder
        self._connections: set[ClientConnection] = set()
        self._arriving: set[asyncio.Task[object]] = set()
        self._watcher = TableWatcher(settings, self._table_changed, str(number))
        self._log = LogWriter(places.spool(settings), name=f"w{number}-{os.getpid()}", policy=settings.record)
        self._number = number
        self._metrics = Metrics(SeriesFile(run_folder / f"worker-{number}.series"))
        self._shared = Shared(
            self._watcher.first(),
            Fleet(settings.upstreams, self._loop, settings.workers),
            ClientKeys(settings.client_keys),
            self._limits(settings),
            self._metrics,
            self._log,
            Budgets(budgets_folder(settings)),
            settings.prices,
            settings.tracing,
        )
        self._plane = Plane(self._shared)
        self._plane.allow(settings.cors)
        self._sweep = sweep.Sweep(self._shared.fleet, self._connections, self._shared.pauses)
        self._held = Held(settings.max_body_mb << 20)
        self._stopping = asyncio.Event()
        self._longest_s = _longest(settings)

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        loop, plane = self._loop, self._plane
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        # The supervisor starts us with SIGTERM blocked; one that came meanwhile is delivered now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        follow(self._settings_changed, lambda: loop.call_soon_threadsafe(self._stopping.set))
        self._listener.setblocking(False)
        loop.add_reader(self._listener, self._accept)
        # What is alive now lives as long as the process: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        # Requests make no reference cycles; looking for some after every 700 objects would cost 2% of the time.
        gc.set_threshold(*GC_THRESHOLDS)
        ticking = loop.create_task(self._tick())
        await self._stopping.wait()
        plane.draining = True
        await self._last_arrivals()
        await self._drain()
        ticking.cancel()
        plane.tick()
        self._watcher.stop()
        self._log.close()
        plane.tick()

    async def _tick(self) -> None:
        while True:
            now = self._loop.time()
            try:
                self._sweep.look(now, self._longest_s)
                self._plane.tick()
                self._report_state()
            except Exception as error:  # without its sweep a worker would never time anything out again
                self._shared.crashed(error)
            await asyncio.sleep(sweep.EVERY_S)

    def _report_state(self) -> None:
        self._plane.warning = self._watcher.warning
        # Gauges are summed over workers, so one speaks for all: they share the machine's way to the store.
        if self._number == 0:
            self._metrics.set(m.STATE_UP, (), 0.0 if self._watcher.problem else 1.0)
            self._metrics.set(m.STATE_AGE, (), self._watcher.age_s)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of file descriptors, most likely: connections wait in the kernel until some are free again.
                logger.error("cannot accept connections for a moment: %s", error)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(REST_S, self._accept_again)
                return
            arrival = self._loop.create_task(self._loop.connect_accepted_socket(self._connection, accepted))
            self._arriving.add(arrival)
            arrival.add_done_callback(self._arriving.discard)

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _connection(self) -> ClientConnection:
        return ClientConnection(
            self._plane.handle, self._connections, self._shared.fleet.outbox, self._held, self._plane.lets_in
        )

    async def _last_arrivals(self) -> None:
        """Answer what is on its way when the drain begins, on kept connections and new ones, as their last request."""
        for _ in range(ARRIVAL_LOOKS):
            self._announce_the_end()
            await asyncio.sleep(DRAIN_LOOK_EVERY_S)
        # The kernel resets connections that wait on a listening socket when it closes: take them first, and close in the
        # same breath.
        self._loop.remove_reader(self._listener)
        self._accept()
        self._listener.close()

    def _announce_the_end(self) -> None:
        for connection in list(self._connections):
            connection.answer_once_more()

    async def _drain(self) -> None:
        until = self._loop.time() + self._longest_s
        looked_at, late = self._loop.time(), False
        while (
            self._arriving or self._shared.in_flight or self._plane.shadower.size or self._connections
        ) and self._loop.time() < until:
            self._announce_the_end()
            now = self._loop.time()
            # This process stood still: what arrived meanwhile is read first. Not twice in a row, or a machine that is
            # always late would never end.
            late = not late and now - looked_at > sweep.EVERY_S
            looked_at = now
            for connection in [] if late else list(self._connections):
                connection.close_if_quiet(ARRIVAL_LOOKS)
            await asyncio.sleep(DRAIN_LOOK_EVERY_S)

    def _serve_by(self, table: RouteTable) -> None:
        self._shared.serve_by(table)
        self._watcher.serves(table.version)

    def _limits(self, settings: Settings) -> KeyLimits | None:
        if settings.limits == Limits() or settings.client_keys is None:
            return None
        return KeyLimits(self._run_folder / "limits", settings.client_keys, settings.limits)

    # From other threads.

    def _table_changed(self, table: RouteTable) -> None:
        self._loop.call_soon_threadsafe(self._serve_by, table)

    def _settings_changed(self, settings: Settings) -> None:
        self._loop.call_soon_threadsafe(self._reconfigure, settings)

    def _reconfigure(self, settings: Settings) -> None:
        keys, limits = ClientKeys(settings.client_keys), self._limits(settings)
        self._shared.configure(settings.upstreams, keys, limits, settings.prices)
        self._plane.allow(settings.cors)
        for connection in self._connections:
            connection.authorized = None
        self._longest_s = _longest(settings)
        self._held.accept(settings.max_body_mb << 20)
        self._watcher.configure(settings)


def _longest(settings: Settings) -> float:
    return max(route.timeouts.total_s for route in settings.routes.values())


async def _main(arguments: dict[str, Any], settings: Settings) -> None:
    listener = socket.socket(fileno=arguments["listener"])
    await Worker(arguments["number"], listener, Path(arguments["run_folder"]), settings).run()


def main() -> None:
    """Entry point; the one argument is JSON: number, listener (a file descriptor) and run_folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s worker %(process)d: %(message)s")
    keep_freed()
    record.reseed()
    arguments = json.loads(sys.argv[1])
    uvloop.run(_main(arguments, first_settings()))


if __name__ == "__main__":
    main()
