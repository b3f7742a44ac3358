"""The data plane of a worker within a test: its real sockets, upstreams and log, on an event loop in a thread."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from graduand.gateway.dataplane.budget import Budgets
from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.server import ClientConnection
from graduand.gateway.dataplane.keys import ClientKeys, KeyLimits
from graduand.gateway.dataplane.plane import Plane
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model.clients import ClientKey
from graduand.gateway.model.routes import Limits, Replica, Route, RouteTable, Upstream
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.series import SeriesFile


def upstream(name: str, kind: str, url: str) -> Upstream:
    """An upstream with one replica at `url`."""
    parts = urlsplit(url)
    return Upstream(name, kind, (Replica(parts.scheme, parts.hostname or "", parts.port or 0, parts.path),))


@contextlib.contextmanager
def serving(
    folder: Path, upstreams: list[Upstream], routes: list[Route], keys: tuple[str | ClientKey, ...] = (),
    limits: Limits | None = None,
) -> Iterator[int]:  # fmt: skip
    """The port of a data plane; its log is whole when the context has ended (`records`)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    log = LogWriter(folder)
    known = tuple(ClientKey(one) if isinstance(one, str) else one for one in keys)
    counted = None if limits is None else KeyLimits(folder / "limits", known, limits)

    async def start() -> asyncio.Server:
        fleet = Fleet({one.name: one for one in upstreams}, loop)
        table = RouteTable(1, {route.name: route for route in routes})
        metrics = Metrics(SeriesFile(folder / "worker.series"))
        shared = Shared(table, fleet, ClientKeys(known or None), counted, metrics, log, Budgets(folder / "budgets"))
        plane, connections = Plane(shared), set[ClientConnection]()
        return await loop.create_server(
            lambda: ClientConnection(plane.handle, connections, fleet.outbox), "127.0.0.1", 0
        )

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        log.close()
        loop.close()


def records(folder: Path) -> list[dict[str, Any]]:
    """What a data plane that has ended has logged there."""
    return [json.loads(line) for path in sorted(folder.rglob("*.jsonl")) for line in path.read_bytes().splitlines()]
