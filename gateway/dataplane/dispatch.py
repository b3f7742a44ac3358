"""Ask one model for one answer: choose a replica, send, wait, retry within bounds. Used to serve and to shadow.

Nothing here knows who listens; the `take` coroutine reads the answer and says by `committed` when a retry would repeat
what a client has already seen.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from graduand.gateway.dataplane import vendor
from graduand.gateway.dataplane.fleet import Fleet, ReplicaState
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.client import Call, Connection
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed, is_about, may_be_about_a_field
from graduand.gateway.dataplane.http.fiber import sleep
from graduand.gateway.dataplane.targets import Target
from graduand.gateway.model.fields import Attempt
from graduand.gateway.model.trace import Trace, new_span_id
from graduand.monitoring.metrics import ATTEMPTS, Metrics

BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 2.0
# Where the upstream said that it is asked too much, and not when to come back: what comes at once only makes it worse.
RATE_LIMITED_BACKOFF_S: Final = 1.0
LONGEST_RATE_LIMITED_BACKOFF_S: Final = 8.0
LONGEST_RETRY_AFTER_S: Final = 10.0
# After these only another replica may be asked, and once: whoever was silent for so long may still be at it, and be paid for it.
SILENT: Final = ("first_token_timeout", "idle_timeout")
UNREACHED: Final = "connect_timeout"


NOTHING: dict[bytes, bytes] = {}


class ClientGone(Exception):
    """Thrown into an exchange when its client has closed the connection."""


CLIENT_GONE: Final = Failure("client_gone", "the client went away", sick=False, retry=False, fall_back=False)


class Plain(Protocol):
    """What is asked, as far as a dispatch needs it again."""

    def plain(self, target: Target, *, scored: bool) -> bytes:
        """The body without anything that the client did not ask for and can do without."""


class Dispatch:
    """One request to one model; `committed` once a client has seen some of the answer. Times are the event loop's.

    It must be over at `last_at`; where another model may answer instead, at `stop_at`, unless it is committed by then. `held`:
    its stream is not released as it comes. With a `refusal` there is nothing to be sent: the model's API cannot say the request.
    """

    __slots__ = (
        "asked", "attempts", "body", "committed", "first_sent_at", "gpu_dollars", "headers", "last_at", "path", "refusal",
        "retries", "said", "scored", "span_id", "stop_at", "stream", "target", "trace", "vendors_id",
    )  # fmt: skip

    def __init__(
        self, asked: Plain, target: Target, path: str, headers: bytes, body: bytes, *, stream: bool, began: float,
        retries: int, scored: bool, held: bool, trace: Trace | None = None, refusal: Failure | None = None,
    ) -> None:  # fmt: skip
        self.refusal = refusal
        self.asked = asked
        self.scored = scored
        self.target = target
        self.path = path
        self.headers = headers
        self.body = body
        self.stream = stream
        total_s = target.times.total_s
        self.stop_at = self.last_at = began + total_s
        if target.fallback_behind:
            # The other half is the fallback's. Whoever is to be waited for longer than that, may be, as long as he is silent.
            half_s = total_s / 2
            waits_s = half_s if held or not stream else max(half_s, min(target.first_token_s, total_s))
            self.stop_at = began + waits_s
        self.retries = retries
        self.committed = False
        self.first_sent_at: float | None = None
        self.attempts: list[Attempt] = []
        self.gpu_dollars = 0.0  # of an upstream that is paid by the hour
        self.trace = trace
        self.span_id = ""  # of the attempt under way, where spans are made
        self.said = NOTHING  # the headers of the last answer that came
        self.vendors_id = b""  # of that answer

    def passed_on(self) -> bytes:
        """The lines of what the upstream said beside its answer that the client gets."""
        return vendor.passed_on(
            self.said, self.vendors_id, rate_limits=self.target.upstream.upstream.rate_limit_headers
        )


class Dispatcher:
    """Sends dispatches to the fleet."""

    def __init__(self, fleet: Fleet, metrics: Metrics, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.fleet = fleet
        self._metrics = metrics
        self._clock = clock
        self._wall = wall

    async def send(self, dispatch: Dispatch, take: Callable[[Call], Awaitable[None]]) -> None:
        """Get an answer and let `take` read it; raise UpstreamFailed when that is not to be had."""
        target = dispatch.target
        upstream = target.upstream
        if dispatch.refusal is not None:
            raise _refused(dispatch, dispatch.refusal)
        upstream.budget.request()
        tried: set[ReplicaState] = set()
        retries = 0
        silent = plainly = False
        last: Failure | None = None
        while True:
            now = self._clock()
            replica = upstream.choose(target.model, now, tried, target.replicas)
            if replica is None and not target.replicas:
                raise UpstreamFailed(failures.NOT_LOADED)
            if replica is None:
                # If it was this very request that opened the breaker, what it was told says more.
                raise UpstreamFailed(last or failures.BREAKER_OPEN)
            try:
                await self._attempt(dispatch, replica, now, take)
                if plainly:
                    upstream.refuses_usage()
                elif dispatch.stream:
                    upstream.has_streamed = True
                return
            except UpstreamFailed as error:
                last = failure = error.failure
                if dispatch.committed:
                    raise
                if not plainly and _made_plain(dispatch, failure, proven=upstream.has_streamed):
                    plainly = True
                    continue
                if not failure.retry or retries == dispatch.retries:
                    raise
                now = self._clock()
                tried.add(replica)
                other = any(one.breaker.allows(now) for one in target.replicas if one not in tried)
                if failure.cause in SILENT:
                    if silent or not other:
                        raise
                    silent = True
                elif failure.cause == UNREACHED and not other:
                    raise
                delay_s = _delay_s(failure, retries, other=other, fallback_behind=target.fallback_behind)
                if delay_s is None or now + delay_s >= dispatch.stop_at or not upstream.budget.take(now):
                    raise
            retries += 1
            if delay_s:
                await sleep(self.fleet.loop, delay_s)

    async def _attempt(
        self, dispatch: Dispatch, replica: ReplicaState, began: float, take: Callable[[Call], Awaitable[None]]
    ) -> None:
        replica.begin(began)
        dollars = replica.shared_dollars
        if dispatch.trace is not None:
            dispatch.span_id = new_span_id()
        failure = CLIENT_GONE
        whole = False
        try:
            dispatch.said, dispatch.vendors_id = NOTHING, b""
            call = await self._answered(dispatch, replica)
            dispatch.said, dispatch.vendors_id = call.headers, vendor.request_id(call.headers)
            await self._taken(call, take)
            whole = True
        except UpstreamFailed as error:
            failure = error.failure = failures.without_secrets(error.failure, replica.secrets)
            raise
        finally:
            self._note(dispatch, replica, failure, began, whole=whole)
            dispatch.gpu_dollars += replica.shared_dollars - dollars

    async def _taken(self, call: Call, take: Callable[[Call], Awaitable[None]]) -> None:
        try:
            status = call.status
            if not 200 <= status < 300:
                raise UpstreamFailed(failures.from_answer(status, call.headers, await call.body(), self._wall()))
            await take(call)
        except BaseException:
            call.close()
            raise
        # A stream that said [DONE] may still have its last bytes to send.
        call.linger()

    async def _answered(self, dispatch: Dispatch, replica: ReplicaState) -> Call:
        """A call whose head has arrived."""
        connection = replica.pool.idle()
        if connection is not None:
            call = self._sent(dispatch, replica, connection)
            if await self._headed(call):
                return call
            # The upstream closed a kept connection while this request was on its way: no answer began, so a new
            # connection gets it, and neither health nor budget is charged.
        call = self._sent(dispatch, replica, await replica.pool.connect(dispatch.target.times.connect_s))
        if not await self._headed(call):
            raise UpstreamFailed(failures.RESET)
        return call

    async def _headed(self, call: Call) -> bool:
        """Wait for the head; False if the connection was closed before any of it came."""
        try:
            await call.head()
        except UpstreamFailed as error:
            if error.failure is failures.RESET:
                return False
            raise
        except BaseException:
            call.close()
            raise
        return True

    def _sent(self, dispatch: Dispatch, replica: ReplicaState, connection: Connection) -> Call:
        now = self._clock()
        if dispatch.first_sent_at is None:
            dispatch.first_sent_at = now
        target, stop_at = dispatch.target, dispatch.stop_at
        first_s, idle_s = target.first_token_s, target.times.idle_s
        if dispatch.stream:
            first_at = min(now + first_s, stop_at)
        elif target.fallback_behind:
            # A whole answer shows nothing before its end, so its first token cannot be waited for.
            first_at = min(now + first_s + idle_s, stop_at)
        else:
            first_at = stop_at
        call = Call(
            connection, stream=dispatch.stream, first_at=first_at, first_s=first_s, idle_s=idle_s, stop_at=stop_at,
            last_at=dispatch.last_at, active=self.fleet.calls, loop=self.fleet.loop,
        )  # fmt: skip
        headers, trace = dispatch.headers, dispatch.trace
        if trace is not None:
            headers += trace.header(dispatch.span_id)
        call.send(replica.request(dispatch.path, headers, dispatch.body))
        return call

    def _note(self, dispatch: Dispatch, replica: ReplicaState, failure: Failure, began: float, *, whole: bool) -> None:
        now = self._clock()
        target = dispatch.target
        replica.end(None if whole else failure, now, target.model)
        outcome = "ok" if whole else failure.cause
        self._metrics.add(ATTEMPTS, (target.upstream_name, outcome))
        took_ms = milliseconds(began, now)
        attempt: Attempt = {
            "upstream": target.upstream_name,
            "arm": target.arm,
            "replica": replica.url,
            "outcome": outcome,
            "ms": took_ms,
            "model": target.model,
        }
        if dispatch.trace is not None:
            attempt["span_id"] = dispatch.span_id
            attempt["ended_at"] = self._wall()
        if not whole and failure.said:
            attempt["said"] = failures.logged(failure)
        dispatch.attempts.append(attempt)


def _refused(dispatch: Dispatch, refusal: Failure) -> UpstreamFailed:
    """What is raised in place of an attempt, which the record has all the same: it names the model that was meant."""
    target = dispatch.target
    attempt: Attempt = {
        "upstream": target.upstream_name,
        "arm": target.arm,
        "replica": "",
        "outcome": refusal.cause,
        "ms": 0.0,
        "model": target.model,
    }
    dispatch.attempts.append(attempt)
    return UpstreamFailed(refusal)


def milliseconds(began: float, ended: float) -> float:
    """The time between two readings of the loop's clock, in whole microseconds; round() takes ten times as long."""
    return int((ended - began) * 1e6 + 0.5) / 1000


