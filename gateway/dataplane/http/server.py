"""HTTP/1.1 towards clients, on a bare asyncio protocol.

Parses requests strictly (llhttp refuses smuggled lengths), bounds everything that a client controls, answers in order
on one connection, and tells the exchange when the client has gone. Knows nothing of routes or models.
"""

import asyncio
import select
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import httptools

from graduand.gateway.dataplane.http.fiber import Signal
from graduand.gateway.dataplane.http.outbox import Outbox, Outlet
from graduand.gateway.model.openai import error_body

MAX_BODY_BYTES = 10 << 20
MAX_HEADER_BYTES = 64 << 10
MAX_URL_BYTES = 8 << 10
MAX_PIPELINED = 16
READ_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 75.0
STALLED_CLIENT_S = 60.0
HALF_CLOSED_LOOK_S = 0.02

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
JSON = b"content-type: application/json\r\n"


@dataclass(slots=True)
class Request:
    """One parsed request: `headers` has lower-case names; of a repeated header the last value counts."""

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    chunked: bool = True  # whether the client knows chunks: HTTP/1.0 does not


class Ongoing(Protocol):
    """What the connection must tell whoever is answering on it."""

    def client_gone(self) -> None:
        """The client has closed the connection; stop working for it."""


Handler = Callable[["ClientConnection", Request], None]


