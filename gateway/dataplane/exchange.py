"""One request's life: check, route, ask (student, then teacher), release, record.

Invariants: exactly one record and one count a request, however it ends; a fallback happens only before the first byte
has been released; what was released and then broke off ends in an error event and a broken connection, never in silence
that looks like success.
"""

from typing import TYPE_CHECKING, Any

from gateway import record
from gateway.dataplane import answers, failures, wire
from gateway.dataplane.asking import ClientGone, Question
from gateway.dataplane.client import Call
from gateway.dataplane.failures import Failure, UpstreamFailed
from gateway.dataplane.fiber import Fiber
from gateway.dataplane.server import JSON, ClientConnection, Request
from gateway.dataplane.shadow import Copy
from gateway.errors import RequestError, did_you_mean
from gateway.openai import error_body
from gateway.routes import Route
from gateway.routing import STUDENT, TEACHER, Decision, decide
from monitoring import metrics as m

if TYPE_CHECKING:
    from gateway.dataplane.plane import Plane

# Held back of a stream with `release: window`: enough events for a fallback to stay possible while an answer begins.
WINDOW_BYTES = 4096
FORWARDED_HEADERS = (b"openai-beta", b"traceparent", b"tracestate")
# Bodies of requests without a right to be served are not kept: nobody may fill the disk for free.
UNLOGGED = (401, 429)
NOBODY = Decision(TEACHER, "unrouted", 1.0, 0, False, False)


