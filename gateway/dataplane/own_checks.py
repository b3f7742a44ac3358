"""Asks the user's own checks beside the event loop, within their time, and remembers what they said of the same answer.

A check that cannot be asked, is late, or says what nobody can read has not said that the answer is well: it counts as a
trigger. Must never hold up the event loop, nor keep more than a bounded number of answers waiting.
"""

import hashlib
import os
import signal
import subprocess
import time
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from graduand.gateway.dataplane.http.fiber import Signal
from graduand.monitoring.checks import own
from graduand.monitoring.checks.check import Finding
from graduand.monitoring.checks.judging import FLAG, NONE, Verdict
from graduand.monitoring.checks.own import OwnCheck, Unclear

if TYPE_CHECKING:
    import httpx

AT_ONCE = 16
# So many may wait for a thread; one more has no hope of being in time.
WAITING = 256
REMEMBERED = 4096
LONGEST_ANSWER = 1 << 16
JSON = {"content-type": "application/json"}


class _Asked:
    """One check's question about one answer."""

    __slots__ = ("began", "cause", "check", "ended", "found", "key", "said")

    def __init__(self, check: OwnCheck, key: bytes) -> None:
        self.check = check
        self.key = key
        self.began = time.monotonic()
        self.ended = 0.0
        self.said: Finding | None = None
        self.found: Finding | None = None  # the same, if it came in time
        self.cause = "timeout"

    def verdict(self, acting: bool) -> Verdict:
        check, found = self.check, self.found
        took_ms = int(((self.ended or time.monotonic()) - self.began) * 1e7) / 10_000
        action = check.action if acting else FLAG
        if found is None:
            outcome = "timeout" if self.cause == "timeout" else "error"
            label = self.cause if outcome == "timeout" else f"error:{self.cause}"
            return Verdict(check.name, own.VERSION, 1.0, label, took_ms, action, outcome)
        outcome = "trigger" if found.triggered else "pass"
        return Verdict(
            check.name, own.VERSION, found.score, found.label, took_ms, action if found.triggered else NONE, outcome
        )


class OwnChecks:
    """A worker's. `judge` is awaited by fibers of one event loop; threads ask, which end with the worker at the latest."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._known: OrderedDict[bytes, Finding] = OrderedDict()
        self._waiting: SimpleQueue[tuple[_Asked, bytes, Callable[[_Asked], None]]] = SimpleQueue()
        self._threads: list[Thread] = []
        self._client: httpx.Client | None = None

    async def judge(self, checks: Sequence[OwnCheck], question: bytes, *, acting: bool) -> list[Verdict]:
        """The verdicts, in the checks' order. Not `acting`: they only flag."""
        asked = [_Asked(check, _key(check, question)) for check in checks]
        unknown = [one for one in asked if not self._remembered(one)]
        if unknown:
            await self._answers(unknown, question)
        return [one.verdict(acting) for one in asked]

    def _remembered(self, asked: _Asked) -> bool:
        found = self._known.get(asked.key)
        if found is None:
            return False
        self._known.move_to_end(asked.key)
        asked.found, asked.ended = found, time.monotonic()
        return True

    async def _answers(self, asked: list[_Asked], question: bytes) -> None:
        left, came = len(asked), Signal()

        def answered(one: _Asked) -> None:
            nonlocal left
            left -= 1
            self._learn(one)
            if left == 0:
                came.wake()

        for one in asked:
            self._offer(one, question, answered)
        if left == 0:
            return
        patience = self._loop.call_later(max(one.check.limit_s for one in asked), came.wake)
        try:
            await came
        finally:
            patience.cancel()

    def _offer(self, one: _Asked, question: bytes, answered: Callable[[_Asked], None]) -> None:
        if self._waiting.qsize() >= WAITING:
            one.cause = "too_many"
            answered(one)
            return
        if len(self._threads) < AT_ONCE:
            self._threads.append(Thread(target=self._run, name="own-check", daemon=True))
            self._threads[-1].start()
        self._waiting.put((one, question, answered))

    def _learn(self, one: _Asked) -> None:
        """Remember what was said, though it may be too late for this answer."""
        if one.said is None:
            return
        self._known[one.key] = one.said
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if one.ended - one.began <= one.check.limit_s:
            one.found = one.said

    def _run(self) -> None:
        """A thread."""
        while True:
            one, question, answered = self._waiting.get()
            try:
                one.said = self._ask(one.check, question, one.began)
            except TimeoutError:
                pass
            except Unclear as unclear:
                one.cause = unclear.cause
            except Exception as error:  # a thread that ended would never ask again
                one.cause = type(error).__name__
            one.ended = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(answered, one)
            except RuntimeError:  # the loop has ended
                return

    def _ask(self, check: OwnCheck, question: bytes, began: float) -> Finding:
        left_s = check.limit_s - (time.monotonic() - began)
        if left_s <= 0:
            raise TimeoutError
        said = self._fetched(check, question, left_s) if check.url else _ran(check, question, left_s)
        return own.told(*said) if isinstance(said, tuple) else own.finding(said, check.least)

    def _fetched(self, check: OwnCheck, question: bytes, left_s: float) -> bytes:
        import httpx  # only who has such a check pays for it, with each worker's memory

        until, content = time.monotonic() + left_s, bytearray()
        client = self._client = self._client or httpx.Client(trust_env=False)
        try:
            with client.stream("POST", check.url, content=question, headers=JSON, timeout=left_s) as answer:
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > LONGEST_ANSWER:
                        raise Unclear("too_long")
                    if time.monotonic() > until:
                        raise TimeoutError
                if not answer.is_success:
                    raise Unclear(f"http_{answer.status_code}")
        except httpx.TimeoutException as error:
            raise TimeoutError from error
        except httpx.HTTPError as error:
            raise Unclear("unreachable") from error
        return bytes(content)


def _ran(check: OwnCheck, question: bytes, left_s: float) -> bytes | tuple[bool, float]:
    """What the command printed; where it printed nothing, whether its exit status was 0, and 1 or 0 as its score."""
    try:
        process = subprocess.Popen(
            check.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Unclear("cannot_start") from error
    try:
        said, _ = process.communicate(question, timeout=left_s)
    except subprocess.TimeoutExpired as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise TimeoutError from error
    if process.returncode not in (0, 1):
        raise Unclear(f"exit_{process.returncode}")
    said = said.strip()
    if not said:
        return process.returncode == 0, float(process.returncode == 0)
    if len(said) > LONGEST_ANSWER:
        raise Unclear("too_long")
    return said


def _key(check: OwnCheck, question: bytes) -> bytes:
    where = check.url or "\0".join(check.command)
    return hashlib.sha256(b"%b\n%r\n%b" % (where.encode(), check.least, question)).digest()
