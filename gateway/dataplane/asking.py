"""Ask one model for one answer: choose a replica, send, wait, retry within bounds. Used to serve and to shadow.

Nothing here knows who listens; the `take` coroutine reads the answer and says by `committed` when a retry would repeat
what a client has already seen.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.dataplane import failures
from gateway.dataplane.client import Call, Patience
from gateway.dataplane.failures import Failure, UpstreamFailed
from gateway.dataplane.fiber import sleep
from gateway.dataplane.fleet import Fleet, ReplicaState
from gateway.routes import Timeouts
from monitoring.metrics import ATTEMPTS, Metrics

BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 2.0
LONGEST_RETRY_AFTER_S = 10.0


class ClientGone(Exception):
    """Thrown into an exchange when its client has closed the connection."""


CLIENT_GONE = Failure("client_gone", "the client went away", sick=False, retry=False, fall_back=False)


@dataclass(slots=True)
class Question:
    """One request to one model. `fallback_behind`: another model can still answer if this one does not."""

    upstream: str
    model: str
    arm: str
    path: str
    body: bytes
    headers: bytes
    stream: bool
    fallback_behind: bool
    stop_at: float
    retries: int
    committed: bool = False
    first_sent_at: float | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)


class Asker:
    """Sends questions to the fleet."""

    def __init__(self, fleet: Fleet, metrics: Metrics, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.fleet = fleet
        self._metrics = metrics
        self._clock = clock
        self._wall = wall

    async def ask(self, question: Question, times: Timeouts, take: Callable[[Call], Awaitable[None]]) -> None:
        """Get an answer and let `take` read it; raise UpstreamFailed when that is not to be had."""
        upstream = self.fleet[question.upstream]
        upstream.budget.request()
        tried: set[ReplicaState] = set()
        for retries in range(question.retries + 1):
            now = self._clock()
            replica = upstream.choose(question.model, now, tried)
            if replica is None:
                raise UpstreamFailed(failures.BREAKER_OPEN)
            try:
                await self._attempt(question, times, replica, take)
                return
            except UpstreamFailed as error:
                failure = error.failure
                if question.committed or not failure.retry or retries == question.retries:
                    raise
                now = self._clock()
                tried.add(replica)
                other = any(one.breaker.allows(now) for one in upstream.replicas if one not in tried)
                delay_s = _delay_s(failure, retries, other, question)
                if delay_s is None or now + delay_s >= question.stop_at or not upstream.budget.take(now):
                    raise
            if delay_s:
                await sleep(self.fleet.loop, delay_s)

    async def _attempt(
        self, question: Question, times: Timeouts, replica: ReplicaState, take: Callable[[Call], Awaitable[None]]
    ) -> None:
        began = self._clock()
        replica.begin(began)
        failure: Failure | None = CLIENT_GONE
        call: Call | None = None
        try:
            call = await self._send(question, times, replica)
            status = await call.head()
            if not 200 <= status < 300:
                raise UpstreamFailed(failures.from_answer(status, call.headers, await call.body(), self._wall()))
            await take(call)
            failure = None
        except UpstreamFailed as error:
            failure = error.failure
            raise
        finally:
            if call is not None and not call.ended:
                # A stream that said [DONE] may still have its last bytes to send; anything else is given up.
                call.linger() if failure is None else call.close()
            now = self._clock()
            replica.end(failure, now, question.model)
            outcome = "ok" if failure is None else failure.cause
            self._metrics.add(ATTEMPTS, (question.upstream, outcome))
            question.attempts.append(
                {"upstream": question.upstream, "replica": replica.replica.url, "arm": question.arm, "outcome": outcome,
                 "ms": round((now - began) * 1000, 3)}
            )  # fmt: skip

    async def _send(self, question: Question, times: Timeouts, replica: ReplicaState) -> Call:
        request = replica.request(question.path, question.headers, question.body)
        fresh = False
        while True:
            connection = await replica.pool.connection(times.connect_s, fresh=fresh)
            now = self._clock()
            if question.first_sent_at is None:
                question.first_sent_at = now
            call = Call(connection, _patience(question, times, now), self.fleet.calls, self.fleet.loop)
            call.send(request)
            if not call.reused:
                return call
            try:
                await call.head()
            except UpstreamFailed as error:
                if error.failure is not failures.RESET:
                    raise
                # The upstream closed a kept connection while this request was on its way: no answer began, so a new
                # connection gets it, and neither health nor budget is charged.
                fresh = True
                continue
            except BaseException:
                call.close()
                raise
            return call


def _patience(question: Question, times: Timeouts, now: float) -> Patience:
    stop_at = question.stop_at
    if question.stream:
        return Patience(min(now + times.first_token_s, stop_at), times.idle_s, stop_at)
    # A whole answer shows nothing before its end, so the first token cannot be waited for. With a fallback behind, an
    # attempt must end early enough to leave the fallback its time.
    first_at = stop_at
    if question.fallback_behind:
        first_at = min(now + times.first_token_s + times.idle_s, now + (stop_at - now) / 2)
    return Patience(first_at, times.idle_s, stop_at)


def _delay_s(failure: Failure, retries: int, other: bool, question: Question) -> float | None:
    """How long to wait before the next attempt; None if the next attempt is not worth it."""
    slow = failure.cause in ("first_token_timeout", "idle_timeout", "rate_limited")
    if other:
        return 0.0
    if question.fallback_behind and slow:
        return None  # the fallback is quicker than waiting for a slow or overloaded model once more
    if failure.retry_after_s is not None:
        return failure.retry_after_s if failure.retry_after_s <= LONGEST_RETRY_AFTER_S else None
    # Full jitter (Brooker, AWS Architecture Blog, 2015) over an exponential ceiling, never quite zero.
    ceiling = min(BACKOFF_S * 2**retries, LONGEST_BACKOFF_S)
    return random.uniform(ceiling / 10, ceiling)