class Exchange:
    """Serves one request on one connection. `start()` runs it; the connection calls `client_gone`."""

    __slots__ = (
        "_answer", "_arm", "_began", "_call", "_client", "_connection", "_data", "_decision", "_endpoint", "_error",
        "_fiber", "_first_at", "_gone", "_id", "_pieces", "_plane", "_reason", "_released", "_request", "_route",
        "_served_model", "_status", "_stream", "_usage", "_whole", "asked",
    )  # fmt: skip

    def __init__(self, plane: "Plane", connection: ClientConnection, request: Request, endpoint: wire.Endpoint) -> None:
        self._plane = plane
        self._connection = connection
        self._request = request
        self._endpoint = endpoint
        self._began = plane.clock()
        self._id = record.new_id()
        self._client = 0
        self._data: dict[str, Any] = {}
        self._route: Route | None = None
        self._decision = NOBODY
        self._arm = TEACHER
        self._reason = NOBODY.reason
        self._stream = False
        self._status = 0
        self._error: str | None = None
        self._gone = False
        self._released = 0
        self._first_at: float | None = None
        self._answer: str | None = None
        self._served_model: str | None = None
        self._usage: Any = None
        self._pieces = 0
        self._whole = False
        self._call: Call | None = None
        self.asked: list[Question] = []
        self._fiber: Fiber | None = None

    def start(self) -> None:
        """Run until the first wait; the rest runs as the upstream answers."""
        self._connection.ongoing = self
        self._plane.in_flight += 1
        self._fiber = Fiber(self._run(), self._plane.crashed)
        self._fiber.resume()

    def client_gone(self) -> None:
        """Stop: whatever is being waited for is given up, and the record is written."""
        self._gone = True
        if self._fiber is not None:
            self._fiber.throw(ClientGone())

    async def _run(self) -> None:
        try:
            await self._serve()
        except RequestError as error:
            self._refuse(error)
        except ClientGone:
            self._status = self._status or 499
            self._error = "client_gone"
        except Exception as error:
            self._plane.crashed(error)
            failure = Failure("internal", "the gateway failed to handle this request; its log says why", 500)
            if self._released:
                self._break(failure)
            else:
                self._fail(failure)
        finally:
            self._plane.in_flight -= 1
            self._finish()

    async def _serve(self) -> None:
        plane, request = self._plane, self._request
        self._client = plane.admit(self._connection, request)
        data = self._data = wire.parse(request.body, self._endpoint)
        route = self._route = plane.table.routes.get(data["model"])
        if route is None:
            raise _unknown_model(data["model"], plane.table.routes)
        self._stream = data.get("stream") is True and self._endpoint.streams
        self._decision = decision = decide(route, _unit(route, data, request), self._id)
        self._reason, self._arm = decision.reason, decision.arm
        if decision.unit_missing and route.unit.kind != "request":
            plane.metrics.add(m.UNIT_MISSING, (route.name,))
        try:
            await self._answer_from(route, decision.arm)
        except UpstreamFailed as error:
            if self._released:
                self._break(error.failure)
            else:
                self._fail(error.failure)

    async def _answer_from(self, route: Route, arm: str) -> None:
        if arm == TEACHER:
            await self._ask(route, TEACHER, fallback_behind=False)
            return
        fallback = route.on_student_failure == TEACHER
        try:
            await self._ask(route, STUDENT, fallback_behind=fallback)
        except UpstreamFailed as error:
            failure = error.failure
            if self._released or not fallback or not failure.fall_back:
                raise
            self._reason, self._arm = f"fallback:{failure.cause}", TEACHER
            try:
                await self._ask(route, TEACHER, fallback_behind=False)
            except UpstreamFailed as second:
                raise UpstreamFailed(_of_both(failure, second.failure)) from second

    async def _ask(self, route: Route, arm: str, *, fallback_behind: bool) -> None:
        question = self._plane.question(
            route, arm, self._endpoint, self._request.body, self._data,
            headers=_forwarded(self._request, self._id), stop_at=self._began + route.timeouts.total_s,
            fallback_behind=fallback_behind,
        )  # fmt: skip
        self.asked.append(question)
        await self._plane.asker.ask(question, route.timeouts, self._relay_stream if self._stream else self._relay_whole)

    # Reading an answer and releasing it.

    async def _relay_whole(self, call: Call) -> None:
        question = self.asked[-1]
        body = await call.body()
        wanted = self._plane.expected(question, keep_usage=True)
        released, data = answers.whole(body, wanted)
        self._first_at = self._plane.clock()
        self._answer = released.decode("utf-8", "replace")
        self._usage = data.get("usage")
        model = data.get("model")
        self._served_model = model if type(model) is str else None
        question.committed = self._whole = True
        self._status = 200
        self._released = len(released)
        self._connection.respond(200, JSON + self._headers(), released)

    async def _relay_stream(self, call: Call) -> None:
        question, route = self.asked[-1], self._route
        assert route is not None
        if b"event-stream" not in call.headers.get(b"content-type", b""):
            answers.whole(await call.body(), self._plane.expected(question, keep_usage=True))
            raise UpstreamFailed(failures.MALFORMED)
        keep_usage, count = wire.keeps_usage(self._data), self._data.get("n")
        reader = answers.StreamReader(self._plane.expected(question, keep_usage=keep_usage, choices=count))
        hold = {"block": None, "window": WINDOW_BYTES, "observe": 0}[route.release]
        held: list[bytes] = []
        try:
            while not reader.done:
                data = await call.read()
                if not data:
                    break
                held.append(reader.feed(data))
                if reader.visible and not call.received:
                    call.began()
                    self._first_at = self._plane.clock()
                if reader.failure is not None and not self._released:
                    break  # what came with the failure is held back, so that another attempt can still answer whole
                if hold is not None and reader.visible and (self._released or sum(map(len, held)) > hold):
                    await self._release(question, call, b"".join(held))
                    held.clear()
                if reader.failure is not None:
                    break
            end = reader.finish()
        finally:
            self._take_over(reader)
        await self._release(question, call, b"".join(held) + end)
        self._whole = True
        self._connection.end_stream()

    async def _release(self, question: Question, call: Call, data: bytes) -> None:
        if not data:
            return
        connection = self._connection
        if not self._released:
            question.committed = True
            self._status = 200
            connection.start_stream(self._headers())
        self._released += len(data)
        connection.write(data)
        while connection.paused:  # a wake may be older than this pause
            call.pause()
            await connection.drained
            call.resume()

    def _take_over(self, reader: answers.StreamReader) -> None:
        assembly = reader.assembly
        self._usage, self._pieces, self._served_model = assembly.usage, assembly.pieces, reader.served_model
        self._answer = assembly.encoded() if reader.served_model or assembly.pieces else None

    # Saying that it failed.

    def _refuse(self, error: RequestError) -> None:
        self._plane.metrics.add(m.REJECTED, (error.code or error.kind,))
        self._status, self._error = error.status, error.code or error.kind
        body = error_body(error.message, error.kind, param=error.param, code=error.code)
        wait = b"" if error.retry_after_s is None else b"retry-after: %d\r\n" % (error.retry_after_s + 0.999)
        if not self._gone:
            self._connection.respond(error.status, b"%bx-graduand-id: %b\r\n%b" % (JSON, self._id.encode(), wait), body)

    def _fail(self, failure: Failure) -> None:
        if self._gone or self._whole:
            return
        self._status, self._error = failure.status, failure.cause
        if failure.cause == "content_filter":
            self._error = "content_filter"
        kind = "rate_limit_error" if failure.status == 429 else "server_error"
        message = failure.message if failure.status == 500 else f"{failure.message} (route {self._route_name})"
        body = failure.body or error_body(message, kind, code=failure.cause)
        self._answer = body.decode("utf-8", "replace")
        wait = failure.retry_after_s
        retry = b"" if wait is None else b"retry-after: %d\r\n" % (wait + 0.999)
        self._connection.respond(failure.status, JSON + self._headers() + retry, body)

    def _break(self, failure: Failure) -> None:
        self._error = failure.cause
        if self._gone or self._whole:
            return
        event = error_body(f"the answer broke off: {failure.message}", "server_error", code=failure.cause)
        self._connection.write(b"data: %b\n\n" % event)
        self._connection.break_stream()

    # The end.

    @property
    def _route_name(self) -> str:
        return self._route.name if self._route is not None else "unknown"

    def _headers(self) -> bytes:
        number = self._id.encode()
        return (
            b"x-graduand-id: %b\r\nx-request-id: %b\r\nx-graduand-route: %b\r\nx-graduand-arm: %b\r\n"
            b"x-graduand-reason: %b\r\n"
            % (number, number, self._route_name.encode(), self._arm.encode(), self._reason.encode())
        )

    def _finish(self) -> None:
        plane, now, route, arm = self._plane, self._plane.clock(), self._route_name, self._arm
        outcome = "ok" if self._whole else "cancelled" if self._gone else "error" if self._status >= 500 else "refused"
        if self._released and not self._whole and not self._gone:
            outcome = "broken"
        counts = plane.metrics
        counts.add(m.REQUESTS, (route, arm, outcome))
        counts.observe(m.DURATION, (route, arm), now - self._began)
        if self._route is None:
            plane.log.append(self._record(now, {"prompt_tokens": 0, "completion_tokens": 0, "kind": "exact"}))
            return
        usage = record.usage_of(self._usage, self._pieces, len(self._request.body), completed=self._whole)
        if self._first_at is not None:
            counts.observe(m.FIRST_TOKEN, (route, arm), self._first_at - self._began)
        adapter = self.asked[-1].model if self.asked and arm == STUDENT else ""
        if self._whole or self._pieces:
            counts.add(m.INPUT_TOKENS, (route, arm, adapter), usage["prompt_tokens"])
            counts.add(m.OUTPUT_TOKENS, (route, arm, adapter), usage["completion_tokens"])
            plane.spend(self._client, usage["prompt_tokens"] + usage["completion_tokens"])
        if self._reason.startswith("fallback:"):
            counts.add(m.FALLBACKS, (route, self._reason[9:]))
        if self.asked and (sent := self.asked[0].first_sent_at) is not None:
            counts.observe(m.OVERHEAD, (route,), sent - self._began)
        plane.log.append(self._record(now, usage))
        if self._whole and self._decision.shadow and arm == TEACHER:
            plane.shadower.offer(
                Copy(
                    self._route, self._endpoint, self._request.body, self._data, self._id, self._decision, self._client
                )
            )

    def _record(self, now: float, usage: dict[str, Any]) -> dict[str, Any]:
        route, began = self._route, self._began
        sent = self.asked[0].first_sent_at if self.asked else None
        return record.record(
            id=self._id, parent_id=None, role="served", route=self._route_name, endpoint=self._endpoint.path,
            decision=self._decision, arm=self._arm, reason=self._reason,
            adapter=self.asked[-1].model if self.asked and self._arm == STUDENT else None,
            teacher_model=route.teacher.model if route is not None else "", served_model=self._served_model,
            status=self._status, request_body=None if self._status in UNLOGGED else self._request.body, request=self._data, response_json=self._answer,
            stream=self._stream, completed=self._whole, client_disconnected=self._gone, bytes_released=self._released,
            timings={
                "overhead_ms": _ms(sent, began), "ttft_ms": _ms(self._first_at, began), "total_ms": _ms(now, began),
            },
            usage=usage, attempts=[one for question in self.asked for one in question.attempts], error=self._error,
            client=self._client,
        )  # fmt: skip


