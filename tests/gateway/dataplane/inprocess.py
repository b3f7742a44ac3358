"""The data plane of a worker within a test: its real sockets, upstreams and log, on an event loop in a thread."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from graduand.gateway.dataplane.budget import Budgets
from graduand.gateway.dataplane.dispatch import Dispatcher
from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.bodies import Held
from graduand.gateway.dataplane.http.server import ClientConnection, Request
from graduand.gateway.dataplane.keys import ClientKeys, KeyLimits
from graduand.gateway.dataplane.plane import Plane
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.dataplane.sweep import EVERY_S, Sweep
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model.clients import ClientKey
from graduand.gateway.model.routes import Limits, Replica, Route, RouteTable, Upstream
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.series import SeriesFile


def upstream(name: str, kind: str, url: str) -> Upstream:
    """An upstream with one replica at `url`."""
    parts = urlsplit(url)
    return Upstream(name, kind, (Replica(parts.scheme, parts.hostname or "", parts.port or 0, parts.path),))


Result = TypeVar("Result")
Keys = tuple[str | ClientKey, ...]


class Ahead(asyncio.SelectorEventLoop):
    """A loop whose clock can be set forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


class Running:
    """A data plane in a thread. Its clocks run out only where a test lets time pass."""

    def __init__(
        self, folder: Path, upstreams: list[Upstream], routes: list[Route], keys: Keys = (),
        *, held: Held | None = None, seen: list[Request] | None = None, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self._held, self._seen = held or Held(), seen
        self.loop = loop = Ahead()
        self.connections = set[ClientConnection]()
        self._thread = threading.Thread(target=loop.run_forever)
        self._thread.start()
        self.log = LogWriter(folder)
        self._longest_s = max((route.timeouts.total_s for route in routes), default=60.0)
        self._server = self.do(self._start(folder, upstreams, routes, keys, limits))
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _start(
        self, folder: Path, upstreams: list[Upstream], routes: list[Route], keys: Keys, limits: Limits | None
    ) -> asyncio.Server:  # fmt: skip
        fleet = Fleet({one.name: one for one in upstreams}, self.loop)
        table = RouteTable(1, {route.name: route for route in routes})
        metrics = Metrics(SeriesFile(folder / "worker.series"))
        known = tuple(ClientKey(one) if isinstance(one, str) else one for one in keys)
        counted = None if limits is None else KeyLimits(folder / "limits", known, limits)
        keep = ClientKeys(known or None)
        self.shared = Shared(table, fleet, keep, counted, metrics, self.log, Budgets(folder / "budgets"))
        self.shared.clock = self.loop.time
        self.shared.dispatcher = Dispatcher(fleet, metrics, self.loop.time, time.time)
        self.plane = Plane(self.shared)
        self.sweep = Sweep(fleet, self.connections, self.shared.pauses)
        self.sweep.look(self.loop.time(), self._longest_s)
        return await self.loop.create_server(
            lambda: ClientConnection(self._handle, self.connections, fleet.outbox, self._held, self.plane.lets_in),
            "127.0.0.1", 0,
        )  # fmt: skip

    def _handle(self, connection: ClientConnection, request: Request) -> None:
        if self._seen is not None:
            self._seen.append(request)
        self.plane.handle(connection, request)

    def do(self, what: Coroutine[Any, Any, Result]) -> Result:
        """Run it on the data plane's loop."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result()

    def let_pass(self, seconds: float) -> None:
        """Let time pass as for a worker that runs: with its looks, and with turns of the loop in between."""
        self.do(self._pass(seconds, EVERY_S))

    def stand_still(self, seconds: float) -> None:
        """Let time pass as for a worker that was stopped: then it looks once."""
        self.do(self._pass(seconds, seconds))

    async def _pass(self, seconds: float, step_s: float) -> None:
        end = self.loop.time() + seconds
        while (now := self.loop.time()) < end:
            self.loop.ahead_s += min(step_s, end - now)
            self.sweep.look(self.loop.time(), self._longest_s)
            await asyncio.sleep(0)

    def close(self) -> None:
        """End it; the log is whole then."""
        self.loop.call_soon_threadsafe(self._server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.log.close()
        self.loop.close()


@contextlib.contextmanager
def serving(
    folder: Path, upstreams: list[Upstream], routes: list[Route], keys: Keys = (), *, held: Held | None = None,
    seen: list[Request] | None = None, limits: Limits | None = None,
) -> Iterator[int]:  # fmt: skip
    """The port of a data plane; its log is whole when the context has ended (`records`).

    `held` counts its bodies; `seen` gets every request that reaches the application.
    """
    running = Running(folder, upstreams, routes, keys, held=held, seen=seen, limits=limits)
    try:
        yield running.port
    finally:
        running.close()


def records(folder: Path) -> list[dict[str, Any]]:
    """What a data plane that has ended has logged there."""
    return [json.loads(line) for path in sorted(folder.rglob("*.jsonl")) for line in path.read_bytes().splitlines()]
