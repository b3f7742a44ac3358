"""The upstream's connection by itself: any chunking of an answer gives the same result, and nonsense is a failure."""

import asyncio
import gzip
import itertools
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.client import MAX_ANSWER_BYTES, MAX_HEADER_BYTES, Call, Connection, Pool
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Fiber
from graduand.gateway.dataplane.http.outbox import Outbox
from graduand.gateway.model.routes import Replica
from tests.gateway.dataplane.http.test_server import Loop, Transport

JSON = b'{"choices":[{"x":"\xe4\xbd\xa0"}]}'
STREAM = b'data: {"a":1}\n\n: c\n\ndata: [DONE]\n\n'


class UpstreamTransport(Transport):
    """Can also be paused."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Asked:
    """One call on a connection, read by a fiber as an exchange reads it."""

    def __init__(self, *, streamed: bool = False, reads: bool = True, stop_s: float = 100) -> None:
        self.loop, self.transport = Loop(), UpstreamTransport()
        self.pool = Pool(Replica("http", "h", 80, ""), None, Outbox(self.loop))
        self.connection = Connection(self.pool)
        self.connection.connection_made(self.transport)
        self.active: set[Call] = set()
        self.body = b""
        self.status = 0
        self.failed: BaseException | None = None
        self.done = False
        self.ask(streamed, reads, stop_s)

    def ask(self, streamed: bool, reads: bool, stop_s: float = 100) -> None:
        now = self.loop.now
        self.call = Call(
            self.connection, stream=streamed, first_at=now + 10, first_s=10, idle_s=5, stop_at=now + stop_s,
            last_at=now + 100, active=self.active, loop=self.loop,
        )  # fmt: skip
        self.call.send(b"request")

        async def read() -> None:
            self.status = await self.call.head()
            if not streamed:
                self.body = await self.call.body()
            while streamed and (piece := await self.call.read()):
                self.body += piece
            self.done = True

        if reads:
            Fiber(read(), self.fail).resume()

    def fail(self, error: BaseException) -> None:
        self.failed = error

    @property
    def cause(self) -> str | None:
        if self.failed is None:
            return None
        assert isinstance(self.failed, UpstreamFailed), self.failed
        return self.failed.failure.cause

    def receive(self, data: bytes) -> None:
        if not self.transport.closed:
            self.connection.data_received(data)

    def lose(self, error: Exception | None = None) -> None:
        if not self.transport.aborted:
            self.connection.connection_lost(error)


def head(*lines: bytes, status: int = 200) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines, b"", b""])


LENGTH = b"content-length: %d"
CHUNKS = b"5\r\n%b\r\n%x;ext=1\r\n%b\r\n0\r\n\r\n"
SSE = b"content-type: text/event-stream; charset=utf-8"
ANSWERS = [
    # bytes, streamed, status, body, whether the connection is kept
    (head(LENGTH % len(JSON)) + JSON, False, 200, JSON, True),
    (head(b"Transfer-Encoding: chunked") + CHUNKS % (JSON[:5], len(JSON) - 5, JSON[5:]), False, 200, JSON, True),
    (head(LENGTH % len(JSON), b"connection: close") + JSON, False, 200, JSON, False),
    (head(LENGTH % 0), False, 200, b"", True),
    (head(LENGTH % 4, status=503) + b"down", False, 503, b"down", True),
    (head(b"content-length: 3", status=100 + 3) + head(LENGTH % len(JSON)) + JSON, False, 200, JSON, True),
    (head(SSE, b"transfer-encoding: chunked") + CHUNKS % (STREAM[:5], len(STREAM) - 5, STREAM[5:]), True, 200, STREAM, True),
    (head(SSE, LENGTH % len(STREAM)) + STREAM, True, 200, STREAM, True),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_any_chunking_gives_the_same_answer(answer: Any, cuts: list[int]) -> None:
    data, streamed, status, body, kept = answer
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    asked = Asked(streamed=streamed)
    for start, end in itertools.pairwise(places):
        asked.receive(data[start:end])
    assert (asked.cause, asked.done, asked.status, asked.body) == (None, True, status, body)
    assert (asked.pool.parked == [asked.connection]) is kept
    assert asked.transport.closed is not kept
    assert asked.active == set()


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_beginning_of_an_answer_is_taken_for_it(answer: Any) -> None:
    data, streamed, *_ = answer
    for end in range(len(data)):
        asked = Asked(streamed=streamed)
        asked.receive(data[:end])
        assert not asked.done
        asked.lose()
        assert asked.cause == ("truncated" if asked.call.status else "reset")
        assert asked.pool.parked == []


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    asked = Asked()
    asked.receive(head() + JSON)
    assert not asked.done
    asked.lose()
    assert (asked.done, asked.body) == (True, JSON)
    reset = Asked()
    reset.receive(head() + JSON)
    reset.lose(ConnectionResetError())
    assert reset.cause == "truncated"


NONSENSE = [
    b"hello\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    head(b"content-length: 5", b"content-length: 6"),
    head(b"content-length: 5", b"transfer-encoding: chunked"),
    head(b"transfer-encoding: chunked") + b"zz\r\n",
    head(b"bad header"),
    head(b"x: a\0b"),
    head(b"x: " + b"a" * (MAX_HEADER_BYTES + 1)),
    head(b"content-encoding: br", LENGTH % 3) + b"abc",
    head(b"content-encoding: gzip", LENGTH % 3) + b"abc",
    head(b"connection: upgrade", b"upgrade: x", status=101),
    b"\x16\x03\x01\x02",
]


@pytest.mark.parametrize("data", NONSENSE)
def test_nonsense_is_malformed(data: bytes) -> None:
    asked = Asked()
    asked.receive(data)
    assert asked.cause == "malformed"
    assert asked.transport.aborted
    assert asked.pool.parked == []


@given(st.binary(max_size=120), st.integers(1, 9), st.booleans())
def test_any_bytes(data: bytes, size: int, streamed: bool) -> None:
    asked = Asked(streamed=streamed)
    for at in range(0, len(data), size):
        asked.receive(data[at : at + size])
    asked.lose()
    assert asked.done or asked.cause in ("malformed", "reset", "truncated")


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4), st.sampled_from(ANSWERS))
def test_any_fault_in_an_answer(at: int, noise: bytes, answer: Any) -> None:
    """A byte too many, anywhere: never an exception, and never two answers."""
    data, streamed, *_ = answer
    asked = Asked(streamed=streamed)
    asked.receive(data[:at] + noise + data[at:])
    asked.lose()
    assert asked.done or asked.cause in ("malformed", "reset", "truncated")


def test_an_answer_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graduand.gateway.dataplane.http.client.MAX_ANSWER_BYTES", 10)
    asked = Asked()
    asked.receive(head(LENGTH % 11) + b"x" * 11)
    assert asked.cause == "malformed"
    assert MAX_ANSWER_BYTES > 1 << 20


@pytest.mark.parametrize("streamed", [False, True])
def test_a_small_answer_does_not_inflate_without_bound(monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:
    monkeypatch.setattr("graduand.gateway.dataplane.http.client.MAX_ANSWER_BYTES", 1 << 20)
    bomb = gzip.compress(b"x" * (64 << 20))
    asked = Asked(streamed=streamed)
    tracemalloc.start()
    try:
        asked.receive(head(b"content-encoding: gzip", LENGTH % len(bomb)) + bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert asked.cause == "malformed"
    assert peak < 8 << 20


@pytest.mark.parametrize("length", [(1 << 20) - 1, 1 << 20])
def test_a_compressed_answer_of_the_greatest_length(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr("graduand.gateway.dataplane.http.client.MAX_ANSWER_BYTES", 1 << 20)
    packed = gzip.compress(b"x" * length)
    asked = Asked()
    asked.receive(head(b"content-encoding: gzip", LENGTH % len(packed)))
    for at in range(len(packed)):
        asked.receive(packed[at : at + 1])
    assert (asked.cause, len(asked.body)) == (None, length)


@pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 200 OK\r\n", head(LENGTH % 2) + b"no"])
@pytest.mark.parametrize("together", [True, False])
def test_what_nobody_asked_for_is_not_the_next_answer(more: bytes, together: bool) -> None:
    asked = Asked()
    good = head(LENGTH % len(JSON)) + JSON
    asked.receive(good + more if together else good)
    if not together:
        asked.receive(more)
    assert asked.body == JSON
    assert asked.transport.aborted  # the pool passes over connections that are closing


# Timeouts: `expire` is the sweep of the worker.


def test_the_first_byte_is_waited_for_until_its_time() -> None:
    asked = Asked()
    asked.call.expire(asked.loop.now + 9.9)
    assert asked.cause is None
    asked.call.expire(asked.loop.now + 10)
    assert asked.cause == "first_token_timeout"
    assert asked.transport.aborted


def test_silence_in_the_middle() -> None:
    asked = Asked()
    asked.receive(head(LENGTH % 9) + b"abc")
    asked.loop.now += 4
    asked.receive(b"d")
    asked.call.expire(asked.loop.now + 4.9)
    assert asked.cause is None
    asked.call.expire(asked.loop.now + 5)
    assert asked.cause == "idle_timeout"


def test_the_end_of_all_patience() -> None:
    asked = Asked()
    asked.receive(head(LENGTH % 999))
    for _ in range(49):
        asked.receive(b"x")
        asked.loop.now += 2
    asked.call.expire(asked.loop.now)
    assert asked.cause is None
    asked.loop.now += 2
    asked.receive(b"x")
    asked.call.expire(asked.loop.now)
    assert asked.cause == "total_timeout"
    assert asked.call.failure is not None
    assert not asked.call.failure.sick  # it was answering all the time


@pytest.mark.parametrize(("begun", "paused", "sick"), [(False, False, True), (True, True, False), (False, True, False)])
def test_only_silence_is_blamed_for_the_end_of_all_patience(begun: bool, paused: bool, sick: bool) -> None:
    asked = Asked(streamed=True, reads=False)
    asked.receive(head(SSE, LENGTH % 999))
    if begun:
        asked.receive(b"data: x\n\n")
        asked.call.began()
    if paused:
        asked.call.pause()
    asked.loop.now += 100
    asked.call.expire(asked.loop.now)
    assert asked.call.failure is not None
    assert (asked.call.failure.cause, asked.call.failure.sick) == ("total_timeout", sick)


def test_a_closed_pool_keeps_no_connection() -> None:
    asked = Asked()
    asked.pool.close()
    assert not asked.transport.closed
    asked.receive(head(LENGTH % len(JSON)) + JSON)
    assert (asked.body, asked.transport.closed, asked.pool.parked) == (JSON, True, [])


def test_a_stream_has_begun_when_its_reader_says_so() -> None:
    begun = Asked(streamed=True)
    begun.receive(head(SSE, LENGTH % 999) + b"data: x\n\n")
    begun.call.began()
    begun.call.expire(begun.loop.now + 4.9)
    assert begun.cause is None
    begun.call.expire(begun.loop.now + 5)
    assert begun.cause == "idle_timeout"


@pytest.mark.parametrize(("stop_s", "cause"), [(100, "total_timeout"), (50, "first_token_timeout")])
def test_comments_are_life_and_no_token(stop_s: float, cause: str) -> None:
    """Whoever sends them is waited for, but no longer than leaves another model its time."""
    asked = Asked(streamed=True, stop_s=stop_s)
    asked.receive(head(SSE, LENGTH % 9999))
    for _ in range(int(stop_s / 9)):
        asked.loop.now += 9
        asked.call.expire(asked.loop.now)
        assert asked.cause is None
        asked.receive(b": comment\n\n")
    asked.loop.now = 1000 + stop_s
    asked.call.expire(asked.loop.now - 0.1)
    assert asked.cause is None
    asked.call.expire(asked.loop.now)
    assert asked.cause == cause


def test_silence_after_comments() -> None:
    asked = Asked(streamed=True)
    asked.receive(head(SSE, LENGTH % 999))
    asked.loop.now += 9
    asked.receive(b": comment\n\n")
    asked.call.expire(asked.loop.now + 9.9)
    assert asked.cause is None
    asked.call.expire(asked.loop.now + 10)
    assert asked.cause == "first_token_timeout"


@pytest.mark.parametrize("freed", [False, True])
def test_an_answer_that_nobody_has_seen_leaves_another_model_its_time(freed: bool) -> None:
    asked = Asked(streamed=True, stop_s=50)
    asked.receive(head(SSE, LENGTH % 9999))
    asked.call.began()
    if freed:
        asked.call.take_all_time()
    while asked.cause is None:
        asked.receive(b"data: x\n\n")
        asked.loop.now += 4
        asked.call.expire(asked.loop.now)
    failure = asked.call.failure
    assert failure is not None
    assert (failure.cause, failure.fall_back, failure.sick) == (
        ("total_timeout" if freed else "overdue"),
        not freed,
        False,
    )
    assert asked.loop.now == 1000 + (100 if freed else 52)


def test_time_that_passed_while_the_process_stood_still_is_nobodys() -> None:
    asked = Asked(streamed=True)
    asked.receive(head(SSE, LENGTH % 999))
    asked.loop.now += 500
    asked.call.postpone(500)
    asked.call.expire(asked.loop.now + 9.9)
    assert asked.cause is None
    asked.call.began()
    asked.call.expire(asked.loop.now + 5)
    assert asked.cause == "idle_timeout"


def test_a_pause_is_not_the_upstreams_silence() -> None:
    asked = Asked(streamed=True, reads=False)
    asked.receive(head(SSE, LENGTH % 999) + b"data: x\n\n")
    asked.call.began()
    asked.call.pause()
    assert not asked.transport.reading
    asked.receive(b"data: was under way\n\n")
    asked.loop.now += 50
    asked.call.expire(asked.loop.now)
    assert asked.call.failure is None
    asked.call.pause()
    asked.call.resume()
    assert asked.transport.reading
    asked.call.expire(asked.loop.now + 5)
    assert asked.call.failure is failures.IDLE_TIMEOUT


def test_a_flood_is_paused_until_it_is_read() -> None:
    asked = Asked(streamed=True, reads=False)
    asked.receive(head(SSE, LENGTH % (1 << 30)))
    for _ in range(10):
        asked.receive(b"x" * (100 << 10))
    assert not asked.transport.reading


def test_lingering_is_bounded_whatever_arrives() -> None:
    asked = Asked(streamed=True)
    asked.receive(head(SSE, LENGTH % (1 << 20)) + b"data: [DONE]\n\n")
    asked.call.began()
    asked.call.linger()
    asked.loop.now += 0.9
    asked.receive(b": more\n\n")
    asked.call.expire(asked.loop.now)
    assert not asked.transport.aborted
    asked.loop.now += 0.2
    asked.call.expire(asked.loop.now)
    assert asked.transport.aborted


def test_giving_up_closes_the_connection() -> None:
    asked = Asked()
    asked.call.close()
    asked.call.close()
    assert asked.transport.aborted
    assert asked.active == set()
    asked.connection.connection_lost(None)
    assert failures.RESET.retry


def test_a_connection_that_is_closed_before_it_is_used_is_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream may close it while this process stands still; the request then goes elsewhere, or to the teacher."""
    causes: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        pool = Pool(Replica("http", "127.0.0.1", server.sockets[0].getsockname()[1], ""), None, Outbox(loop))
        connecting = loop.create_connection

        async def connected_and_lost(*arguments: Any, **more: Any) -> Any:
            transport, connection = await connecting(*arguments, **more)
            transport.abort()
            return transport, connection

        monkeypatch.setattr(loop, "create_connection", connected_and_lost)
        ended = asyncio.Event()

        async def connect() -> None:
            try:
                await pool.connect(20)
            except UpstreamFailed as error:
                causes.append(error.failure.cause)
            ended.set()

        Fiber(connect(), lambda _: ended.set()).resume()
        await ended.wait()
        server.close()

    asyncio.run(main())
    assert causes == ["reset"]