def _unit(route: Route, data: dict[str, Any], request: Request) -> str | None:
    kind = route.unit.kind
    if kind == "user":
        user = data.get("user")
        return user if type(user) is str and user else None
    if kind == "header":
        value = request.headers.get(route.unit.header.encode())
        return value.decode("latin-1") if value else None
    return None


def _unknown_model(model: str, routes: dict[str, Route]) -> RequestError:
    shown = model if len(model) <= 100 else model[:100] + "…"
    hint = did_you_mean(shown, routes) or f" There are: {', '.join(list(routes)[:20])}."
    return RequestError(404, f"there is no model {shown!r} here.{hint}", param="model", code="model_not_found")


def _forwarded(request: Request, request_id: str) -> bytes:
    lines = b"x-request-id: %b\r\n" % request_id.encode()
    for name in FORWARDED_HEADERS:
        value = request.headers.get(name)
        if value is not None:
            lines += b"%b: %b\r\n" % (name, value)
    return lines


def _of_both(student: Failure, teacher: Failure) -> Failure:
    """What to tell the client when both arms failed."""
    if teacher.body is None or teacher.status >= 500 or student.body is not None:
        return teacher
    # The student broke down, and the teacher refused a request that the student would have accepted (an assistant
    # prefill, say). To call the request wrong would be untrue: it may work again in a moment.
    refusal = teacher.message[:300]
    text = f"the student failed ({student.cause}), and the teacher cannot take this request: {refusal}"
    return Failure("fallback_refused", text, 502)


def _ms(at: float | None, began: float) -> float | None:
    return None if at is None else round((at - began) * 1000, 3)
