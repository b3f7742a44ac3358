"""What all exchanges and copies of a worker share: the routes, clocks, the fleet, keys, counters and the log."""

import asyncio
import logging
import time
from collections.abc import Mapping

from graduand.gateway.dataplane import sweep
from graduand.gateway.dataplane.budget import Budgets
from graduand.gateway.dataplane.costs import Costs
from graduand.gateway.dataplane.dispatch import Dispatcher
from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.pauses import Pauses
from graduand.gateway.dataplane.http.server import ClientConnection
from graduand.gateway.dataplane.keys import ClientKeys, KeyLimits
from graduand.gateway.dataplane.meters import Meters
from graduand.gateway.dataplane.own_checks import OwnChecks
from graduand.gateway.dataplane.targets import RouteTargets, resolve
from graduand.gateway.dataplane.units import Shares
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model.clients import Client
from graduand.gateway.model.routes import RouteTable, Tracing, Upstream
from graduand.gateway.model.routing import Decision
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.prices import Price

logger = logging.getLogger("graduand")


class Shared:
    """One a worker. `routes` is swapped whole, never edited, so an exchange sees one table from beginning to end."""

    def __init__(
        self,
        table: RouteTable,
        fleet: Fleet,
        keys: ClientKeys,
        limits: KeyLimits | None,
        metrics: Metrics,
        log: LogWriter,
        budgets: Budgets,
        prices: Mapping[str, Price] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.table = table
        self.prices: Mapping[str, Price] = prices or {}
        self.tracing = tracing
        self.routes: dict[str, RouteTargets] = resolve(table, fleet, self.prices)
        self.fleet = fleet
        self.loop: asyncio.AbstractEventLoop = fleet.loop
        # The loop's own time is the same clock, but in whole milliseconds and as of the loop's last turn.
        self.clock = time.monotonic
        self.wall = time.time
        self.keys = keys
        self.limits = limits
        self.budgets = budgets
        self.metrics = metrics
        self.meters = Meters(metrics)
        self.costs = Costs(metrics)
        self.log = log
        self.pauses = Pauses(sweep.EVERY_S)
        self.dispatcher = Dispatcher(fleet, metrics, self.clock, time.time)
        self.own_checks = OwnChecks(self.loop)
        self.in_flight = 0
        self._shares: dict[str, Shares] = {}
        self._prepare()

    def serve_by(self, table: RouteTable) -> None:
        """Serve requests that begin from now on by `table`."""
        self.table = table
        self.routes = resolve(table, self.fleet, self.prices)
        self._prepare()

    def _prepare(self) -> None:
        for name, targets in self.routes.items():
            self.meters.prepare(name, "" if targets.student is None else targets.student.model)
            self._shares.setdefault(name, Shares())

    def configure(
        self, upstreams: dict[str, Upstream], keys: ClientKeys, limits: KeyLimits | None, prices: Mapping[str, Price]
    ) -> None:  # fmt: skip
        """Take a reloaded configuration over; the table that goes with it follows by `serve_by`."""
        # What the old table names stays until then: a request must find its upstream.
        self.fleet.replace({**self.fleet.configured, **upstreams})
        self.prices = prices
        self.routes = resolve(self.table, self.fleet, prices)
        self.keys = keys
        old, self.limits = self.limits, limits
        if old is not None:
            old.close()

    def admit(self, client: Client) -> None:
        """Count a request of a client that was recognised; raise RequestError if it has used up its limits."""
        if self.limits is not None:
            self.limits.admit(client, time.time())

    def recognise(self, connection: ClientConnection, authorization: bytes) -> Client:
        """Whose key it is; raise RequestError if it is unknown."""
        known = connection.authorized
        # A connection that has shown this very header before need not be hashed again; the comparison tells nobody
        # more than what it sent itself.
        if known is not None and known[0] == authorization:
            return known[1]
        client = self.keys.client(authorization)
        connection.authorized = (authorization, client)
        return client

    def count_unit(self, route: str, decision: Decision) -> None:
        """Count a request of a route whose requests are to name a unit: whether it did, and whether that one has too much."""
        if decision.unit_missing:
            self._shares[route].saw_nobody()
            self.metrics.add(m.UNIT_MISSING, (route,))
        elif self._shares[route].saw(decision.unit_hash):
            self.metrics.add(m.UNIT_HEAVY, (route,))

    def spend(self, client: Client, tokens: int) -> None:
        """Count tokens against the client's limit."""
        if self.limits is not None:
            self.limits.spend(client, tokens, time.time())

    def crashed(self, error: BaseException) -> None:
        """An exception that nobody expected: it is a bug, and one request's only."""
        logger.error("unexpected error while serving a request", exc_info=error)
