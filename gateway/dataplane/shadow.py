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
from typing import TYPE_CHECKING, Any

from graduand.gateway.dataplane import answers, budget, checking, hybrid
from graduand.gateway.dataplane.asking import Question
from graduand.gateway.dataplane.dialects.wire import Endpoint
from graduand.gateway.dataplane.http.client import Call
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Fiber
from graduand.gateway.dataplane.targets import RouteTargets, Target
from graduand.gateway.model import record
from graduand.gateway.model.routing import STUDENT, Decision
from graduand.gateway.model.trace import Trace
from graduand.monitoring import metrics as m
from graduand.monitoring.checks import judging
from graduand.monitoring.checks.judging import Verdict

if TYPE_CHECKING:
    from graduand.gateway.dataplane.plane import Plane

MAX_UNDER_WAY = 16
MAX_WAITING = 1000
MAX_WAITING_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Copy:
    """One request to shadow, and the served request that it belongs to."""

    targets: RouteTargets
    target: Target
    endpoint: Endpoint
    body: bytes
    data: dict[str, Any]
    parent_id: str
    decision: Decision
    client: int
    offered_at: float  # by the event loop's clock
    trace: Trace | None = None  # of the served request

    @property
    def slot(self) -> int:
        """Which of the route's budgets pays for it."""
        return budget.SHADOW if self.target.arm == STUDENT else budget.AUDIT


class Shadower:
    """Runs copies, a few at a time."""

    def __init__(self, plane: "Plane") -> None:
        self._plane = plane
        self._waiting: deque[Copy] = deque()
        self._waiting_bytes = 0
        self._under_way = 0

    @property
    def size(self) -> int:
        """Copies waiting or under way."""
        return len(self._waiting) + self._under_way

    def offer(self, copy: Copy) -> None:
        """Queue a copy, or drop and count it."""
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(copy.body) > MAX_WAITING_BYTES:
            self._plane.metrics.add(m.SHADOWS, (copy.targets.route.name, "dropped"))
            return
        self._waiting.append(copy)
        self._waiting_bytes += len(copy.body)
        # Started by the event loop, so that whatever else this served request still does comes first.
        self._plane.loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        while self._waiting and self._under_way < MAX_UNDER_WAY:
            copy = self._waiting.popleft()
            self._waiting_bytes -= len(copy.body)
            # Asked when it starts, not when it is queued: what those before it have cost is known better by then.
            if not self._plane.budgets.admit(copy.targets.route, copy.slot, self._plane.wall()):
                self._plane.metrics.add(m.SHADOWS, (copy.targets.route.name, "over_budget"))
                continue
            self._under_way += 1
            Fiber(self._run(copy), self._plane.crashed).resume()

    async def _run(self, copy: Copy) -> None:
        try:
            await _Shadow(self._plane, copy).run()
        finally:
            self._under_way -= 1
            self._plane.loop.call_soon(self._start_next)


class _Shadow:
    """One copy's question, answer and record."""

    def __init__(self, plane: "Plane", copy: Copy) -> None:
        self._plane = plane
        self._copy = copy
        self._began = plane.clock()
        self._first_at: float | None = None
        self._answer: str | None = None
        self._usage: Any = None
        self._pieces = 0
        self._served_model: str | None = None
        self._trace = None if copy.trace is None else copy.trace.child()
        self._verdicts: list[Verdict] = []

    async def run(self) -> None:
        plane, copy = self._plane, self._copy
        route, target = copy.targets.route, copy.target
        learning = route.logprobs or route.mode == "hybrid"
        question = plane.question(
            route, target, copy.endpoint, copy.body, copy.data, headers=b"", retries=0,
            stop_at=self._began + route.timeouts.total_s,
            logprobs=learning and target.arm == STUDENT and hybrid.possible(copy.endpoint, target, copy.data),
            trace=self._trace,
        )  # fmt: skip
        error = None
        try:
            await plane.asker.ask(question, lambda call: self._take(call, target))
        except UpstreamFailed as failed:
            error = failed.failure.cause
        plane.metrics.add(m.SHADOWS, (route.name, error or "ok"))
        usage = record.usage_of(self._usage, self._pieces, len(copy.body), completed=error is None)
        if error is None or self._pieces:
            plane.budgets.spend(route, copy.slot, usage["prompt_tokens"] + usage["completion_tokens"], plane.wall())
        plane.log.append(self._record(question, error, usage))

    async def _take(self, call: Call, target: Target) -> None:
        if b"event-stream" not in call.headers.get(b"content-type", b""):
            body, data = answers.whole(await call.body(), target)
            self._answer = body.decode("utf-8", "replace")
            self._usage, self._served_model = data.get("usage"), data.get("model")
            await self._judge(data, target)
            return
        reader = answers.StreamReader(target, keep_usage=True)
        try:
            while not reader.done and reader.failure is None:
                piece = await call.read()
                if not piece:
                    break
                reader.feed(piece)
                if reader.visible and not call.received:
                    call.began()
                    self._first_at = self._plane.clock()
            reader.finish()
        finally:
            assembly = reader.assembly
            self._answer = assembly.encoded()
            self._usage, self._pieces, self._served_model = assembly.usage, assembly.pieces, reader.served_model
        await self._judge(assembly.answer(), target)

    async def _judge(self, answer: dict[str, Any], target: Target) -> None:
        """Nothing follows from it: it shows how often an adapter would fail before it serves anybody."""
        plane, copy = self._plane, self._copy
        gates = copy.targets.gates
        if gates.armed and answer.get("choices"):
            seen = checking.choices(answer, copy.data)
            at_once = checking.at_once(gates, seen, acting=False)
            self._verdicts = (
                await checking.in_turns(gates, plane.loop, seen, acting=False) if at_once is None else at_once
            )
            adapter = target.model if target.arm == STUDENT else ""
            plane.meters.judged(self._verdicts, copy.targets.route.name, target.arm, adapter)

    def _record(self, question: Question, error: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        copy, began, route = self._copy, self._began, self._copy.targets.route
        arm = copy.target.arm
        role = "shadow" if arm == STUDENT else "audit"
        answered = error is None or self._pieces > 0
        cost = self._plane.costs.charge(route.name, [question], usage, self._usage, role, answered=answered)
        return record.record(
            id=record.new_id(), parent_id=copy.parent_id, role=role, route=route.name, endpoint=copy.endpoint.path,
            decision=copy.decision, arm=arm, reason=role, adapter=question.target.model if arm == STUDENT else None,
            base_model=question.target.base, teacher_model=route.teacher.model, served_model=self._served_model,
            status=200 if error is None else 502, request_body=copy.body, request=copy.data,
            response_json=self._answer, stream=question.stream, completed=error is None,
            client_disconnected=False, bytes_released=0,
            timings={
                "queue_ms": round((began - copy.offered_at) * 1000, 3),
                "overhead_ms": None,
                "ttft_ms": None if self._first_at is None else round((self._first_at - began) * 1000, 3),
                "total_ms": round((self._plane.clock() - began) * 1000, 3),
            },
            usage=usage, attempts=question.attempts, error=error, client=copy.client, cost=cost, trace=self._trace,
            verdicts=judging.logged(self._verdicts),
            record_bp=route.record_bp,
        )  # fmt: skip
