"""One request's life: check, route, ask (student, then teacher), release, record.

Invariants: exactly one record and one count a request, however it ends; a fallback happens only before the first byte
has been released; what a gate keeps back never leaves; what was released and then broke off ends in an error event and
a broken connection, never in silence that looks like success.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from graduand.gateway.dataplane import answers, checking, hybrid
from graduand.gateway.dataplane.asking import ClientGone, Question
from graduand.gateway.dataplane.dialects import lorax, wire
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.client import Call
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Fiber
from graduand.gateway.dataplane.http.server import JSON, ClientConnection, Request, retry_after
from graduand.gateway.dataplane.shadow import Copy
from graduand.gateway.dataplane.targets import RouteTargets, Target
from graduand.gateway.dataplane.window import HOLD_ALL, Window
from graduand.gateway.errors import RequestError, did_you_mean
from graduand.gateway.model import record, trace
from graduand.gateway.model.openai import error_body
from graduand.gateway.model.routes import Route
from graduand.gateway.model.routing import CONFIDENT, DEFERRED, STUDENT, TEACHER, Decision, decide, deferred
from graduand.monitoring import metrics as m
from graduand.monitoring.checks import judging
from graduand.monitoring.checks.judging import Verdict, Watcher
from graduand.rollout.hybrid.scorer import Scorer

if TYPE_CHECKING:
    from graduand.gateway.dataplane.plane import Plane

FORWARDED_HEADERS = (b"openai-beta", b"tracestate")
# Bodies of requests without a right to be served are not kept: nobody may fill the disk for free.
UNLOGGED = (401, 429)
NOBODY = Decision(TEACHER, "unrouted", 1.0, 0, False, False)
# How an answer ends: it has yet to; with a body of known length; as a whole stream; as a broken one.
NO_END, WHOLE_END, STREAM_END, BROKEN_END = 0, 1, 2, 3


class Exchange:
    """Serves one request on one connection. `start()` runs it; the connection calls `client_gone`."""

    __slots__ = (
        "_answer",
        "_arm",
        "_began",
        "_call",
        "_charged",
        "_client",
        "_connection",
        "_data",
        "_decision",
        "_deferred",
        "_end",
        "_endpoint",
        "_error",
        "_fiber",
        "_first_at",
        "_gone",
        "_held_back",
        "_id",
        "_last",
        "_last_headers",
        "_last_status",
        "_pieces",
        "_plane",
        "_queue_ms",
        "_reason",
        "_released",
        "_request",
        "_scorer",
        "_served_model",
        "_status",
        "_stream",
        "_targets",
        "_trace",
        "_unchecked",
        "_usage",
        "_verdicts",
        "_whole",
        "asked",
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
        self._targets: RouteTargets | None = None
        self._decision = NOBODY
        self._arm = TEACHER
        self._reason = NOBODY.reason
        self._stream = False
        self._status = 0
        self._error: str | None = None
        self._gone = False
        self._released = 0
        self._unchecked: int | None = None  # bytes that were released before the verdict, once there is one
        self._verdicts: list[Verdict] = []
        self._held_back: Failure | None = None
        self._first_at: float | None = None
        self._queue_ms: float | None = None
        self._answer: str | None = None
        self._served_model: str | None = None
        self._usage: Any = None
        self._pieces = 0
        self._whole = False
        self._end = NO_END
        self._last = b""  # what ends the answer; with its status and headers if nothing has left yet
        self._last_status, self._last_headers = 0, b""
        self._call: Call | None = None
        self._scorer: Scorer | None = None
        self._deferred = False
        self._trace: trace.Trace | None = None
        self._charged = 0  # of what was asked, how much has its cost in a record of its own
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
            if self._end != NO_END:  # it was being judged, and never left
                self._whole, self._end = False, NO_END
                self._released -= len(self._last)
        except Exception as error:
            self._plane.crashed(error)
            failure = Failure("internal", "the gateway failed to handle this request; its log says why", 500)
            if self._released:
                self._break(failure)
            else:
                self._fail(failure)
        finally:
            self._plane.in_flight -= 1
            try:
                self._finish()
            finally:
                self._leave()

    async def _serve(self) -> None:
        plane, request = self._plane, self._request
        context, tracing = request.headers.get(b"traceparent"), plane.tracing
        self._trace = trace.read(context) if tracing is None else trace.begin(context, tracing.share)
        self._client = plane.admit(self._connection, request)
        data = self._data = wire.parse(request.body, self._endpoint)
        targets = self._targets = plane.routes.get(data["model"])
        if targets is None:
            raise _unknown_model(data["model"], plane.routes)
        route = targets.route
        self._stream = data.get("stream") is True and self._endpoint.streams
        decision = decide(route, _unit(route, data, request), self._id)
        if decision.reason == CONFIDENT and not self._can_be_judged(targets, decision, data):
            decision = deferred(route, decision, self._id)
        self._decision = decision
        self._reason, self._arm = decision.reason, decision.arm
        if decision.unit_missing and route.unit.kind != "request":
            plane.metrics.add(m.UNIT_MISSING, (route.name,))
        try:
            if decision.arm == STUDENT:
                await self._ask_student(targets)
            else:
                await plane.asker.ask(self._question(targets, targets.teacher), self._taker)
        except UpstreamFailed as error:
            if self._released:
                self._break(error.failure)
            else:
                self._fail(error.failure)

    def _can_be_judged(self, targets: RouteTargets, decision: Decision, data: dict[str, Any]) -> bool:
        """Whether the student's answer could be found confident enough; then it will be held until it is."""
        scorer, student = targets.scorer_of(decision), targets.student_of(decision)
        if scorer is None or student is None or self._plane.wall() >= scorer.expires_at:
            return False
        if not hybrid.possible(self._endpoint, student, data):
            return False
        self._scorer = scorer
        return True

    async def _ask_student(self, targets: RouteTargets) -> None:
        student = targets.student_of(self._decision)
        assert student is not None
        asker = self._plane.asker
        try:
            await asker.ask(self._question(targets, student), self._taker)
            if self._deferred:
                self._set_aside(self.asked[-1], "deferred", DEFERRED)
                self._reason, self._arm = DEFERRED, TEACHER
                await asker.ask(self._question(targets, targets.teacher), self._taker)
            elif self._held_back is not None:
                if not self._released:
                    self._set_aside(self.asked[-1], "gated", self._held_back.cause)
                raise UpstreamFailed(self._held_back)
        except UpstreamFailed as error:
            failure = error.failure
            if self._released or self._deferred or not student.fallback_behind or not failure.fall_back:
                raise
            self._reason, self._arm = f"fallback:{failure.cause}", TEACHER
            try:
                await asker.ask(self._question(targets, targets.teacher), self._taker)
            except UpstreamFailed as second:
                raise UpstreamFailed(_of_both(failure, second.failure)) from second

    def _question(self, targets: RouteTargets, target: Target) -> Question:
        route, request = targets.route, self._request
        question = self._plane.question(
            route, target, self._endpoint, request.body, self._data,
            headers=_forwarded(request, self._id, traced=self._plane.tracing is not None),
            stop_at=self._began + route.timeouts.total_s, retries=route.retries,
            logprobs=self._scorer is not None and target.arm == STUDENT, trace=self._span,
        )  # fmt: skip
        self.asked.append(question)
        return question

    @property
    def _taker(self) -> Callable[[Call], Awaitable[None]]:
        return self._relay_stream if self._stream else self._relay_whole

    # Reading an answer and releasing it.

    async def _relay_whole(self, call: Call) -> None:
        question = self.asked[-1]
        released, data = answers.whole(await call.body(), question.target)
        if question.target.lorax:
            self._queue_ms = lorax.queued_ms(call.headers)
        self._answer = released.decode("utf-8", "replace")
        self._usage = data.get("usage")
        model = data.get("model")
        self._served_model = model if type(model) is str else None
        if self._scorer is not None and question.target.arm == STUDENT:
            if self._defers(data):
                return
            released = answers.without_logprobs(released, hybrid.wanted(self._data, self._endpoint))
        acting = question.target.arm == STUDENT
        if acting and await self._judge(question, data, None, acting=True):
            return
        if self._endpoint.lorax:
            released = lorax.whole(data, self._data, listed=self._endpoint is wire.GENERATE_EITHER)
        self._first_at = self._plane.clock()
        question.committed = self._whole = True
        self._status = 200
        self._released = len(released)
        self._answer_with(200, JSON + self._headers(), released)
        if not acting:
            await self._judge(question, data, None, acting=False)

    async def _relay_stream(self, call: Call) -> None:
        question, targets = self.asked[-1], self._targets
        assert targets is not None
        if b"event-stream" not in call.headers.get(b"content-type", b""):
            answers.whole(await call.body(), question.target)
            raise UpstreamFailed(failures.MALFORMED)
        keep_usage, choices = wire.keeps_usage(self._data), self._data.get("n")
        judged = self._scorer is not None and question.target.arm == STUDENT
        keep = hybrid.wanted(self._data, self._endpoint) if judged else None
        reader = answers.StreamReader(question.target, keep_usage=keep_usage, choices=choices, keep_logprobs=keep)
        release = HOLD_ALL if judged else self._hold(targets.route)
        acting = bool(targets.gates.armed) and question.target.arm == STUDENT and release != 0
        watcher = targets.gates.watcher() if acting and release != HOLD_ALL else None
        if watcher is not None and not checking.watchable(self._data, self._endpoint):
            release, watcher = HOLD_ALL, None
        window, assembly, pieces = Window(release, watcher.reach if watcher is not None else 0), reader.assembly, 0
        try:
            while not reader.done:
                data = await call.read()
                if not data:
                    break
                events = reader.feed(data)
                text = ""
                if watcher is not None:
                    text = assembly.unread()
                    self._watch(watcher, window, text, calls=assembly.calls)
                window.add(
                    lorax.events(events) if self._endpoint.lorax else events, assembly.pieces - pieces, len(text)
                )
                pieces = assembly.pieces
                if reader.visible and not call.received:
                    call.began()
                    self._first_at = self._plane.clock()
                if reader.failure is not None and not self._released:
                    break  # what came with the failure is held back, so that another attempt can still answer whole
                if reader.visible:
                    await self._release(question, call, window.ready())
                if reader.failure is not None:
                    break
            end = reader.finish()
            if self._endpoint.lorax:
                end = lorax.last_event(assembly, self._data)
        finally:
            self._take_over(reader)
        if judged and self._defers(assembly.answer()):
            return
        if acting and await self._judge(question, assembly.answer(), watcher, acting=True):
            return
        if judged:
            self._first_at = self._plane.clock()
        await self._release(question, call, window.rest())
        self._open(question)
        self._released += len(end)
        self._whole = True
        self._end, self._last = STREAM_END, end
        if targets.gates.armed and not acting:
            await self._judge(question, assembly.answer(), None, acting=False)

    # Judging it.

    @staticmethod
    def _hold(route: Route) -> int:
        """How many pieces of a stream are held back at its end."""
        return HOLD_ALL if route.release == "block" else route.release_window if route.release == "window" else 0

    def _watch(self, watcher: Watcher, window: Window, text: str, *, calls: bool) -> None:
        """Look at the next piece: hold everything back once a gate triggers, or break off what has begun to leave."""
        if calls:  # the arguments of a tool's call are looked at when they are whole
            window.hold_all()
        if not watcher.feed(text):
            return
        verdict = judging.worst(watcher.verdicts)
        if self._released and verdict is not None:
            self._verdicts, self._unchecked = watcher.verdicts, self._released
            self._count(self.asked[-1].target, watcher.verdicts)
            raise UpstreamFailed(checking.failure(verdict, self._route_name))
        window.hold_all()

    async def _judge(
        self, question: Question, answer: dict[str, Any], watcher: Watcher | None, *, acting: bool
    ) -> bool:
        """Whether a gate keeps the student's answer from the client (`acting`); then it gets a record of its own."""
        targets = self._targets
        if targets is None or not targets.gates.armed or not answer.get("choices"):
            return False
        seen = checking.choices(answer, self._data)
        # Awaited only where there is something to wait for: an await costs as much as a gate.
        verdicts = checking.at_once(targets.gates, seen, acting=acting)
        if verdicts is None:
            verdicts = await checking.in_turns(targets.gates, self._plane.loop, seen, acting=acting)
        self._verdicts = verdicts if watcher is None else watcher.confirmed(verdicts)
        self._count(question.target, self._verdicts)
        if not acting:
            return False
        self._unchecked = self._released
        verdict = judging.worst(self._verdicts)
        if verdict is not None:
            self._held_back = checking.failure(verdict, self._route_name)
        return verdict is not None

    def _count(self, target: Target, verdicts: list[Verdict]) -> None:
        adapter = target.model if target.arm == STUDENT else ""
        self._plane.meters.judged(verdicts, self._route_name, target.arm, adapter)

    def _defers(self, answer: dict[str, Any]) -> bool:
        """Whether the teacher is to answer instead, because the student is not confident enough; nothing is released."""
        scorer = self._scorer
        self._deferred = scorer is None or not scorer.confident(answer, self._plane.wall())
        return self._deferred

    def _set_aside(self, question: Question, role: str, reason: str) -> None:
        """Give an answer that the client will not see a record of its own, and forget it."""
        self._plane.log.append(self._unseen_record(question, role, reason))
        self._charged = len(self.asked)
        self._answer = self._served_model = self._first_at = self._queue_ms = self._unchecked = None
        self._usage, self._pieces = None, 0
        self._verdicts = []

    async def _release(self, question: Question, call: Call, data: bytes) -> None:
        if not data:
            return
        connection = self._connection
        self._open(question)
        self._released += len(data)
        connection.write(data)
        while connection.paused:  # a wake may be older than this pause
            call.pause()
            await connection.drained
            call.resume()

    def _open(self, question: Question) -> None:
        """Begin the stream, if it has not begun."""
        if not self._released:
            question.committed = True
            self._status = 200
            self._connection.start_stream(self._headers())

    def _take_over(self, reader: answers.StreamReader) -> None:
        assembly = reader.assembly
        self._usage, self._pieces, self._served_model = assembly.usage, assembly.pieces, reader.served_model
        self._answer = assembly.encoded() if reader.served_model or assembly.pieces else None

    # Saying that it failed.

    def _refuse(self, error: RequestError) -> None:
        self._plane.metrics.add(m.REJECTED, (error.code or error.kind,))
        self._status, self._error = error.status, error.code or error.kind
        body = error_body(error.message, error.kind, param=error.param, code=error.code)
        if self._endpoint.lorax:
            body = lorax.error(body, error.status)
        wait = retry_after(error.retry_after_s)
        self._answer_with(error.status, b"%bx-graduand-id: %b\r\n%b" % (JSON, self._id.encode(), wait), body)

    def _fail(self, failure: Failure) -> None:
        if self._gone or self._whole:
            return
        self._status, self._error = failure.status, failure.cause
        kind = "rate_limit_error" if failure.status == 429 else "server_error"
        message = failure.message if failure.status == 500 else f"{failure.message} (route {self._route_name})"
        body = failure.body or error_body(message, kind, code=failure.cause)
        if self._endpoint.lorax:
            body = lorax.error(body, failure.status)
        self._answer = body.decode("utf-8", "replace")
        headers = JSON + self._headers() + retry_after(failure.retry_after_s)
        self._answer_with(failure.status, headers, body)

    def _break(self, failure: Failure) -> None:
        self._error = failure.cause
        if self._gone or self._whole:
            return
        body = error_body(f"the answer broke off: {failure.message}", "server_error", code=failure.cause)
        self._end = BROKEN_END
        self._last = lorax.error_event(body) if self._endpoint.lorax else b"data: %b\n\n" % body

    # The end.

    def _answer_with(self, status: int, headers: bytes, body: bytes) -> None:
        self._end, self._last = WHOLE_END, body
        self._last_status, self._last_headers = status, headers

    def _leave(self) -> None:
        """Send the answer's end, once its record is in the journal: what a client has read whole is never lost."""
        end, self._end = self._end, NO_END
        if self._gone or end == NO_END:
            return
        if end == WHOLE_END:
            self._connection.respond(self._last_status, self._last_headers, self._last)
        elif end == STREAM_END:
            self._connection.end_stream(self._last)
        else:
            self._connection.break_stream(self._last)

    @property
    def _route_name(self) -> str:
        return self._targets.route.name if self._targets is not None else "unknown"

    @property
    def _span(self) -> trace.Trace | None:
        """The trace if spans are made of it; else a client's context is only passed on and logged."""
        return self._trace if self._plane.tracing is not None else None

    @property
    def _adapter(self) -> str | None:
        return self.asked[-1].target.model if self._arm == STUDENT and self.asked else None

    @property
    def _base_model(self) -> str | None:
        return self.asked[-1].target.base if self._arm == STUDENT and self.asked else None

    def _headers(self) -> bytes:
        number = self._id.encode()
        return b"x-graduand-id: %b\r\nx-request-id: %b\r\n%b" % (
            number, number, _arm_headers(self._route_name, self._arm, self._reason)
        )  # fmt: skip

    def _outcome(self) -> str:
        if self._whole:
            return "ok"
        if self._gone:
            return "cancelled"
        return "broken" if self._released else "error" if self._status >= 500 else "refused"

    def _finish(self) -> None:
        now, began = self._plane.clock(), self._began
        sent_at = self.asked[0].first_sent_at if self.asked else None
        usage = record.usage_of(self._usage, self._pieces, len(self._request.body), completed=self._whole)
        self._measure(usage, now, sent_at)
        cost = self._charge(usage)
        timings = {
            "queue_ms": self._queue_ms, "overhead_ms": _ms(sent_at, began), "ttft_ms": _ms(self._first_at, began),
            "total_ms": _ms(now, began),
        }  # fmt: skip
        self._plane.log.append(self._record(usage, timings, cost))
        self._leave()
        self._offer_copies(now)

    @property
    def _answered(self) -> bool:
        return self._whole or self._pieces > 0

    def _measure(self, usage: dict[str, Any], now: float, sent_at: float | None) -> None:
        plane, began, first_at = self._plane, self._began, self._first_at
        meter = plane.meters.of(self._route_name, self._arm, self._adapter or "", self._outcome())
        meter.ended(
            now - began, None if first_at is None else first_at - began, None if sent_at is None else sent_at - began
        )
        if self._answered:
            meter.used(usage["prompt_tokens"], usage["completion_tokens"])
            if self._stream and first_at is not None and usage["completion_tokens"] > 1:
                meter.paced((now - first_at) / (usage["completion_tokens"] - 1))
        if self._error is not None and self._targets is not None:
            plane.metrics.add(m.ERRORS, (self._route_name, self._arm, self._error))
        if self._reason.startswith("fallback:"):
            plane.metrics.add(m.FALLBACKS, (self._route_name, self._reason[9:]))

    def _charge(self, usage: dict[str, Any]) -> float | None:
        """Put the answer on the client's account and the route's; its cost in dollars, None if that is unknown."""
        plane, targets = self._plane, self._targets
        if self._answered:
            plane.spend(self._client, usage["prompt_tokens"] + usage["completion_tokens"])
        if targets is not None and self._whole and self._arm == STUDENT:
            plane.costs.avoided(targets, usage)
        return plane.costs.charge(
            self._route_name, self.asked[self._charged :], usage, self._usage, "served", answered=self._answered
        )

    def _offer_copies(self, now: float) -> None:
        targets, decision = self._targets, self._decision
        # After a fallback the other arm has been asked already, and failed. What an incumbent deferred or had held back is
        # the teacher's, and the new student is to be compared there too.
        set_aside = self._deferred or self._reason.startswith("fallback:gate:")
        as_meant = self._arm == decision.arm or (decision.incumbent and set_aside)
        if targets is not None and self._whole and decision.shadow and as_meant:
            body, data = self._request.body, self._data
            for target in targets.copied_to(decision, self._arm):
                self._plane.shadower.offer(
                    Copy(targets, target, self._endpoint, body, data, self._id, decision, self._client, now, self._span)
                )

    def _record(self, usage: dict[str, Any], timings: dict[str, float | None], cost: float | None) -> dict[str, Any]:
        targets = self._targets
        return record.record(
            id=self._id, parent_id=None, role="served", route=self._route_name, endpoint=self._endpoint.path,
            decision=self._decision, arm=self._arm, reason=self._reason, adapter=self._adapter, base_model=self._base_model,
            teacher_model=targets.route.teacher.model if targets is not None else "", served_model=self._served_model,
            status=self._status, request_body=None if self._status in UNLOGGED else self._request.body,
            request=self._data, response_json=self._answer, stream=self._stream, completed=self._whole,
            client_disconnected=self._gone,
            bytes_released=self._released if self._unchecked is None else self._unchecked, timings=timings, usage=usage,
            attempts=[one for question in self.asked for one in question.attempts], error=self._error,
            client=self._client, cost=cost, trace=self._trace, verdicts=judging.logged(self._verdicts),
            record_bp=10_000 if targets is None else targets.route.record_bp,
        )  # fmt: skip

    def _unseen_record(self, question: Question, role: str, reason: str) -> dict[str, Any]:
        """The student's answer that was not confident or not good enough: paid for, and never seen by the client."""
        targets, now = self._targets, self._plane.clock()
        usage = record.usage_of(self._usage, self._pieces, len(self._request.body), completed=True)
        cost = self._plane.costs.charge(self._route_name, [question], usage, self._usage, role, answered=True)
        return record.record(
            id=record.new_id(), parent_id=self._id, role=role, route=self._route_name,
            endpoint=self._endpoint.path, decision=self._decision, arm=STUDENT, reason=reason,
            adapter=question.target.model, base_model=question.target.base,
            teacher_model=targets.route.teacher.model if targets is not None else "", served_model=self._served_model,
            status=200, request_body=self._request.body, request=self._data,
            response_json=self._answer, stream=self._stream, completed=True, client_disconnected=False,
            bytes_released=0,
            timings={"queue_ms": self._queue_ms, "overhead_ms": None, "ttft_ms": None, "total_ms": _ms(now, self._began)},
            usage=usage, attempts=list(question.attempts), error=None, client=self._client, cost=cost,
            trace=None if self._span is None else self._span.child(), verdicts=judging.logged(self._verdicts),
            record_bp=10_000 if targets is None else targets.route.record_bp,
        )  # fmt: skip


@lru_cache(1024)
def _arm_headers(route: str, arm: str, reason: str) -> bytes:
    return f"x-graduand-route: {route}\r\nx-graduand-arm: {arm}\r\nx-graduand-reason: {reason}\r\n".encode()


def _unit(route: Route, data: dict[str, Any], request: Request) -> str | None:
    kind = route.unit.kind
    if kind == "user":
        user = data.get("user")
        return user if type(user) is str and user else None
    if kind == "header":
        value = request.headers.get(route.unit.header.encode())
        return value.decode("latin-1") if value else None
    return None


def _unknown_model(model: str, routes: Mapping[str, object]) -> RequestError:
    shown = model if len(model) <= 100 else model[:100] + "…"
    hint = did_you_mean(shown, routes) or f" There are: {', '.join(list(routes)[:20])}."
    return RequestError(404, f"there is no model {shown!r} here.{hint}", param="model", code="model_not_found")


def _forwarded(request: Request, request_id: str, *, traced: bool) -> bytes:
    lines = b"x-request-id: %b\r\n" % request_id.encode()
    context = None if traced else request.headers.get(b"traceparent")
    if context is not None:  # where spans are made, each attempt has a context of its own
        lines += b"traceparent: %b\r\n" % context
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
