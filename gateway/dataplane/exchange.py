"""One request's life: read it, route it, ask (student, then teacher), answer, record.

Invariants: exactly one record and one count a request, however it ends; a fallback happens only before the first byte has
been released. How an answer is read and released is relay's, what the client is told reply's, and the API's forms are its
dialect's.
"""

from collections.abc import Mapping
from typing import Final

from graduand.gateway.dataplane.answer import Answer
from graduand.gateway.dataplane.asked import Asked
from graduand.gateway.dataplane.checking import CHECK
from graduand.gateway.dataplane.dialects.dialect import Dialect
from graduand.gateway.dataplane.dispatch import ClientGone, Dispatch
from graduand.gateway.dataplane.entry import DEFERRED as DEFERRED_ROLE
from graduand.gateway.dataplane.entry import GATED, SERVED, entry, timings
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Fiber
from graduand.gateway.dataplane.http.server import ClientConnection, Request
from graduand.gateway.dataplane.relay import Relay
from graduand.gateway.dataplane.reply import Reply
from graduand.gateway.dataplane.shadow import RequestCopy, Shadower
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.dataplane.targets import RouteTargets, Target
from graduand.gateway.dataplane.units import unit_of
from graduand.gateway.dataplane.vendor import ID
from graduand.gateway.errors import RequestError, did_you_mean
from graduand.gateway.model import record, retry_after, trace
from graduand.gateway.model.openai import error_body
from graduand.gateway.model.record import NOBODYS, UNCOMPARED
from graduand.gateway.model.routing import CONFIDENT, DEFERRED, STUDENT, TEACHER, Decision, decide, deferred
from graduand.gateway.model.usage import Tokens
from graduand.monitoring import metrics as m
from graduand.rollout.hybrid.scorer import Scorer

# Passed on whatever the API; each dialect names its own headers besides.
TRACE_PARENT: Final = b"traceparent"
TRACE_STATE: Final = b"tracestate"
REQUEST_ID: Final = b"x-request-id"


