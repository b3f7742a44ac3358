"""Copies of answered requests to the other arm: after the answer has left, bounded, and never in its way.

What the teacher answered goes to the student in the shadow (role `shadow`), and a share of what the student answered to
the teacher (role `audit`), or nobody would know whether the student is still right. While a rollout tries a student
beside another, that share also goes to whichever of the two has not answered (role `shadow` as well).

A copy starts only when the client has its whole answer, so it cannot delay or change what is served. Copies beyond the
bounds are dropped and counted, as are those beyond the day's budget. Each has its own record, whose `parent_id` is the
served request's id.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from graduand.gateway.dataplane import budget, checking
from graduand.gateway.dataplane.answer import Answer
from graduand.gateway.dataplane.asked import Asked
from graduand.gateway.dataplane.dispatch import milliseconds
from graduand.gateway.dataplane.entry import AUDIT, SHADOW, entry, timings
from graduand.gateway.dataplane.http.client import Call
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Fiber
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.dataplane.targets import RouteTargets, Target
from graduand.gateway.model import record
from graduand.gateway.model.routing import STUDENT
from graduand.monitoring import metrics as m
from graduand.monitoring.checks import own

MAX_UNDER_WAY = 16
MAX_WAITING = 1000
MAX_WAITING_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class RequestCopy:
    """A request that was served, to be put to another of its route's models too; `offered_at` by the event loop's clock."""

    asked: Asked
    targets: RouteTargets
    target: Target
    offered_at: float

    @property
    def slot(self) -> int:
        """Which of the route's budgets pays for it."""
        return budget.SHADOW if self.target.arm == STUDENT else budget.AUDIT


class Shadower:
    """Runs copies, a few at a time."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._waiting: deque[RequestCopy] = deque()
        self._waiting_bytes = 0
        self._under_way = 0

    @property
    def size(self) -> int:
        """Copies waiting or under way."""
        return len(self._waiting) + self._under_way

    def offer(self, copy: RequestCopy) -> None:
        """Queue a copy, or drop and count it."""
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(copy.asked.body) > MAX_WAITING_BYTES:
            self._shared.metrics.add(m.SHADOWS, (copy.targets.route.name, "dropped"))
            return
        self._waiting.append(copy)
        self._waiting_bytes += len(copy.asked.body)
        # Started by the event loop, so that whatever else this served request still does comes first.
        self._shared.loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        while self._waiting and self._under_way < MAX_UNDER_WAY:
            copy = self._waiting.popleft()
            self._waiting_bytes -= len(copy.asked.body)
            # Asked when it starts, not when it is queued: what those before it have cost is known better by then.
            if not self._shared.budgets.admit(copy.targets.route, copy.slot, self._shared.wall()):
                self._shared.metrics.add(m.SHADOWS, (copy.targets.route.name, "over_budget"))
                continue
            self._under_way += 1
            Fiber(self._run(copy), self._shared.crashed).resume()

    async def _run(self, copy: RequestCopy) -> None:
        try:
            await _Shadow(self._shared, copy).run()
        finally:
            self._under_way -= 1
            self._shared.loop.call_soon(self._start_next)


class _Shadow:
    """One copy's dispatch, answer and record."""

    def __init__(self, shared: Shared, copy: RequestCopy) -> None:
        self._shared = shared
        self._copy = copy
        self._answer = Answer()

    async def run(self) -> None:
        shared, copy, answer = self._shared, self._copy, self._answer
        asked, route, target = copy.asked, copy.targets.route, copy.target
        began, arm = shared.clock(), target.arm
        role = SHADOW if arm == STUDENT else AUDIT
        span = None if asked.span is None else asked.span.child()
        learning = arm == STUDENT and (route.logprobs or route.mode == "hybrid")
        dispatch = asked.dispatch(
            target, headers=asked.forwarded, began=began, retries=route.retries, held=False, span=span,
            scored=learning and asked.dialect.scorable(asked.data, target.addressee),
        )  # fmt: skip
        error = message = None
        try:
            await shared.dispatcher.send(dispatch, self._take)
            answer.whole = True
        except UpstreamFailed as failed:
            error, message = failed.failure.cause, failed.failure.message
        shared.metrics.add(m.SHADOWS, (route.name, error or "ok"))
        used = answer.tokens(asked.data)
        if answer.came:
            shared.budgets.spend(route, copy.slot, used.total, shared.wall())
        cost = shared.costs.charge(route.name, [dispatch], used, role, answered=answer.came)
        waited_ms = milliseconds(copy.offered_at, began)
        shared.log.append(
            entry(
                asked, answer, [dispatch], id=record.new_id(), parent_id=asked.id, role=role, arm=arm, reason=role,
                status=200 if error is None else 502, error=error, used=used, cost=cost, trace=span,
                timings=timings(began, shared.clock(), queue_ms=waited_ms, first_at=answer.first_at), error_message=message,
            )
        )  # fmt: skip

    async def _take(self, call: Call) -> None:
        answer, asked, by = self._answer, self._copy.asked, self._copy.target.addressee
        if b"event-stream" not in call.headers.get(b"content-type", b"").lower():
            whole = asked.dialect.whole(await call.body(), call.headers, by)
            answer.take_whole(whole)
            await self._judge(whole.form)
            return
        reader = asked.dialect.reader(asked.data, by, scored=False)
        progress = reader.progress
        call.take_all_time()  # no other model waits for its turn
        try:
            while not progress.done and progress.failure is None:
                piece = await call.read()
                if not piece:
                    break
                reader.feed(piece)
                if progress.visible and not call.received:
                    call.began()
                    answer.first_at = self._shared.clock()
            reader.finish()
        finally:
            answer.take_stream(progress)
        await self._judge(progress.assembly.answer())

    async def _judge(self, form: dict[str, Any]) -> None:
        """Nothing follows from it: it shows how often an adapter would fail before it serves anybody."""
        shared, copy = self._shared, self._copy
        checks, target = copy.targets.checks, copy.target
        if checks.there and form.get("choices"):
            seen = checking.choices(form, copy.asked.data)
            at_once = checking.at_once(checks, seen, acting=False)
            verdicts = await checking.in_turns(checks, shared.loop, seen, acting=False) if at_once is None else at_once
            if checks.own:
                question = own.question(copy.targets.route.name, copy.asked.as_chat(), form)
                verdicts += await shared.own_checks.judge(checks.own, question, acting=False)
            self._answer.verdicts = verdicts
            shared.meters.judged(verdicts, copy.targets.route.name, target.arm, target.adapter)
