"""The client's connection by itself: any chunking gives the same requests, and what happens when nothing happens."""

import asyncio
import gc
import gzip
import itertools
import re
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.http import server
from graduand.gateway.dataplane.http.bodies import Held
from graduand.gateway.dataplane.http.outbox import Outbox
from graduand.gateway.dataplane.http.server import (
    IDLE_TIMEOUT_S,
    MAX_PIPELINED,
    MAX_URL_BYTES,
    READ_TIMEOUT_S,
    STALLED_CLIENT_S,
    ClientConnection,
    Request,
)


class Loop(asyncio.AbstractEventLoop):
    """A clock that is set by hand; what is scheduled runs at `turn`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.scheduled: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Any, *arguments: Any) -> None:
        self.scheduled.append((call, arguments))

    def call_later(self, delay_s: float, call: Any, *arguments: Any) -> None:
        pass

    def turn(self) -> None:
        while self.scheduled:
            call, arguments = self.scheduled.pop(0)
            call(*arguments)


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None:
        pass


class Talk:
    """One connection; `answers` says whether requests are answered at once."""

    def __init__(self, answers: bool = True, held: Held | None = None, lets_in: bool = True) -> None:
        self.loop, self.transport = Loop(), Transport()
        self.requests: list[Request] = []
        self.answers = answers
        self.held = held or Held()
        self.connections: set[ClientConnection] = set()
        self.connection = ClientConnection(
            self.handle, self.connections, Outbox(self.loop), self.held, lambda *_: lets_in
        )
        self.connection.connection_made(self.transport)

    def handle(self, connection: ClientConnection, request: Request) -> None:
        self.requests.append(request)
        if self.answers:
            connection.respond(200, b"", b"ok")

    def receive(self, data: bytes) -> None:
        self.connection.data_received(data)
        self.loop.turn()

    def wait(self, seconds: float, longest_s: float = 900.0) -> None:
        """Let time pass as the worker does: a look once a second."""
        for _ in range(int(seconds)):
            self.loop.now += 1
            self.connection.expire(self.loop.now, longest_s)


POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /b?x=1 HTTP/1.1\r\nhost: x\r\nX-One:  two \r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n"
)
GET = b"GET /c HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n"
OFFER = b"POST /d HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n\r\nabc"


def undated(talk: Talk) -> bytes:
    """What was written, without the second in which it was."""
    return re.sub(rb"\r\ndate: [^\r]*", b"", talk.transport.written)


def seen(requests: list[Request]) -> list[tuple[bytes, bytes, bytes]]:
    return [(one.method, one.path, one.body) for one in requests]


@given(
    st.lists(st.sampled_from([POST, CHUNKED, GET, OFFER]), min_size=1, max_size=4),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_any_chunking_gives_the_same_requests(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    whole = Talk()
    whole.receive(data)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    talk = Talk()
    for start, end in itertools.pairwise(places):
        talk.receive(data[start:end])
    wanted = {POST: (b"POST", b"/a", b"abc"), CHUNKED: (b"POST", b"/b?x=1", b"abc"), GET: (b"GET", b"/c", b""),
              OFFER: (b"POST", b"/d", b"abc")}  # fmt: skip
    assert seen(talk.requests) == seen(whole.requests) == [wanted[part] for part in parts]
    assert undated(talk) == undated(whole)
    assert not talk.transport.closed


@given(st.binary(max_size=80), st.integers(1, 7))
def test_any_bytes_are_answered_or_awaited(data: bytes, size: int) -> None:
    talk = Talk()
    for at in range(0, len(data), size):
        talk.receive(data[at : at + size])
    assert talk.transport.written == b"" or talk.transport.written.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://host/v1/models", b"/v1/models"), (b"HTTPS://host:8080/v1/models?a=b", b"/v1/models?a=b"),
        (b"http://host", b"/"), (b"http://host?a=/b", b"/?a=/b"), (b"http://u@[::1]:1/a//b?", b"/a//b?"),
    ],
)  # fmt: skip
def test_targets_in_absolute_form(target: bytes, path: bytes) -> None:
    talk = Talk()
    talk.receive(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % target)
    assert [one.path for one in talk.requests] == [path]


def test_a_client_that_has_only_stopped_writing() -> None:
    talk = Talk(answers=False)
    assert not talk.connection.eof_received()  # nothing was asked
    talk.receive(POST + POST)
    assert talk.connection.eof_received()
    talk.loop.turn()
    assert talk.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    talk.connection.respond(200, b"", b"one")
    assert not talk.transport.closed
    talk.loop.turn()
    talk.connection.start_stream(b"")
    talk.connection.write(b"data: x\n\n")
    talk.connection.end_stream(b"data: [DONE]\n\n")
    assert b"connection: close" in talk.transport.written
    assert talk.transport.closed


def test_the_last_of_repeated_headers_counts() -> None:
    talk = Talk()
    talk.receive(b"GET / HTTP/1.1\r\nhost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert talk.requests[0].headers == {b"host": b"x", b"x-a": b"2"}


@pytest.mark.parametrize("name", sorted(server.SINGLE))
def test_what_may_stand_once_only_is_refused_twice(name: bytes) -> None:
    talk = Talk()
    value = b"3" if name == b"content-length" else b"x"
    line = b"%b: %b\r\n" % (name, value)
    talk.receive(b"POST /a HTTP/1.1\r\n%b%b%b\r\nabc" % (line, line, b"" if name == b"host" else b"host: x\r\n"))
    assert talk.transport.written.startswith(b"HTTP/1.1 400 ")
    assert not talk.requests


@pytest.mark.parametrize(
    ("version", "lines", "taken"),
    [
        (b"1.1", b"", False),
        (b"1.0", b"", True),
        (b"1.1", b"host: a\r\nhost: a\r\n", False),
        (b"1.1", b"host: a@b\r\n", False),
        (b"1.1", b"host: a/b\r\n", False),
        (b"1.1", b"host: a b\r\n", False),
        (b"1.1", b"host: a:b\r\n", False),
        (b"1.1", b"host: a:8080\r\n", True),
        (b"1.1", b"host: [::1]:8080\r\n", True),
        (b"1.1", b"host: xn--bcher-kva.example\r\n", True),
        (b"1.1", b"host:\r\n", True),
    ],
)
def test_host(version: bytes, lines: bytes, taken: bool) -> None:
    talk = Talk()
    talk.receive(b"GET /a HTTP/%b\r\n%b\r\n" % (version, lines))
    assert bool(talk.requests) is taken
    assert talk.transport.written.startswith(b"HTTP/1.1 200 " if taken else b"HTTP/1.1 400 ")


def test_trailers_never_become_headers() -> None:
    talk = Talk()
    body = b"3\r\nabc\r\n0\r\nauthorization: Bearer secret\r\nx-user: eve\r\n\r\n"
    talk.receive(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + body)
    [request] = talk.requests
    assert request.body == b"abc"
    assert request.headers == {b"host": b"x", b"transfer-encoding": b"chunked"}


@pytest.mark.parametrize(("version", "asked"), [(b"1.1", True), (b"1.0", False)])
def test_only_those_who_know_it_are_asked_to_continue(version: bytes, asked: bool) -> None:
    talk = Talk()
    talk.receive(b"POST /a HTTP/%b\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n" % version)
    assert (b" 100 " in talk.transport.written) is asked
    talk.receive(b"abc")
    assert talk.requests[0].body == b"abc"


def test_an_unknown_expectation_is_refused() -> None:
    talk = Talk()
    talk.receive(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: a-pony\r\ncontent-length: 3\r\n\r\n")
    assert talk.transport.written.startswith(b"HTTP/1.1 417 ")


def test_connect_is_answered_once() -> None:
    talk = Talk()
    talk.receive(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n")
    assert talk.transport.written.count(b"HTTP/1.1 ") == 1
    assert b"HTTP/1.1 405 " in talk.transport.written
    assert b"allow: " in talk.transport.written


@pytest.mark.parametrize("status", [*range(400, 600), 529, 520, 530, 498])
def test_every_status_has_a_line(status: int) -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    talk.connection.respond(status, b"", b"x")
    assert talk.transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\ndate: " in talk.transport.written


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"identity", b"GZIP"])
def test_encoded_bodies_are_read(encoding: bytes) -> None:
    plain = b'{"a": "%b"}' % (b"b" * 5000)
    sent = {b"gzip": gzip.compress, b"deflate": zlib.compress}.get(encoding.lower(), bytes)(plain)
    talk = Talk()
    head = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    talk.receive(head % (encoding, len(sent)) + sent)
    assert talk.requests[0].body == plain
    assert talk.held.bytes == 0


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        (b"gzip", b"no gzip at all", 400),
        (b"gzip", gzip.compress(b"cut short", mtime=0)[:-9], 400),
        (b"gzip", gzip.compress(bytes(5000), mtime=0), 413),
        (b"zstd", b"x", 415),
        (b"br", b"x", 415),
        (b"gzip, gzip", b"x", 415),
    ],
)
def test_encoded_bodies_that_cannot_be_read(encoding: bytes, body: bytes, status: int) -> None:
    talk = Talk(held=Held(most_each=1000))
    head = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    talk.receive(head % (encoding, len(body)) + body)
    assert talk.transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert not talk.requests
    assert talk.held.bytes == 0


def test_a_body_in_tiny_chunks_is_refused() -> None:
    talk = Talk()
    talk.receive(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 3000)
    assert talk.transport.written.startswith(b"HTTP/1.1 400 ")


def test_what_bodies_hold_is_bounded_and_given_back() -> None:
    held = Held(most_each=100_000, most=150_000)
    first, second = Talk(held=held), Talk(held=held)
    head = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    first.receive(head)
    second.receive(head)
    assert second.transport.written.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in second.transport.written
    first.receive(b"x" * 100_000)
    assert first.requests[0].body == b"x" * 100_000
    assert held.bytes == 0
    third = Talk(held=held)
    third.receive(head + b"x" * 50_000)
    assert held.bytes == 100_000
    third.connection.connection_lost(None)
    assert held.bytes == 0


def test_the_longest_body_can_be_changed_while_connections_are_open() -> None:
    talk = Talk(held=Held(most_each=3, most=5))
    talk.receive(POST)
    talk.held.accept(2)
    talk.receive(POST)
    assert len(talk.requests) == 1
    assert talk.transport.written.count(b"HTTP/1.1 413 ") == 1
    talk.held.accept(300)
    assert talk.held.most == 300
    talk.held.accept(3)
    assert talk.held.most == 5


def test_a_closed_connection_is_freed_without_the_collector() -> None:
    talk = Talk()
    talk.receive(POST)
    talk.requests.clear()
    connection, talk.connection = talk.connection, None  # type: ignore[assignment]
    gc.collect()
    gc.disable()
    try:
        before = _connections()
        connection.connection_lost(None)
        del connection
        assert _connections() == before - 1
    finally:
        gc.enable()


def _connections() -> int:
    return sum(type(one) is ClientConnection for one in gc.get_objects())


def test_whoever_has_no_key_is_answered_before_a_long_body() -> None:
    talk = Talk(lets_in=False)
    talk.receive(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 100000\r\n\r\n")
    assert [one.body for one in talk.requests] == [b""]
    assert b" 100 " not in talk.transport.written
    assert b"connection: close" in talk.transport.written
    talk.receive(b"x" * 100_000 + POST)
    assert len(talk.requests) == 1
    assert talk.held.bytes == 0


def test_a_request_that_nobody_answers_is_closed_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    talk.wait(60 + server.OPEN_MARGIN_S - 2, longest_s=60)
    assert not talk.transport.closed
    talk.wait(4, longest_s=60)
    assert talk.transport.aborted
    assert "nobody answered" in caplog.text


def test_a_handler_that_fails_closes_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk()

    def fail(connection: ClientConnection, request: Request) -> None:
        raise RuntimeError("planted")

    talk.connection._handler = fail
    talk.receive(POST)
    assert talk.transport.aborted
    assert "planted" in caplog.text


def test_a_request_that_does_not_arrive() -> None:
    talk = Talk()
    talk.receive(POST[:20])
    for _ in range(int(READ_TIMEOUT_S)):
        talk.wait(1)
        talk.receive(b"x: y\r\n"[:1])  # a byte a second does not help
    talk.wait(2)
    assert talk.transport.written.startswith(b"HTTP/1.1 408 ")
    assert not talk.requests


def test_a_request_is_timed_from_its_own_beginning() -> None:
    talk = Talk()
    talk.receive(GET)
    talk.wait(IDLE_TIMEOUT_S - 2)
    talk.receive(POST[:20])
    talk.wait(READ_TIMEOUT_S - 2)
    talk.receive(POST[20:])
    assert len(talk.requests) == 2
    assert b" 408 " not in talk.transport.written
    assert not talk.transport.closed


def test_slow_requests_one_after_the_other_are_each_in_time() -> None:
    talk = Talk()
    for _ in range(5):
        talk.receive(POST[:20])
        talk.wait(READ_TIMEOUT_S - 3)
        talk.receive(POST[20:])
    assert len(talk.requests) == 5
    assert b" 408 " not in talk.transport.written


@pytest.mark.parametrize("before", [b"", GET])
def test_an_idle_connection_is_closed_without_a_word(before: bytes) -> None:
    """A 408 would be read as the answer to the next request."""
    talk = Talk()
    talk.receive(before)
    said = talk.transport.written
    talk.wait(IDLE_TIMEOUT_S + 2)
    assert talk.transport.closed
    assert talk.transport.written == said


def test_a_connection_that_is_being_answered_is_left_alone() -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    talk.wait(500)
    assert not talk.transport.closed
    assert talk.transport.written == b""


def test_a_client_that_reads_nothing_is_given_up() -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    talk.connection.pause_writing()
    talk.wait(STALLED_CLIENT_S - 2)
    assert not talk.transport.aborted
    talk.wait(4)
    assert talk.transport.aborted


def test_a_slow_client_that_goes_on_reading_is_not_given_up() -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    for _ in range(5):
        talk.connection.pause_writing()
        talk.wait(STALLED_CLIENT_S - 2)
        talk.connection.resume_writing()
    talk.wait(STALLED_CLIENT_S)
    assert not talk.transport.aborted


def test_too_many_waiting_requests() -> None:
    talk = Talk(answers=False)
    talk.receive(GET * (MAX_PIPELINED + 5))
    assert len(talk.requests) == 1
    assert len(talk.connection._waiting) <= MAX_PIPELINED
    talk.connection.respond(200, b"", b"ok")
    assert b"connection: close" in talk.transport.written
    assert talk.transport.closed


def test_the_exchange_is_told_that_its_client_left() -> None:
    talk, gone = Talk(answers=False), []

    class Ongoing:
        def client_gone(self) -> None:
            gone.append(True)

    talk.receive(POST)
    talk.connection.ongoing = Ongoing()
    talk.connection.connection_lost(None)
    assert gone == [True]
    assert talk.connections == set()


def test_the_last_answer_says_so() -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    for _ in range(9):
        talk.connection.answer_once_more()
        talk.connection.close_if_quiet(2)
    assert not talk.transport.closed
    talk.connection.respond(200, b"", b"ok")
    assert b"connection: close" in talk.transport.written
    assert talk.transport.closed


def test_a_quiet_connection_is_closed_and_one_with_a_request_on_its_way_is_not() -> None:
    talk = Talk()
    talk.receive(POST)
    talk.connection.answer_once_more()
    talk.loop.now += 9  # the process stood still, and the client's request is yet to be read
    talk.connection.close_if_quiet(2)
    assert not talk.transport.closed
    talk.receive(POST[:10])
    for _ in range(9):
        talk.connection.answer_once_more()
        talk.connection.close_if_quiet(2)
    assert not talk.transport.closed
    talk.receive(POST[10:])
    assert len(talk.requests) == 2
    assert b"connection: close" in talk.transport.written
    assert talk.transport.closed
    quiet = Talk()
    for _ in range(2):
        quiet.connection.answer_once_more()
    quiet.connection.close_if_quiet(2)
    assert quiet.transport.closed


@pytest.mark.parametrize(("limit", "status"), [("MAX_URL_BYTES", 414), ("MAX_HEADER_BYTES", 431), ("", 413)])
def test_limits(limit: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if limit:
        monkeypatch.setattr(server, limit, 10)
    talk = Talk(held=None if limit else Held(most_each=10))
    head = b"POST /abcdefghijk HTTP/1.1\r\nhost: x\r\nx-a: bcdefghijk\r\ntransfer-encoding: chunked\r\n\r\n"
    for byte in head + b"b\r\nabcdefghijk\r\n":
        talk.receive(bytes([byte]))
    assert talk.transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert talk.transport.written.count(b"HTTP/1.1") == 1
    assert not talk.requests


def test_a_client_that_asks_and_stops_writing_in_one_breath_gets_its_answer() -> None:
    talk = Talk()
    talk.connection.data_received(POST + POST)
    assert not talk.connection.eof_received()  # which closes the connection at once
    assert talk.transport.written.count(b"ok") == 2


def test_a_refused_request_is_not_asked_for_its_body() -> None:
    talk = Talk()
    talk.receive(b"GET /" + b"x" * MAX_URL_BYTES + b" HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
    assert talk.transport.written.startswith(b"HTTP/1.1 414 ")
    assert b" 100 " not in talk.transport.written


def test_streams_are_framed() -> None:
    talk = Talk(answers=False)
    talk.receive(POST)
    talk.connection.start_stream(b"x-a: b\r\n")
    talk.connection.write(b"data: x\n\n")
    talk.connection.end_stream(b"data: [DONE]\n\n")
    talk.loop.turn()
    head, _, body = talk.transport.written.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"9\r\ndata: x\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    assert not talk.transport.closed


# Every way in which a body can begin, be refused, or stay away.
TALKS = [
    POST, CHUNKED, GET, OFFER,
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + b"x" * 99_000,
    b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 20000\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n40000\r\n" + b"x" * 0x30000,
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2500,
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcdeX",
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: 300\r\n\r\n"
    + gzip.compress(bytes(9000)).ljust(300),
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
    % (len(gzip.compress(bytes(9000))), gzip.compress(bytes(9000))),
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-encoding: br\r\ncontent-length: 3\r\n\r\nabc",
    b"\x00",
]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(TALKS), st.lists(st.integers(0, 110_000), max_size=4)), min_size=1, max_size=5),
    st.booleans(), st.booleans(), st.sampled_from([100_000, 250_000, 1_000_000]),
    st.sampled_from(["lost", "half", "refused late", "answered late"]),
)  # fmt: skip
def test_nothing_is_held_once_a_connection_has_closed(
    parts: list[tuple[bytes, list[int]]], answers: bool, lets_in: bool, most: int, end: str
) -> None:
    talk = Talk(answers, Held(most_each=250_000, most=most), lets_in)
    for data, cuts in parts:
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, stop in itertools.pairwise(places):
            talk.receive(data[start:stop])
            assert 0 <= talk.held.bytes <= max(most, 250_000) + 250_000
    if end == "half":
        talk.connection.eof_received()
    elif end == "refused late":
        talk.wait(READ_TIMEOUT_S + 2)
    elif end == "answered late" and not answers and talk.requests:
        talk.connection.respond(200, b"", b"ok")
    talk.connection.connection_lost(None)
    assert talk.held.bytes == 0
    talk.receive(POST)
    assert talk.held.bytes == 0
