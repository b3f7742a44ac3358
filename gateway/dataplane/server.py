"""HTTP/1.1 towards clients, on a bare asyncio protocol.

Parses requests strictly (llhttp refuses smuggled lengths), bounds everything that a client controls, answers in order
on one connection, and tells the exchange when the client has gone. Knows nothing of routes or models.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import httptools

from gateway.dataplane.fiber import Signal
from gateway.openai import error_body

MAX_BODY_BYTES = 10 << 20
MAX_HEADER_BYTES = 64 << 10
MAX_URL_BYTES = 8 << 10
MAX_PIPELINED = 16
READ_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 75.0
STALLED_CLIENT_S = 60.0

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


class Ongoing(Protocol):
    """What the connection must tell whoever is answering on it."""

    def client_gone(self) -> None:
        """The client has closed the connection; stop working for it."""


Handler = Callable[["ClientConnection", Request], None]


class ClientConnection(asyncio.Protocol):
    """One client's connection. The handler answers with `respond`, or `start_stream`, `write` and `end_stream`."""

    __slots__ = (
        "_body", "_closing", "_connections", "_expects_continue", "_handler", "_header_bytes", "_headers", "_loop",
        "_parser", "_refused", "_request", "_url", "_waiting", "authorized", "deadline", "drained", "ongoing", "paused",
        "transport",
    )  # fmt: skip

    def __init__(self, handler: Handler, connections: set["ClientConnection"], loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._request: Request | None = None
        self._refused = False
        self._closing = False
        self.ongoing: Ongoing | None = None
        self.authorized: tuple[bytes, int] | None = None
        self.paused = False
        self.drained = Signal()
        self.deadline = loop.time() + READ_TIMEOUT_S
        self.transport: asyncio.Transport
        self.on_message_begin()

    # The asyncio side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The client offers another protocol (curl offers h2c); staying with HTTP/1.1 is a valid answer.
            self._closing = True
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(400, f"the request is not valid HTTP/1.1: {error.__context__ or error}")

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
        self._expects_continue = False

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
        if self._refused:
            return
        parser, body = self._parser, self._body
        request = Request(
            parser.get_method(),
            self._url,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            parser.should_keep_alive() and not self._closing,
        )
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
        self.transport.write(
            b"%b%b%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINES[status], headers, close, len(body), body)
        )
        self._finished()

    def start_stream(self, headers: bytes) -> None:
        """Send the head of a chunked event stream."""
        close = b"" if self._keeps_open() else b"connection: close\r\n"
        self.transport.write(
            b"HTTP/1.1 200 OK\r\n%b%bcontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % (headers, close)
        )

    def write(self, data: bytes) -> None:
        """Send a piece of the stream."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """End the stream as complete."""
        self.transport.write(b"0\r\n\r\n")
        self._finished()

    def break_stream(self) -> None:
        """End the stream as broken: without the last chunk, so that no reader takes it for complete."""
        self.ongoing = None
        self.transport.close()

    def close_when_done(self) -> None:
        """Close now if idle, otherwise after the answers that were already asked for."""
        self._closing = True
        if self._request is None:
            self.transport.close()

    def expire(self, now: float) -> None:
        """Close the connection if its deadline has passed and the fault is the client's."""
        if now < self.deadline:
            return
        if self.paused:
            self.transport.abort()
        elif self._request is None and not self._refused and (self._headers or self._body or self._url):
            self._refuse(408, f"the request did not arrive within {READ_TIMEOUT_S:.0f} s")
        elif self._request is None:
            self.transport.close()

    def _begin(self, request: Request) -> None:
        if not self.transport.is_closing():
            self._request = request
            self._handler(self, request)

    def _keeps_open(self) -> bool:
        return not self._closing and self._request is not None and self._request.keep_alive

    def _finished(self) -> None:
        self.ongoing = None
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