def _made_plain(dispatch: Dispatch, failure: Failure, *, proven: bool) -> bool:
    """Take out what the client did not ask for, if there is such a thing and the upstream seems to have refused it. Of one that
    is not `proven` to take it, a refusal that names no field is enough: nobody but us knows what it may mean."""
    if not dispatch.stream:
        return False
    named = is_about(failure, "stream_options") or is_about(failure, "include_usage")
    if not named and (proven or not may_be_about_a_field(failure)):
        return False
    body = dispatch.asked.plain(dispatch.target, scored=dispatch.scored)
    if body == dispatch.body:
        return False
    dispatch.body = body
    return True


def _delay_s(failure: Failure, retries: int, *, other: bool, fallback_behind: bool) -> float | None:
    """How long to wait before the next attempt; None if the next attempt is not worth it."""
    if other:
        return 0.0
    limited = failure.cause == "rate_limited"
    if limited and fallback_behind:
        return None  # the fallback is quicker
    if failure.retry_after_s is not None:
        return failure.retry_after_s if failure.retry_after_s <= LONGEST_RETRY_AFTER_S else None
    # Full jitter (Brooker, AWS Architecture Blog, 2015) over an exponential ceiling, never quite zero.
    if limited:
        ceiling = min(RATE_LIMITED_BACKOFF_S * 2**retries, LONGEST_RATE_LIMITED_BACKOFF_S)
        return random.uniform(ceiling / 2, ceiling)
    ceiling = min(BACKOFF_S * 2**retries, LONGEST_BACKOFF_S)
    return random.uniform(ceiling / 10, ceiling)
