"""Who handles a request: an exchange where a dialect is spoken at its path, or the worker itself (health, models).

A worker's plane is all that its exchanges share (`Shared`), and what the worker's process does with it.
"""

from typing import Final
from urllib.parse import unquote

import orjson

from graduand.gateway.dataplane.cors import Cors
from graduand.gateway.dataplane.dialects import messages, registry
from graduand.gateway.dataplane.exchange import Exchange, unknown_model
from graduand.gateway.dataplane.http.server import JSON, ClientConnection, Request
from graduand.gateway.dataplane.shadow import Shadower
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.errors import RequestError
from graduand.gateway.model import retry_after
from graduand.gateway.model.openai import error_body, model_list
from graduand.monitoring import metrics as m

MODEL: Final = b"/v1/models/"
SHOWN_MODEL: Final = "/v1/models/{id}"
RESPONSE: Final = b"/v1/responses/"


class Plane:
    """A worker's data plane; `handle` is the connections' handler."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.shadower = Shadower(shared)
        self.draining = False
        self._cors: Cors | None = None
        self.warning = ""  # what is wrong though requests are served: `/readyz` says it
        self._log_counted: dict[str, int] = {}
        self._redactions_counted: dict[str, int] = {}
        self._gets = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/v1/models": self._models,
            b"/health": self._healthz,
            b"/": self._healthz,
        }

    def allow(self, origins: tuple[str, ...]) -> None:
        """Let the web pages of these origins call from now on, and no others."""
        if origins or self._cors is not None:
            self._cors = Cors(origins)

    def handle(self, connection: ClientConnection, request: Request) -> None:
        """Answer one request."""
        path, shared = request.path, self.shared
        if self._cors is not None:
            connection.beside = self._cors.lines(request.headers)
            preflight = self._cors.preflight(request.headers) if request.method == b"OPTIONS" else b""
            if preflight:
                connection.respond(200, preflight, b"")
                return
        dialect = registry.at(path if b"?" not in path else path.partition(b"?")[0])
        if dialect is not None and request.method != b"POST":
            dialect = None
        if dialect is not None and not shared.log.blocks:
            Exchange(shared, self.shadower, connection, request, dialect).start()
            return
        try:
            if dialect is not None:
                raise _log_full()
            self._handle_other(connection, request)
        except RequestError as error:
            shared.metrics.add(m.REJECTED, (error.code or error.kind,))
            body = error_body(error.message, error.kind, param=error.param, code=error.code)
            if dialect is not None:
                body = dialect.error(body, error.status)
            allow = self._allow(path) if error.status == 405 else b""
            connection.respond(error.status, JSON + allow + retry_after.line(error.retry_after_s), body)

    def lets_in(self, connection: ClientConnection, path: bytes, headers: dict[bytes, bytes]) -> bool:
        """Whether whoever sends these headers may send a long body; nobody may to a path that takes none."""
        dialect = registry.at(path.partition(b"?")[0])
        if dialect is None:
            return False
        try:
            self.shared.recognise(connection, dialect.credential(headers))
        except RequestError:
            return False
        return True

    def tick(self) -> None:
        """Bring gauges and the log's counts up to date; called many times a second."""
        log, metrics, now = self.shared.log, self.shared.metrics, self.shared.clock()
        metrics.set(m.IN_FLIGHT, (), self.shared.in_flight)
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
        for name, state in self.shared.fleet.upstreams.items():
            # A replica whose rest is over is asked again as soon as there is a request: it is not kept from any.
            resting = sum(not replica.breaker.allows(now) for replica in state.replicas)
            metrics.set(m.BREAKER_OPEN, (name,), resting)

    def _handle_other(self, connection: ClientConnection, request: Request) -> None:
        path, _, _ = request.path.partition(b"?")
        answer = self._gets.get(path)
        if answer is not None and request.method in (b"GET", b"HEAD"):
            answer(connection, request)
            return
        if path.startswith(MODEL) and request.method in (b"GET", b"HEAD"):
            self._model(connection, request)
            return
        shown = path.decode("latin-1")[:200]
        if registry.at(path) is not None or answer is not None or path.startswith(MODEL):
            method = request.method.decode("latin-1")
            raise RequestError(405, f"{shown} does not take {method}", code="method_not_allowed")
        if path.startswith(RESPONSE):
            text = "responses are not kept: they can be made, and not be read, deleted or cancelled later"
            raise RequestError(404, f"{shown} is not served: {text}", code="not_found")
        served = ", ".join(one.decode() for one in (*registry.DIALECTS, *self._gets) if one.startswith(b"/v1/"))
        raise RequestError(404, f"there is nothing at {shown!r}; served are {served}, {SHOWN_MODEL}", code="not_found")

    def _allow(self, path: bytes) -> bytes:
        """The Allow header of a path (RFC 9110, 10.2.1)."""
        path, _, _ = path.partition(b"?")
        methods = [b"GET", b"HEAD"] if path in self._gets or path.startswith(MODEL) else []
        if registry.at(path) is not None:
            methods.append(b"POST")
        return b"allow: %b\r\n" % b", ".join(methods)

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
        self.shared.recognise(connection, messages.credential(request.headers))  # OpenAI's client, or Anthropic's
        connection.respond(200, JSON, orjson.dumps(model_list([{"id": name} for name in self.shared.table.routes])))

    def _model(self, connection: ClientConnection, request: Request) -> None:
        self.shared.recognise(connection, messages.credential(request.headers))
        name = unquote(request.path.partition(b"?")[0][len(MODEL) :].decode("latin-1"))
        if name not in self.shared.table.routes:
            raise unknown_model(name, self.shared.table.routes)
        connection.respond(200, JSON, orjson.dumps(model_list([{"id": name}])["data"][0]))


def _log_full() -> RequestError:
    """With `on_full: block` nothing is answered that could not be recorded."""
    return RequestError(
        503, "the request log is full, and nothing may be answered without a record; try again later",
        kind="server_error", code="log_full", retry_after_s=5.0,
    )  # fmt: skip
