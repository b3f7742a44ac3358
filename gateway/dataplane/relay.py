"""One model's answer on its way to the client: read, scored, judged, and released as the route allows.

Invariants: what a check keeps back never leaves; an answer that is to be scored is held until it is.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from graduand.gateway.dataplane import checking
from graduand.gateway.dataplane.answer import Answer
from graduand.gateway.dataplane.asked import Asked
from graduand.gateway.dataplane.dialects.dialect import Reader
from graduand.gateway.dataplane.dispatch import Dispatch
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.client import Call
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.dataplane.reply import Reply
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.dataplane.targets import RouteTargets
from graduand.gateway.dataplane.window import HOLD_ALL, Window
from graduand.gateway.model.routes import Route
from graduand.gateway.model.routing import STUDENT
from graduand.monitoring.checks import judging, own
from graduand.monitoring.checks.judging import Verdict, Watcher
from graduand.rollout.hybrid.scorer import Scorer


class Relay:
    """Takes the answer to `dispatch`; then look at `answer`, and at what kept it from the client, if anything did.

    `deferred`: the student was not confident enough. `held_back`: a check failed. `scorer`: what the answer is to be scored
    by before it leaves, if at all.
    """

    __slots__ = ("_asked", "_reply", "_scorer", "_shared", "_targets", "answer", "deferred", "dispatch", "held_back")

    def __init__(
        self, shared: Shared, asked: Asked, targets: RouteTargets, dispatch: Dispatch, reply: Reply, scorer: Scorer | None
    ) -> None:  # fmt: skip
        self._shared = shared
        self._asked = asked
        self._targets = targets
        self.dispatch = dispatch
        self._reply = reply
        self._scorer = scorer
        self.answer = Answer()
        self.deferred = False
        self.held_back: Failure | None = None

    @property
    def take(self) -> Callable[[Call], Awaitable[None]]:
        """What reads a call's answer."""
        return self._take_stream if self._asked.stream else self._take_whole

    async def _take_whole(self, call: Call) -> None:
        asked, answer, dispatch, scorer = self._asked, self.answer, self.dispatch, self._scorer
        self._reply.passed = dispatch.passed_on()
        whole = asked.dialect.whole(await call.body(), call.headers, dispatch.target.addressee)
        answer.take_whole(whole)
        self._refuse_strange(whole.strange)
        if scorer is not None and self._defers(scorer, whole.form):
            return
        armed, acting = self._targets.checks.there, dispatch.target.arm == STUDENT
        if armed and acting and await self._judge(whole.form, None, acting=True):
            return
        shown = asked.dialect.shown(whole, asked.data, scored=scorer is not None)
        answer.first_at = self._shared.clock()
        dispatch.committed = answer.whole = True
        self._reply.end_whole(shown)
        if armed and not acting:
            await self._judge(whole.form, None, acting=False)

    async def _take_stream(self, call: Call) -> None:
        asked, answer, dispatch, scorer = self._asked, self.answer, self.dispatch, self._scorer
        self._reply.passed = dispatch.passed_on()
        checks, by = self._targets.checks, dispatch.target.addressee
        if b"event-stream" not in call.headers.get(b"content-type", b"").lower():
            asked.dialect.whole(await call.body(), call.headers, by)  # for what it says of a failure
            raise UpstreamFailed(failures.NO_ANSWER)
        reader = asked.dialect.reader(asked.data, by, scored=scorer is not None)
        progress = reader.progress
        release = HOLD_ALL if scorer is not None else _held(self._targets.route)
        acting = checks.there and dispatch.target.arm == STUDENT and release != 0
        watcher = checks.watcher() if acting and release != HOLD_ALL else None
        if watcher is not None and not asked.dialect.watchable(asked.data):
            release, watcher = HOLD_ALL, None
        window = Window(release, watcher.reach if watcher is not None else 0)
        try:
            await self._follow(call, reader, window, watcher)
            last = reader.finish()
        finally:
            answer.take_stream(progress)
        if scorer is not None and self._defers(scorer, progress.assembly.answer()):
            return
        if acting and await self._judge(progress.assembly.answer(), watcher, acting=True):
            return
        if scorer is not None:
            answer.first_at = self._shared.clock()
        if self._released(window.rest(), call):
            await self._reply.drained(call)
        dispatch.committed = answer.whole = True
        self._reply.end_stream(last)
        if checks.there and not acting:
            await self._judge(progress.assembly.answer(), None, acting=False)

    async def _follow(self, call: Call, reader: Reader, window: Window, watcher: Watcher | None) -> None:
        """Read until the stream's end or its failure, and release what may leave."""
        progress, pieces = reader.progress, 0
        assembly = progress.assembly
        while not progress.done:
            data = await call.read()
            if not data:
                return
            events, text = reader.feed(data), ""
            if watcher is not None:
                text = assembly.unread()
                self._watch(watcher, window, text, calls=assembly.calls)
            window.add(events, assembly.pieces - pieces, len(text))
            pieces = assembly.pieces
            visible, failed = progress.visible, progress.failure is not None
            if progress.strange:
                self._refuse_strange(True)
            if visible and not call.received:
                call.began()
                self.answer.first_at = self._shared.clock()
            if failed and not self._reply.released:
                return  # what came with the failure is held back, so that another attempt can still answer whole
            # Awaited only when the client reads too slowly: an await costs as much as all else that a piece takes here.
            if visible and self._released(window.ready(), call):
                await self._reply.drained(call)
            if failed:
                return

    def _refuse_strange(self, strange: bool) -> None:
        """A student's answer that cannot be read whole passes no check and is never confident."""
        looked_at = self._targets.checks.there or self._scorer is not None
        if strange and looked_at and self.dispatch.target.arm == STUDENT:
            raise UpstreamFailed(failures.UNREADABLE)

    def _released(self, data: bytes, call: Call) -> bool:
        """Send a piece on, if it holds anything; whether the client is to be waited for."""
        if not data:
            return False
        if not self.dispatch.committed:
            self.dispatch.committed = True
            call.take_all_time()
        return self._reply.release(data)

    def _watch(self, watcher: Watcher, window: Window, text: str, *, calls: bool) -> None:
        """Look at the next piece: hold everything back once a check triggers, or break off what has begun to leave."""
        if calls:  # the arguments of a tool's call are looked at when they are whole
            window.hold_all()
        if not watcher.feed(text):
            return
        verdict, released = judging.worst(watcher.verdicts), self._reply.released
        if released and verdict is not None:
            self.answer.verdicts, self.answer.unchecked = watcher.verdicts, released
            self._count(watcher.verdicts)
            raise UpstreamFailed(checking.failure(verdict, self._asked.route))
        window.hold_all()

    async def _judge(self, form: dict[str, Any], watcher: Watcher | None, *, acting: bool) -> bool:
        """Whether a check keeps the student's answer from the client (`acting`)."""
        checks, answer = self._targets.checks, self.answer
        if not form.get("choices"):
            return False
        seen = checking.choices(form, self._asked.data)
        # Awaited only where there is something to wait for: an await costs as much as a check.
        verdicts = checking.at_once(checks, seen, acting=acting)
        if verdicts is None:
            verdicts = await checking.in_turns(checks, self._shared.loop, seen, acting=acting)
        answer.verdicts = verdicts if watcher is None else watcher.confirmed(verdicts)
        # What has failed already need not be asked for; nor is an answer kept waiting that goes out anyway.
        if checks.own and acting and judging.worst(answer.verdicts) is None:
            question = own.question(self._targets.route.name, self._asked.as_chat(), form)
            answer.verdicts += await self._shared.own_checks.judge(checks.own, question, acting=True)
        self._count(answer.verdicts)
        if not acting:
            return False
        answer.unchecked = self._reply.released
        verdict = judging.worst(answer.verdicts)
        if verdict is not None:
            self.held_back = checking.failure(verdict, self._asked.route)
        return verdict is not None

    def _count(self, verdicts: list[Verdict]) -> None:
        target = self.dispatch.target
        self._shared.meters.judged(verdicts, self._asked.route, target.arm, target.adapter)

    def _defers(self, scorer: Scorer, form: dict[str, Any]) -> bool:
        """Whether the teacher is to answer instead, because the student is not confident enough; nothing is released."""
        self.deferred = not scorer.confident(form, self._shared.wall())
        return self.deferred


def _held(route: Route) -> int:
    """How many pieces of a stream are held back at its end."""
    return HOLD_ALL if route.release == "block" else route.release_window if route.release == "window" else 0
