"""What all exchanges of a worker share: the route table, the fleet, keys, metrics and the log; and who handles a path.

The table is swapped whole (`serve_by`), never edited, so an exchange sees one table from its beginning to its end.
"""

import asyncio
import logging
import time
from typing import Any

import orjson

from graduand.gateway.dataplane import hybrid
from graduand.gateway.dataplane.asking import Asker, Question
from graduand.gateway.dataplane.budget import Budgets
from graduand.gateway.dataplane.costs import Costs
from graduand.gateway.dataplane.dialects import lorax, wire
from graduand.gateway.dataplane.exchange import Exchange
from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.server import JSON, ClientConnection, Request, retry_after
from graduand.gateway.dataplane.keys import ClientKeys, KeyLimits
from graduand.gateway.dataplane.meters import Meters
from graduand.gateway.dataplane.shadow import Shadower
from graduand.gateway.dataplane.targets import Target, resolve
from graduand.gateway.errors import RequestError, did_you_mean
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model.openai import error_body, model_list
from graduand.gateway.model.routes import Route, RouteTable, Tracing, Upstream
from graduand.gateway.model.trace import Trace
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.prices import Price

logger = logging.getLogger("graduand")


class Plane:
    """A worker's data plane; `handle` is the connections' handler."""

    def __init__(
        self,
        table: RouteTable,
        fleet: Fleet,
        keys: ClientKeys,
        limits: KeyLimits | None,
        metrics: Metrics,
        log: LogWriter,
        budgets: Budgets,
        prices: dict[str, Price] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.table = table
        self.prices = prices or {}
        self.tracing = tracing
        self.routes = resolve(table, fleet, self.prices)
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
        self.asker = Asker(fleet, metrics, self.clock, time.time)
        self.shadower = Shadower(self)
        self.in_flight = 0
        self.draining = False
        self.warning = ""  # what is wrong though requests are served: `/readyz` says it
        self._log_counted: dict[str, int] = {}
        self._redactions_counted: dict[str, int] = {}
        self._gets = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/v1/models": self._models,
            b"/health": self._healthz,
        }
        self._prepare()

    def serve_by(self, table: RouteTable) -> None:
        """Serve requests that begin from now on by `table`."""
        self.table = table
        self.routes = resolve(table, self.fleet, self.prices)
        self._prepare()

    def _prepare(self) -> None:
        for name, targets in self.routes.items():
            self.meters.prepare(name, "" if targets.student is None else targets.student.model)

    def configure(
        self, upstreams: dict[str, Upstream], keys: ClientKeys, limits: KeyLimits | None, prices: dict[str, Price]
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

    def handle(self, connection: ClientConnection, request: Request) -> None:
        """Answer one request."""
        path = request.path
        endpoint = wire.ENDPOINTS.get(path if b"?" not in path else path.partition(b"?")[0])
        if endpoint is not None and request.method == b"POST" and not self.log.blocks:
            Exchange(self, connection, request, endpoint).start()
            return
        try:
            if endpoint is not None and request.method == b"POST":
                raise _log_full()
            self._handle_other(connection, request)
        except RequestError as error:
            self.metrics.add(m.REJECTED, (error.code or error.kind,))
            body = error_body(error.message, error.kind, param=error.param, code=error.code)
            if endpoint is not None and endpoint.lorax and request.method == b"POST":
                body = lorax.error(body, error.status)
            connection.respond(error.status, JSON + retry_after(error.retry_after_s), body)

    def admit(self, connection: ClientConnection, request: Request) -> int:
        """The client's number; raise RequestError if its key is unknown or has used up its limits."""
        client = self.recognise(connection, request)
        if self.limits is not None:
            self.limits.admit(client, time.time())
        return client

    def recognise(self, connection: ClientConnection, request: Request) -> int:
        """The client's number; raise RequestError if its key is unknown."""
        authorization = request.headers.get(b"authorization", b"")
        known = connection.authorized
        # A connection that has shown this very header before need not be hashed again; the comparison tells nobody
        # more than what it sent itself.
        if known is not None and known[0] == authorization:
            client = known[1]
        else:
            client = self.keys.client(authorization)
            connection.authorized = (authorization, client)
        return client

    def spend(self, client: int, tokens: int) -> None:
        """Count tokens against the client's limit."""
        if self.limits is not None:
            self.limits.spend(client, tokens, time.time())

    def question(
        self, route: Route, target: Target, endpoint: wire.Endpoint, body: bytes, data: dict[str, Any], *,
        headers: bytes, stop_at: float, retries: int, logprobs: bool = False, trace: Trace | None = None,
    ) -> Question:  # fmt: skip
        """The question that puts a client's request to one arm of a route; `logprobs` asks for them too."""
        path, asked = wire.upstream_request(body, data, endpoint, target)
        if logprobs:
            asked = hybrid.asking(asked, data, endpoint)
        stream = data.get("stream") is True and endpoint.streams
        return Question(
            target, path, headers, asked, stream=stream, times=route.timeouts, stop_at=stop_at, retries=retries,
            trace=trace,
        )  # fmt: skip

    def crashed(self, error: BaseException) -> None:
        """An exception that nobody expected: it is a bug, and one request's only."""
        logger.error("unexpected error while serving a request", exc_info=error)

    def tick(self) -> None:
        """Bring gauges and the log's counts up to date; called many times a second."""
        log, metrics, now = self.log, self.metrics, self.clock()
        metrics.set(m.IN_FLIGHT, (), self.in_flight)
        metrics.set(m.SHADOW_QUEUE, (), self.shadower.size)
        metrics.set(m.LOG_PENDING, (), log.pending_bytes)
        counts = {"written": log.records_written, "lost": log.records_lost, "refused": log.records_refused}
        for outcome, count in counts.items():
            # Added, not set: the log's numbers begin anew with the worker, the metrics do not.
            metrics.add(m.LOG_RECORDS, (outcome,), count - self._log_counted.get(outcome, 0))
        self._log_counted = counts
        for route, spans in list(log.redactions.items()):
            metrics.add(m.REDACTIONS, (route,), spans - self._redactions_counted.get(route, 0))
            self._redactions_counted[route] = spans
        for name, state in self.fleet.upstreams.items():
            # A replica whose rest is over is asked again as soon as there is a request: it is not kept from any.
            resting = sum(not replica.breaker.allows(now) for replica in state.replicas)
            metrics.set(m.BREAKER_OPEN, (name,), resting)

    def _handle_other(self, connection: ClientConnection, request: Request) -> None:
        path, _, _ = request.path.partition(b"?")
        answer = self._gets.get(path)
        if answer is not None and request.method in (b"GET", b"HEAD"):
            answer(connection, request)
            return
        known = [one.decode() for one in (*wire.ENDPOINTS, *self._gets)]
        shown = path.decode("latin-1")[:200]
        if shown in known:
            raise RequestError(
                405, f"{shown} does not take {request.method.decode('latin-1')}", code="method_not_allowed"
            )
        raise RequestError(404, f"there is nothing at {shown!r}.{did_you_mean(shown, known)}", code="not_found")

    def _healthz(self, connection: ClientConnection, request: Request) -> None:
        connection.respond(200, JSON, b'{"status":"ok"}')

    def _readyz(self, connection: ClientConnection, request: Request) -> None:
        if self.draining:
            connection.respond(503, JSON, b'{"status":"draining"}')
        elif self.warning:
            connection.respond(200, JSON, orjson.dumps({"status": "ready", "warning": self.warning}))
        else:
            connection.respond(200, JSON, b'{"status":"ready"}')

    def _models(self, connection: ClientConnection, request: Request) -> None:
        self.recognise(connection, request)
        connection.respond(200, JSON, orjson.dumps(model_list([{"id": name} for name in self.table.routes])))


def _log_full() -> RequestError:
    """With `on_full: block` nothing is answered that could not be recorded."""
    return RequestError(
        503, "the request log is full, and nothing may be answered without a record; try again later",
        kind="server_error", code="log_full", retry_after_s=5.0,
    )  # fmt: skip
