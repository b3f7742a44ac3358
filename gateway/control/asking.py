"""Asks a judge: any model behind an OpenAI-compatible chat API, a few questions at a time, beside the controller's loop.

Nothing waits for it. A judge that fails is given a rest that grows, with jitter, and is then asked one question until it
answers again; what was asked stays the caller's to ask again, but for a question that was refused. Must never make up a
verdict.
"""

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import orjson

from graduand.gateway.adapters import connection
from graduand.gateway.model import retry_after, usage
from graduand.gateway.model.routes import Replica, Upstream
from graduand.rollout.answers.judge import Messages

AT_ONCE = 16
CONNECT_S = 5.0
TOTAL_S = 60.0
LONGEST_ANSWER = 1 << 20
REST_S = 0.5
LONGEST_REST_S = 60.0
# These say that the question itself is wrong: the same one again would be refused again.
REFUSED = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """One question; `key` is the asker's own."""

    key: tuple[int, int]
    upstream: Upstream
    model: str
    messages: Messages
    route: str = ""


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """What came of a question. `final`: it need not be asked again; then no `text` means that there is no verdict."""

    key: tuple[int, int]
    text: str | None
    problem: str = ""
    final: bool = True


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer, and the tokens that it took by the judge's own count; 0 where it does not say."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class _Judge:
    """How one judge has done lately."""

    under_way: int = 0
    failures: int = 0
    rest_until: float = 0.0


class _Failed(Exception):
    """The judge gave no answer; `status` if it gave one."""

    def __init__(self, cause: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status
        self.retry_after_s = retry_after_s


class JudgeClient:
    """`offer` questions, collect `replies`; both from one thread. `spent` is told the tokens of each answer there."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random,
        spent: Callable[[JudgeQuestion, int, int], None] = lambda question, prompt, completion: None,
    ) -> None:  # fmt: skip
        self._spent = spent
        self._clock = clock
        self._jitter = jitter
        self._judges: dict[tuple[str, str], _Judge] = {}
        self._clients: dict[tuple[Upstream, Replica], httpx.Client] = {}
        self._asked: queue.SimpleQueue[JudgeQuestion | None] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[tuple[JudgeQuestion, _Said | _Failed]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def room(self, upstream: str, model: str) -> int:
        """How many more questions this judge may be asked now; not above 0 while it rests."""
        one = self._judges.setdefault((upstream, model), _Judge())
        if self._clock() < one.rest_until:
            return 0
        return (1 if one.failures else AT_ONCE) - one.under_way

    def offer(self, question: JudgeQuestion) -> None:
        """Ask it as soon as a thread is free."""
        self._judges.setdefault((question.upstream.name, question.model), _Judge()).under_way += 1
        while len(self._threads) < AT_ONCE:
            self._threads.append(threading.Thread(target=self._run, name="judge", daemon=True))
            self._threads[-1].start()
        self._asked.put(question)

    def replies(self) -> list[JudgeReply]:
        """What has come since the last call."""
        found: list[JudgeReply] = []
        while True:
            try:
                question, came = self._answered.get_nowait()
            except queue.Empty:
                return found
            found.append(self._reply(question, came))

    def close(self) -> None:
        """Ask nothing more, and break off what is under way."""
        for _ in self._threads:
            self._asked.put(None)
        for client in list(self._clients.values()):
            client.close()

    def _reply(self, question: JudgeQuestion, came: _Said | _Failed) -> JudgeReply:
        one = self._judges[question.upstream.name, question.model]
        one.under_way -= 1
        if isinstance(came, _Said):
            one.failures = 0
            self._spent(question, came.prompt_tokens, came.completion_tokens)
            return JudgeReply(question.key, came.text)
        if came.status in REFUSED:
            return JudgeReply(question.key, None, came.cause)
        now, rest_s = self._clock(), 0.0
        if now >= one.rest_until:  # one failure: what was under way together fails together
            one.failures += 1
            rest_s = min(LONGEST_REST_S, REST_S * 2.0 ** min(one.failures - 1, 16)) * (0.5 + self._jitter())
        one.rest_until = max(one.rest_until, now + max(rest_s, came.retry_after_s))
        return JudgeReply(question.key, None, came.cause, final=False)

    def _run(self) -> None:
        while (question := self._asked.get()) is not None:
            try:
                came: _Said | _Failed = self._answer(question)
            except _Failed as failed:
                came = failed
            except Exception as error:  # a thread that ended would never ask again
                came = _Failed(type(error).__name__)
            self._answered.put((question, came))

    def _answer(self, question: JudgeQuestion) -> _Said:
        upstream = question.upstream
        replica = upstream.replicas[question.key[0] % len(upstream.replicas)]
        headers = {"content-type": "application/json"}
        # Nothing but what every server takes: some models refuse a temperature, others a limit by its old name.
        body = orjson.dumps({"model": question.model, "messages": question.messages})
        until, content = time.monotonic() + TOTAL_S, bytearray()
        url = f"{replica.url}/chat/completions"
        with self._client(upstream, replica).stream("POST", url, content=body, headers=headers) as answer:
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > LONGEST_ANSWER:
                    raise _Failed("too_long")
                if time.monotonic() > until:
                    raise _Failed("timeout")
            if not answer.is_success:
                raise _Failed(f"http_{answer.status_code}", answer.status_code, _retry_after_s(answer))
        return _said(bytes(content))

    def _client(self, upstream: Upstream, replica: Replica) -> httpx.Client:
        client = self._clients.get((upstream, replica))
        if client is None:
            client = connection.client(upstream, replica, httpx.Timeout(TOTAL_S, connect=CONNECT_S))
            self._clients[upstream, replica] = client
        return client


def _said(content: bytes) -> _Said:
    """What the judge said; an answer without words is one that cannot be read."""
    try:
        whole = orjson.loads(content)
        text = whole["choices"][0]["message"].get("content")
        told = usage.told(whole.get("usage"))
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        raise _Failed("malformed") from None
    prompt, completion = (0, 0) if told is None else (told.prompt, told.completion)
    return _Said(text if isinstance(text, str) else "", prompt, completion)


def _retry_after_s(answer: httpx.Response) -> float:
    return min(retry_after.seconds(answer.headers.get("retry-after"), time.time()) or 0.0, LONGEST_REST_S)