class ClientConnection(asyncio.Protocol):
    """One client's connection. The handler answers with `respond`, or `start_stream`, `write` and `end_stream`."""

    __slots__ = (
        "_arriving", "_body", "_closing", "_connections", "_due", "_handler", "_header_bytes", "_headers", "_loop", "_outbox",
        "_parser", "_quiet_looks", "_refused", "_request", "_streaming",
        "_url", "_waiting", "authorized", "deadline", "drained", "ongoing", "paused",
        "transport",
    )  # fmt: skip

    def __init__(self, handler: Handler, connections: set["ClientConnection"], outbox: Outbox) -> None:
        self._handler = handler
        self._connections = connections
        self._outbox = outbox
        self._loop = loop = outbox.loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._request: Request | None = None
        self._refused = False
        self._closing = False
        self._streaming = False
        self.ongoing: Ongoing | None = None
        self.authorized: tuple[bytes, int] | None = None
        self.paused = False
        self.drained = Signal()
        self._quiet_looks = 0
        self.deadline = loop.time() + READ_TIMEOUT_S
        self.transport: Outlet
        self.on_message_begin()
        self._arriving = False
        # When a request that is arriving must be there; set by the sweep that first sees it, which costs requests nothing.
        self._due = 0.0

    # The asyncio side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = Outlet(transport, self._outbox)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(400, f"the request is not valid HTTP/1.1: {error.__context__ or error}")

    def eof_received(self) -> bool:
        """The client will send no more. It still gets what it asked for - if it is there to read it.

        A client that has closed its socket says the same thing as one that has closed its writing side only. What tells
        them apart is that the first one's system answers what is written to it with a reset: so something is written
        that every reader skips, an interim answer or a comment between events.
        """
        self.transport.flush()  # to say no below closes the connection at once
        request = self._request
        if request is None or (not request.chunked and not self._streaming):
            return False
        self._closing = True
        if self._streaming:
            self.write(b":\n\n")
        else:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._loop.call_later(HALF_CLOSED_LOOK_S, self._look_for_reset)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        if self.ongoing is not None:
            self.ongoing.client_gone()

    def pause_writing(self) -> None:
        self.paused = True
        self.deadline = self._loop.time() + STALLED_CLIENT_S

    def resume_writing(self) -> None:
        self.paused = False
        self.drained.wake()

    # The parser's side.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._arriving = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_URL_BYTES:
            self._refuse(414, f"the URL is longer than {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, f"the headers are longer than {MAX_HEADER_BYTES} bytes")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        headers = self._headers
        if b"upgrade" in headers and self._parser.should_upgrade():
            return  # comes again, by `_decline`
        if self._refused:
            return
        length = headers.get(b"content-length")
        self._header_bytes = 0  # from here on it counts the body
        if length is not None and int(length) > MAX_BODY_BYTES:
            self._refuse(413, f"the body has {int(length)} bytes; at most {MAX_BODY_BYTES} are accepted")
        elif headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self._refused:
            return
        self._header_bytes += len(data)
        if self._header_bytes > MAX_BODY_BYTES:
            self._refuse(413, f"the body is longer than the {MAX_BODY_BYTES} bytes that are accepted")
        self._body.append(data)

    def on_message_complete(self) -> None:
        parser, body = self._parser, self._body
        self._arriving, self._due = False, 0.0
        if self._refused or (b"upgrade" in self._headers and parser.should_upgrade()):
            return
        url = self._url
        request = Request(
            parser.get_method(),
            url if url.startswith(b"/") else _path_of(url),
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            parser.should_keep_alive() and not self._closing,
        )
        if (not request.keep_alive or b"connection" in self._headers) and parser.get_http_version() == "1.0":
            request.chunked = request.keep_alive = False
        if self._request is None:
            self._begin(request)
            return
        self._waiting.append(request)
        if len(self._waiting) > MAX_PIPELINED:
            self._refuse(429, f"more than {MAX_PIPELINED} requests wait on this connection")

    # The handler's side.

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer; `headers` are encoded lines, each ending in CRLF."""
        close = b"" if self._keeps_open() else b"connection: close\r\n"
        length = len(body)
        if self._request is not None and self._request.method == b"HEAD":
            body = b""
        self.transport.write(
            b"%b%b%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINES[status], headers, close, length, body)
        )
        self._finished()

    def start_stream(self, headers: bytes) -> None:
        """Send the head of a chunked event stream."""
        close = b"" if self._keeps_open() else b"connection: close\r\n"
        self._streaming = True
        self.transport.write(
            b"HTTP/1.1 200 OK\r\n%b%bcontent-type: text/event-stream\r\ncache-control: no-cache\r\n%b\r\n"
            % (headers, close, b"transfer-encoding: chunked\r\n" if self._chunked else b"")
        )

    def write(self, data: bytes) -> None:
        """Send a piece of the stream."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end_stream(self, last: bytes) -> None:
        """Send the `last` piece of the stream, and that it is complete."""
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if self._chunked else last)
        self._finished()

    def break_stream(self, last: bytes) -> None:
        """Send the `last` piece of a broken stream: without the last chunk, so that no reader takes it for complete."""
        self.write(last)
        self.ongoing = None
        self.transport.close()

    def answer_once_more(self) -> None:
        """Tell the client with the next answer that it was the connection's last; called again and again in a drain."""
        self._closing = True
        self._quiet_looks = self._quiet_looks + 1 if self._request is None and not self._arriving else 0

    def close_if_quiet(self, looks: int) -> None:
        """Close the connection if nothing was being answered on it, or arriving, at the last `looks` looks.

        Looks are counted, and not time: while this process gets none, requests arrive that it has yet to see.
        """
        if self._quiet_looks >= looks:
            self.transport.close()

    def expire(self, now: float) -> None:
        """Close the connection if its deadline has passed and the fault is the client's."""
        if self.paused:
            if now >= self.deadline:
                self.transport.abort()
        elif self._request is not None:
            return
        elif self._arriving and not self._refused:
            self._due = self._due or now + READ_TIMEOUT_S
            if now >= self._due:
                self._refuse(408, f"the request did not arrive within {READ_TIMEOUT_S:.0f} s")
        elif now >= self.deadline:
            self.transport.close()

    def _look_for_reset(self) -> None:
        """Give the request of a half-closed client up once it turns out to be closed whole; a reset wakes nobody."""
        if self._request is None or self.transport.is_closing():
            return
        if _was_reset(self.transport):
            self.transport.abort()
        else:
            self._loop.call_later(HALF_CLOSED_LOOK_S, self._look_for_reset)

    def _decline(self, rest: bytes) -> None:
        """Stay with HTTP/1.1 when another protocol is offered, as Java's client does with every request.

        The parser has given the body up as the other protocol's: the request is read again without the offer.
        """
        method, headers = self._parser.get_method(), self._headers
        if method == b"CONNECT":
            self._refuse(405, "this is no proxy: CONNECT is not supported")
            return
        headers.pop(b"upgrade", None)
        headers[b"connection"] = b"close" if b"close" in headers.get(b"connection", b"").lower() else b"keep-alive"
        lines = b"".join(b"%b: %b\r\n" % line for line in headers.items())
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self._url, lines, rest))

    def _begin(self, request: Request) -> None:
        if not self.transport.is_closing():
            self._request = request
            self._handler(self, request)

    @property
    def _chunked(self) -> bool:
        return self._request is None or self._request.chunked

    def _keeps_open(self) -> bool:
        return not self._closing and self._request is not None and self._request.keep_alive

    def _finished(self) -> None:
        self.ongoing = None
        self._streaming = False
        keeps_open = self._keeps_open() or (self._closing and bool(self._waiting))
        self._request = None
        self.deadline = self._loop.time() + IDLE_TIMEOUT_S
        if not keeps_open:
            self.transport.close()
        elif self._waiting:
            # Scheduled, not called: a long pipeline must not grow the stack.
            self._request = self._waiting.popleft()
            self._loop.call_soon(self._begin, self._request)

    def _refuse(self, status: int, message: str) -> None:
        if self._refused:
            return
        self._refused = True
        self.deadline = self._loop.time() + READ_TIMEOUT_S
        if self._request is not None:
            # An answer to an earlier request is under way; what follows it cannot be answered in order any more.
            self._closing = True
            self._waiting.clear()
            return
        body = error_body(message, "invalid_request_error", code="request_refused")
        self.transport.write(
            b"%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (STATUS_LINES[status], JSON, len(body), body)
        )
        # Closing at once would reset the connection while the client still sends, and it would never read the reason:
        # what still arrives is thrown away, for a bounded time.
        self.transport.write_eof()
        self._loop.call_later(2.0, self.transport.close)


def _path_of(url: bytes) -> bytes:
    """The path and query of a target in absolute form (RFC 9112, 3.2.2), as clients write it that take us for a proxy."""
    scheme, mark, rest = url.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return url
    authority, _, query = rest.partition(b"?")
    path = authority.partition(b"/")[2]
    return b"/%b?%b" % (path, query) if b"?" in rest else b"/" + path


def _was_reset(transport: Outlet) -> bool:
    connection = transport.socket()
    if connection is None or connection.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), 0)  # errors and hang-ups are told without being asked for
    return bool(poll.poll(0))