class Exchange:
    """Serves one request on one connection. `start()` runs it; the connection calls `client_gone`."""

    __slots__ = (
        "_answer", "_asked", "_began", "_charged", "_connection", "_deferred", "_error", "_error_message", "_fiber", "_reply",
        "_request", "_scorer", "_sent", "_shadower", "_shared",
    )  # fmt: skip

    def __init__(
        self, shared: Shared, shadower: Shadower, connection: ClientConnection, request: Request, dialect: Dialect
    ) -> None:  # fmt: skip
        self._shared = shared
        self._shadower = shadower
        self._connection = connection
        self._request = request
        self._began = shared.clock()
        self._asked = Asked(record.new_id(), dialect, request.body)
        named = request.headers.get(REQUEST_ID)
        if named is not None and ID.fullmatch(named) is None:
            named = None
        self._reply = Reply(connection, self._asked.id, named, TEACHER, self._asked.decision.reason)
        self._answer = Answer()  # of whoever was asked last
        self._sent: list[Dispatch] = []
        self._charged = 0  # of what was sent, how much has its cost in a record of its own
        self._scorer: Scorer | None = None
        self._deferred = False
        self._error: str | None = None
        self._error_message: str | None = None
        self._fiber: Fiber | None = None

    def start(self) -> None:
        """Run until the first wait; the rest runs as the upstream answers."""
        self._connection.ongoing = self
        self._shared.in_flight += 1
        self._fiber = Fiber(self._run(), self._crashed)
        self._fiber.resume()

    def client_gone(self) -> None:
        """Stop: whatever is being waited for is given up, and the record is written."""
        self._reply.gone = True
        if self._fiber is not None:
            self._fiber.throw(ClientGone())

    def client_waits(self) -> None:
        """Let the client of a stream see that it is still being worked for."""
        if self._asked.stream:
            self._reply.keep_alive()

    def _crashed(self, error: BaseException) -> None:
        """Even the end of the request has failed: the client must not wait for what nobody will send."""
        self._shared.crashed(error)
        self._connection.give_up(self)

    async def _run(self) -> None:
        try:
            await self._serve()
        except RequestError as refusal:
            self._refuse(refusal)
        except ClientGone:
            self._error = "client_gone"
            self._answer.whole = False  # it may have been under judgement, and never left
            self._reply.abandon()
        except Exception as error:
            self._shared.crashed(error)
            self._fail(Failure("internal", "the gateway failed to handle this request; its log says why", 500))
        finally:
            self._shared.in_flight -= 1
            self._finish()
            self._connection.give_up(self)  # unless the answer's end has left

    async def _serve(self) -> None:
        shared, asked, reply, request = self._shared, self._asked, self._reply, self._request
        dialect = asked.dialect
        context, tracing = request.headers.get(TRACE_PARENT), shared.tracing
        if tracing is None:
            asked.trace = trace.read(context)
        else:
            asked.trace = asked.span = trace.begin(context, tracing.share)
        asked.client = shared.recognise(self._connection, dialect.credential(request.headers))
        shared.admit(asked.client)
        data = asked.data = dialect.parse(request.body)
        targets = asked.targets = shared.routes.get(data["model"])
        if targets is None:
            raise unknown_model(data["model"], shared.routes)
        route = targets.route
        reply.route = route.name
        asked.stream = dialect.streams(data)
        unit, now = unit_of(targets.units, data, request.headers), shared.wall()
        decision = decide(route, unit, asked.id, now)
        if decision.reason == CONFIDENT and not self._can_be_scored(targets, decision):
            decision = deferred(route, decision, unit, asked.id, now)
        asked.decision = decision
        reply.reason, reply.arm = decision.reason, decision.arm
        if targets.units:
            shared.count_unit(route.name, decision)
        try:
            if decision.arm == STUDENT:
                await self._ask_student(targets)
            else:
                relay = self._relay(targets, targets.teacher, None)
                await shared.dispatcher.send(relay.dispatch, relay.take)
        except UpstreamFailed as error:
            self._fail(error.failure)

    def _can_be_scored(self, targets: RouteTargets, decision: Decision) -> bool:
        """Whether the student's answer could be found confident enough; then it will be held until it is."""
        scorer, student = targets.scorer_of(decision), targets.student_of(decision)
        if scorer is None or student is None or self._shared.wall() >= scorer.expires_at:
            return False
        if not self._asked.dialect.scorable(self._asked.data, student.addressee):
            return False
        self._scorer = scorer
        return True

    async def _ask_student(self, targets: RouteTargets) -> None:
        reply, student = self._reply, targets.student_of(self._asked.decision)
        assert student is not None
        dispatcher = self._shared.dispatcher
        try:
            relay = self._relay(targets, student, self._scorer)
            await dispatcher.send(relay.dispatch, relay.take)
            held_back = relay.held_back
            if relay.deferred:
                self._deferred = True
                self._set_aside(DEFERRED_ROLE, DEFERRED)
                reply.reason, reply.arm = DEFERRED, TEACHER
                relay = self._relay(targets, targets.teacher, None)
                await dispatcher.send(relay.dispatch, relay.take)
            elif held_back is not None:
                if not reply.released:
                    self._set_aside(GATED, held_back.cause)
                raise UpstreamFailed(held_back)
        except UpstreamFailed as error:
            failure = error.failure
            if reply.released or self._deferred or not student.fallback_behind or not failure.fall_back:
                raise
            reply.reason, reply.arm = f"fallback:{failure.cause}", TEACHER
            try:
                relay = self._relay(targets, targets.teacher, None)
                await dispatcher.send(relay.dispatch, relay.take)
            except UpstreamFailed as second:
                raise UpstreamFailed(_of_both(failure, second.failure)) from second

    def _relay(self, targets: RouteTargets, target: Target, scorer: Scorer | None) -> Relay:
        """The way of the answer of a model that is about to be asked."""
        asked, route = self._asked, targets.route
        dispatch = asked.dispatch(
            target, headers=self._forwarded(), began=self._began + self._shared.pauses.since(self._began),
            retries=route.retries, scored=scorer is not None, held=scorer is not None or route.release != "observe",
            span=asked.span,
        )  # fmt: skip
        self._sent.append(dispatch)
        relay = Relay(self._shared, asked, targets, dispatch, self._reply, scorer)
        self._answer = relay.answer
        return relay

    def _forwarded(self) -> bytes:
        asked, headers = self._asked, self._request.headers
        # Ours, whatever the client calls it: an engine refuses a second request of the same id.
        lines = b"x-request-id: %b\r\n" % asked.id.encode()
        # Where spans are made, each attempt has a context of its own.
        if asked.span is None and TRACE_PARENT in headers:
            lines += b"%b: %b\r\n" % (TRACE_PARENT, headers[TRACE_PARENT])
        if TRACE_STATE in headers:
            lines += b"%b: %b\r\n" % (TRACE_STATE, headers[TRACE_STATE])
        named = b""
        for name in asked.dialect.forwards:
            if name in headers:
                named += b"%b: %b\r\n" % (name, headers[name])
        asked.forwarded = named
        return lines + named

    # Saying that it failed.

    def _refuse(self, error: RequestError) -> None:
        self._shared.metrics.add(m.REJECTED, (error.code or error.kind,))
        self._error, self._error_message = error.code or error.kind, error.message
        body = error_body(error.message, error.kind, param=error.param, code=error.code)
        body = self._asked.dialect.error(body, error.status)
        self._reply.refuse(error.status, retry_after.line(error.retry_after_s), body)

    def _fail(self, failure: Failure) -> None:
        """Tell the client of a failure, within its stream if that has begun."""
        answer, reply, dialect = self._answer, self._reply, self._asked.dialect
        broken = reply.begun
        told = not (reply.gone or answer.whole)
        if broken or told:
            self._error, self._error_message = failure.cause, failure.message
        if not told:
            return
        if broken:
            body = error_body(f"the answer broke off: {failure.message}", failure.kind, code=failure.cause)
            reply.break_off(dialect.error_event(body, answer.events))
            return
        if self._sent:
            reply.passed = self._sent[-1].passed_on()
        message = failure.message if failure.status == 500 else f"{failure.message} (route {self._asked.route})"
        body = dialect.error(failure.body or error_body(message, failure.kind, code=failure.cause), failure.status)
        answer.text = body.decode("utf-8", "replace")
        reply.fail(failure.status, retry_after.line(failure.retry_after_s), body)

    # The end.

    def _set_aside(self, role: str, reason: str) -> None:
        """Give an answer that the client will not see a record of its own: paid for, and never seen."""
        shared, asked, answer, sent = self._shared, self._asked, self._answer, self._sent[-1:]
        answer.whole = True
        used = answer.tokens(asked.data)
        cost = shared.costs.charge(asked.route, sent, used, role, answered=True)
        span = asked.span
        shared.log.append(
            entry(
                asked, answer, sent, id=record.new_id(), parent_id=asked.id, role=role, arm=STUDENT, reason=reason,
                status=200, error=None, used=used, cost=cost, trace=None if span is None else span.child(),
                timings=timings(self._began, shared.clock(), queue_ms=answer.queue_ms),
            )
        )  # fmt: skip
        self._charged = len(self._sent)
        self._answer = Answer()

    def _finish(self) -> None:
        asked, answer, reply, sent, began = self._asked, self._answer, self._reply, self._sent, self._began
        now = self._shared.clock()
        sent_at = sent[0].first_sent_at if sent else None
        used = answer.tokens(asked.data)
        self._measure(used, now, sent_at)
        cost = self._charge(used)
        self._shared.log.append(
            entry(
                asked, answer, sent, id=asked.id, parent_id=None, role=SERVED, arm=reply.arm, reason=reply.reason,
                status=reply.status, error=self._error, used=used, cost=cost, trace=asked.trace, released=reply.released,
                gone=reply.gone, error_message=self._error_message,
                timings=timings(began, now, queue_ms=answer.queue_ms, sent_at=sent_at, first_at=answer.first_at),
            )
        )  # fmt: skip
        reply.leave()
        self._offer_copies(now)

    def _measure(self, used: Tokens, now: float, sent_at: float | None) -> None:
        shared, asked, reply, began = self._shared, self._asked, self._reply, self._began
        route, first_at, tokens = asked.route, self._answer.first_at, used.completion
        adapter = self._sent[-1].target.adapter if self._sent and reply.arm == STUDENT else ""
        meter = shared.meters.of(route, reply.arm, adapter, self._outcome())
        meter.ended(
            now - began, None if first_at is None else first_at - began, None if sent_at is None else sent_at - began
        )
        if self._answer.came:
            meter.used(used.prompt, tokens)
            if asked.stream and first_at is not None and tokens > 1:
                meter.paced((now - first_at) / (tokens - 1))
        if self._error is not None and asked.targets is not None:
            shared.metrics.add(m.ERRORS, (route, reply.arm, self._error))
        if reply.reason.startswith("fallback:"):
            shared.metrics.add(m.FALLBACKS, (route, reply.reason[9:]))

    def _outcome(self) -> str:
        reply = self._reply
        if self._answer.whole:
            return "ok"
        if reply.gone:
            return "cancelled"
        return "broken" if reply.begun else "error" if reply.status >= 500 else "refused"

    def _charge(self, used: Tokens) -> float | None:
        """Put the answer on the client's account and the route's; its cost in dollars, None if that is unknown."""
        shared, asked, answer = self._shared, self._asked, self._answer
        if answer.came:
            shared.spend(asked.client, used.total)
        if asked.targets is not None and answer.whole and self._reply.arm == STUDENT:
            shared.costs.avoided(asked.targets, used)
        return shared.costs.charge(asked.route, self._sent[self._charged :], used, SERVED, answered=answer.came)

    @property
    def _failed(self) -> bool:
        """Whether whoever was meant to answer was asked and failed: the other one is asked then too, or each failure that
        only one of the two has would look like the copy's."""
        reply, error = self._reply, self._error
        if error is None or error in NOBODYS or reply.gone or not self._sent:
            return False
        return reply.begun or reply.status >= 500 or error.startswith(CHECK)

    def _offer_copies(self, now: float) -> None:
        asked, reply, decision = self._asked, self._reply, self._asked.decision
        # After a fallback the other arm has been asked already, and failed. What an incumbent deferred or had held back is
        # the teacher's, and the new student is to be compared there too.
        set_aside = self._deferred or reply.reason.startswith("fallback:check:")
        as_meant = reply.arm == decision.arm or (decision.incumbent and set_aside)
        answered = self._answer.whole or self._failed
        if not decision.shadow or asked.dialect.endpoint in UNCOMPARED:
            return
        if asked.targets is not None and answered and as_meant:
            for target in asked.targets.copied_to(decision, reply.arm):
                self._shadower.offer(RequestCopy(asked, asked.targets, target, now))


def unknown_model(model: str, routes: Mapping[str, object]) -> RequestError:
    """The error of a request for a route that there is not."""
    shown = model if len(model) <= 100 else model[:100] + "…"
    hint = did_you_mean(shown, routes) or f" There are: {', '.join(list(routes)[:20])}."
    return RequestError(404, f"there is no model {shown!r} here.{hint}", param="model", code="model_not_found")


def _of_both(student: Failure, teacher: Failure) -> Failure:
    """What to tell the client when both arms failed."""
    if teacher.body is None or teacher.status >= 500 or teacher.status == 429 or student.body is not None:
        return teacher
    # The student broke down, and the teacher refused a request that the student would have accepted (an assistant
    # prefill, say). To call the request wrong would be untrue: it may work again in a moment.
    refusal = teacher.message[:300]
    text = f"the student failed ({student.cause}), and the teacher cannot take this request: {refusal}"
    return Failure("fallback_refused", text, 502)
