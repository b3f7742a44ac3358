"""HTTP/1.1 towards clients, on a bare asyncio protocol.

Parses requests strictly (llhttp refuses smuggled lengths), bounds everything that a client controls, answers in order
on one connection, and tells the exchange when the client has gone. Knows nothing of routes or models.
"""

import asyncio
import logging
import re
import select
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, Final, Protocol

import httptools

from graduand.gateway.dataplane.http.bodies import Body, Held, TinyPieces, TooLarge, Undecodable
from graduand.gateway.dataplane.http.fiber import Signal
from graduand.gateway.dataplane.http.outbox import Outbox, Outlet
from graduand.gateway.model import retry_after
from graduand.gateway.model.clients import Client
from graduand.gateway.model.openai import error_body

MAX_HEADER_BYTES = 64 << 10
MAX_URL_BYTES = 8 << 10
# What may come besides the body: head, trailers, sizes and extensions of chunks. For every byte of body one more is allowed.
MAX_FRAMING_BYTES = 128 << 10
MAX_PIPELINED = 16
READ_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S: Final = 75.0
STALLED_CLIENT_S = 60.0
HALF_CLOSED_LOOK_S = 0.02
# After so much silence the client of a stream is told that somebody still works for it: what stands in between (balancers,
# proxies, the client itself) gives up a connection without bytes, most of them after 30 to 60 s.
KEEP_ALIVE_S = 5.0
# How much longer than the longest `total_s` a request may be open, whatever has happened to whoever answers it.
OPEN_MARGIN_S = 30.0
LINGER_S = 2.0
# Bodies up to this are in memory before anybody can look at a key.
SMALL_BODY_BYTES: Final = 16 << 10
BUSY_RETRY_S = 2.0

JSON: Final = b"content-type: application/json\r\n"
ALLOW: Final = b"allow: GET, HEAD, POST\r\n"
# Proxies in between hold events back otherwise: nginx asks for the last line, others for no-store.
STREAM: Final = b"content-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
# A second one of these would say something else than the first, and who reads which is how requests are smuggled.
SINGLE: Final = frozenset(
    (
        b"host", b"authorization", b"x-api-key", b"content-type", b"content-length", b"content-encoding", b"expect",
        b"transfer-encoding",
    )
)  # fmt: skip
# RFC 9110, 7.2: uri-host [ ":" port ]; no user, no blanks, no path.
HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
ENCODINGS = {b"gzip": b"gzip", b"x-gzip": b"gzip", b"deflate": b"deflate"}

logger = logging.getLogger("graduand")


class Heads:
    """How answers begin: the status line and the Date header (RFC 9110, 6.6.1), made once a second for each status."""

    __slots__ = ("_made", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._made: dict[int, bytes] = {}

    def of(self, status: int) -> bytes:
        """The head, also for a status that HTTP's registry does not name (529, 520): upstreams choose it."""
        second = int(time())
        if second != self._second:
            self._second, self._made = second, {}
        made = self._made.get(status)
        if made is None:
            try:
                phrase = HTTPStatus(status).phrase
            except ValueError:
                phrase = "Error"
            made = f"HTTP/1.1 {status} {phrase}\r\ndate: {formatdate(second, usegmt=True)}\r\n".encode()
            self._made[status] = made
        return made


HEADS: Final = Heads()


class Request:
    """One parsed request: `headers` has lower-case names; of a repeated header the last value counts, and of those that
    may not be repeated there is one. `body` is empty if the key was refused before the body came; `held` is what it counts
    against until it has been answered. A plain class, which is quick to make."""

    __slots__ = ("body", "chunked", "headers", "held", "keep_alive", "method", "path")

    def __init__(
        self, method: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes, held: Body, *, keep_alive: bool
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.held = held
        self.keep_alive = keep_alive
        self.chunked = True  # whether the client knows chunks: HTTP/1.0 does not


class Ongoing(Protocol):
    """What the connection must tell whoever is answering on it."""

    def client_gone(self) -> None:
        """The client has closed the connection; stop working for it."""

    def client_waits(self) -> None:
        """The client has been sent nothing for KEEP_ALIVE_S."""


Handler = Callable[["ClientConnection", Request], None]
# Whether whoever sends these headers may send a body to this path; without, it is answered before the body is read.
Door = Callable[["ClientConnection", bytes, dict[bytes, bytes]], bool]


def _open_door(connection: "ClientConnection", path: bytes, headers: dict[bytes, bytes]) -> bool:
    return True


class ClientConnection(asyncio.Protocol):
    """One client's connection. The handler answers with `respond`, or `start_stream`, `write` and `end_stream`."""

    __slots__ = (
        "_arriving", "_body", "_closing", "_connections", "_door", "_due", "_encoding", "_framing", "_good_host",
        "_handler", "_header_bytes", "_headers", "_headless", "_held", "_loop", "_opened_at", "_outbox", "_parser",
        "_quiet_looks", "_quiet_since", "_refused", "_request", "_streaming", "_unread", "_url", "_waiting", "authorized",
        "beside", "deadline", "drained", "ongoing", "paused", "transport",
    )  # fmt: skip

    def __init__(
        self, handler: Handler, connections: set["ClientConnection"], outbox: Outbox, held: Held | None = None,
        door: Door = _open_door,
    ) -> None:  # fmt: skip
        self._handler = handler
        self._held = held or Held()
        self._door = door
        self._good_host = b""
        # When the request was first seen by a sweep, and when one first saw it silent; 0.0: none has yet.
        self._opened_at = 0.0
        self._quiet_since = 0.0
        self._connections = connections
        self._outbox = outbox
        self._loop = loop = outbox.loop
        self._parser: Any = httptools.HttpRequestParser(self)  # None once the connection is lost
        self._waiting: deque[Request] = deque()
        self._request: Request | None = None
        self._refused = False
        self._unread = False  # a body is on its way that nobody will read
        self._closing = False
        self._streaming = False
        self.ongoing: Ongoing | None = None
        self.authorized: tuple[bytes, Client] | None = None
        self.beside = b""  # lines that go with the headers of the answer under way, whatever it is
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
        if self._refused or self._parser is None:
            return
        self._framing += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(400, f"the request is not valid HTTP/1.1: {error.__context__ or error}")
        # The parser keeps a header, and skips a chunk's extension, however long it is and whether or not it ends.
        if self._framing > MAX_FRAMING_BYTES and self._framing > MAX_FRAMING_BYTES + self._body.size and self._arriving:
            if self._headless:
                self._refuse(431, f"the request's head is longer than {MAX_FRAMING_BYTES} bytes")
            else:
                self._refuse(400, "there is more around the body's chunks than in them; send it in larger ones")

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
        self._forget_waiting()
        self._body.release()
        self._parser = None  # it and this connection hold each other, and the last body with them
        if self.ongoing is not None:
            self.ongoing.client_gone()
        if self._request is not None:
            self._request.held.release()

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
        self._header_bytes = self._framing = 0
        self._body = Body(self._held)
        self._encoding: bytes | None = None
        self._headless = True
        self._arriving = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_URL_BYTES:
            self._refuse(414, f"the URL is longer than {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, f"the headers are longer than {MAX_HEADER_BYTES} bytes")
        if not self._headless:
            return  # a trailer: nothing that comes after the body may speak for who sent it
        key, headers = name.lower(), self._headers
        if key in SINGLE and key in headers:
            self._refuse(400, f"the header {key.decode()!r} is there twice; send it once")
        headers[key] = value.rstrip(b" \t")  # white space around a value is none of it (RFC 9110, 5.5)

    def on_headers_complete(self) -> None:
        headers, parser = self._headers, self._parser
        self._headless = False
        if b"upgrade" in headers and parser.should_upgrade():
            return  # comes again, by `_decline`
        # Of the versions that the parser takes, 1.1 alone keeps a connection without being asked.
        if not parser.should_keep_alive() or b"connection" in headers:
            self._check_version()
        if not self._url.startswith(b"/") or b"#" in self._url:
            self._check_target()
        host = headers.get(b"host")
        if not host or host != self._good_host:
            self._check_host(host)
        chunked = b"transfer-encoding" in headers
        if chunked:
            self._check_coding()
        if self._refused:
            return
        self._header_bytes = 0
        length = int(headers.get(b"content-length", b"0"))
        if not length and not chunked:
            return
        held = self._held
        if length > held.most_each:
            self._refuse(413, f"the body has {length} bytes; at most {held.most_each} are accepted")
        elif length > SMALL_BODY_BYTES or chunked or b"expect" in headers:
            self._let_in(length)
        if self._refused or not self._arriving:
            return
        self._read_encoding()
        if not self._refused:
            self._body.reserve(length)

    def _check_version(self) -> None:
        """RFC 9110, 2.5: what speaks another major version is told so; RFC 9112, 6.1: 1.0 knows no chunks."""
        version = self._parser.get_http_version()
        if version == "0.9":
            self._refuse(400, "the request line names no version: send HTTP/1.1")
        elif version not in ("1.0", "1.1"):
            self._refuse(505, f"HTTP/{version} is not spoken here: send HTTP/1.1")
        elif version == "1.0" and b"transfer-encoding" in self._headers:
            self._refuse(400, "HTTP/1.0 has no 'transfer-encoding': send 'content-length'")

    def _check_target(self) -> None:
        """RFC 9112, 3.2: the target is a path, an address with one, or with OPTIONS an asterisk."""
        method, url = self._parser.get_method(), self._url
        if method == b"CONNECT":
            self._refuse(405, "this is no proxy: CONNECT is not supported", ALLOW)
        elif b"#" in url:
            self._refuse(400, "the request's target has a fragment, which is for the client alone")
        elif url != b"*" or method != b"OPTIONS":
            self._url = _path_of(url)
            if not self._url:
                self._refuse(400, "the request's target is neither a path nor an address of http or https")

    def _check_coding(self) -> None:
        """RFC 9112, 6.1 and 6.3: of transfer codings we know chunked, once. Without it at the end nobody knows the body's end."""
        written = self._headers[b"transfer-encoding"].lower()
        if written == b"chunked":
            return
        codings = [one.strip(b" \t") for one in written.split(b",")]
        if codings[-1] == b"chunked" and set(codings) - {b"chunked", b""}:
            self._refuse(501, f"the transfer coding {written.decode('latin-1')[:50]!r} is not known; send 'chunked'")
        else:
            self._refuse(400, "'transfer-encoding' must be 'chunked', once")

    def _check_host(self, host: bytes | None) -> None:
        """RFC 9112, 3.2: exactly one valid Host in HTTP/1.1."""
        if host is None:
            if self._parser.get_http_version() != "1.0":
                self._refuse(400, "the header 'host' is missing; HTTP/1.1 asks for it")
        elif HOST.fullmatch(host) is None:
            self._refuse(400, "the header 'host' is not a host with an optional port")
        else:
            self._good_host = host

    def _let_in(self, length: int) -> None:
        """Before a long body is read: whether its sender may send it, and whether there is room for it."""
        headers, parser = self._headers, self._parser
        path = self._url
        if not self._door(self, path, headers):
            # Answered without its body, by whoever says why; what still comes of it is thrown away.
            self._arriving = False
            self._closing = self._refused = self._unread = True
            self._take(Request(parser.get_method(), path, headers, b"", self._body, keep_alive=False))
            self.deadline = self._loop.time() + READ_TIMEOUT_S
        elif not self._held.has_room(length):
            text = "too many long requests are being read; try again in a moment"
            self._refuse(503, text, retry_after.line(BUSY_RETRY_S))
        elif b"expect" in headers:
            expected = headers[b"expect"].lower()
            if expected != b"100-continue":
                self._refuse(417, f"there is no answer to 'expect: {expected.decode('latin-1')[:50]}'")
            elif parser.get_http_version() != "1.0":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_encoding(self) -> None:
        written = self._headers.get(b"content-encoding", b"identity").strip().lower()
        if written == b"identity" or not written:
            return
        self._encoding = ENCODINGS.get(written)
        if self._encoding is None:
            named = written.decode("latin-1")[:50]
            self._refuse(
                415, f"a body of content-encoding {named!r} cannot be read; send it as gzip, or as it is",
                b"accept-encoding: gzip, deflate, identity\r\n",
            )  # fmt: skip

    def on_body(self, data: bytes) -> None:
        self._framing -= len(data)
        if self._refused:
            return
        try:
            self._body.add(data)
        except TooLarge:
            self._refuse(413, f"the body is longer than the {self._held.most_each} bytes that are accepted")
        except TinyPieces:
            self._refuse(400, "the body comes in chunks of a few bytes; send it in larger ones")

    def on_message_complete(self) -> None:
        parser = self._parser
        self._arriving, self._due = False, 0.0
        if self._refused or (b"upgrade" in self._headers and parser.should_upgrade()):
            return
        try:
            body = self._body.whole(self._encoding)
        except TooLarge:
            self._refuse(413, f"the body is longer than the {self._held.most_each} bytes that are accepted, decoded")
            return
        except Undecodable as error:
            encoding = (self._encoding or b"").decode()
            self._refuse(400, f"the body is not {encoding}, as its content-encoding says: {error}")
            return
        keep_alive = parser.should_keep_alive() and not self._closing
        request = Request(parser.get_method(), self._url, self._headers, body, self._body, keep_alive=keep_alive)
        if (not keep_alive or b"connection" in self._headers) and parser.get_http_version() == "1.0":
            request.chunked = request.keep_alive = False
        self._take(request)

    def _take(self, request: Request) -> None:
        """Answer a request now, or once those before it on this connection have been answered."""
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
            b"%b%b%b%bcontent-length: %d\r\n\r\n%b" % (HEADS.of(status), headers, self.beside, close, length, body)
        )
        self._finished()

    def start_stream(self, headers: bytes) -> None:
        """Send the head of a chunked event stream."""
        close = b"" if self._keeps_open() else b"connection: close\r\n"
        self._streaming = True
        self.transport.write(
            b"%b%b%b%b%b%b\r\n"
            % (
                HEADS.of(200),
                headers,
                self.beside,
                close,
                STREAM,
                b"transfer-encoding: chunked\r\n" if self._chunked else b"",
            )
        )

    def write(self, data: bytes) -> None:
        """Send a piece of the stream."""
        self._quiet_since = 0.0
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

    def expire(self, now: float, longest_s: float) -> None:
        """Close the connection if its deadline has passed and the fault is the client's, or if a request has been open for
        longer than any may take (`longest_s`, and a margin): then whoever answered it has failed, and nobody else will."""
        if self.paused:
            if now >= self.deadline:
                self.transport.abort()
        elif self._request is not None:
            self._opened_at = self._opened_at or now
            if now - self._opened_at >= longest_s + OPEN_MARGIN_S:
                logger.error("a request was open for %.0f s and nobody answered it: closed", now - self._opened_at)
                self.transport.abort()
            elif self.ongoing is not None:
                self._quiet_since = self._quiet_since or now
                if now - self._quiet_since >= KEEP_ALIVE_S:
                    self.ongoing.client_waits()
        elif self._arriving and not self._refused:
            self._due = self._due or now + READ_TIMEOUT_S
            if now >= self._due:
                self._refuse(408, f"the request did not arrive within {READ_TIMEOUT_S:.0f} s")
        elif now >= self.deadline:
            self.transport.close()

    def postpone(self, by_s: float) -> None:
        """Take time out of account that passed while this process stood still."""
        self.deadline += by_s
        self._opened_at += by_s if self._opened_at else 0.0
        self._quiet_since += by_s if self._quiet_since else 0.0
        self._due += by_s if self._due else 0.0

    def give_up(self, ongoing: Ongoing) -> None:
        """Close the connection at once if `ongoing` has not answered on it whole: nobody will any more."""
        if self.ongoing is ongoing:
            self.transport.abort()

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
        method, version, headers = self._parser.get_method(), self._parser.get_http_version(), self._headers
        if self._refused:
            return
        headers.pop(b"upgrade", None)
        if b"close" in headers.pop(b"connection", b"").lower():
            headers[b"connection"] = b"close"
        lines = b"".join(b"%b: %b\r\n" % line for line in headers.items())
        self._parser = httptools.HttpRequestParser(self)
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._url, version.encode(), lines)
        self.data_received(head + rest)

    def _begin(self, request: Request) -> None:
        if self.transport.is_closing():
            return
        self._request = request
        self._opened_at = self._quiet_since = 0.0
        try:
            self._handler(self, request)
        except Exception as error:
            logger.error("a request could not be handled: its connection is closed", exc_info=error)
            self.transport.abort()

    def _forget_waiting(self) -> None:
        for request in self._waiting:
            request.held.release()
        self._waiting.clear()

    @property
    def _chunked(self) -> bool:
        return self._request is None or self._request.chunked

    def _keeps_open(self) -> bool:
        return not self._closing and self._request is not None and self._request.keep_alive

    def _finished(self) -> None:
        self.ongoing = None
        self._streaming = False
        keeps_open = self._keeps_open() or (self._closing and bool(self._waiting))
        if self._request is not None:
            self._request.held.release()
        self._request = None
        self.deadline = self._loop.time() + IDLE_TIMEOUT_S
        if not keeps_open:
            if self._unread:
                self._linger()
            else:
                self.transport.close()
        elif self._waiting:
            # Scheduled, not called: a long pipeline must not grow the stack.
            self._request = self._waiting.popleft()
            self._loop.call_soon(self._begin, self._request)

    def _refuse(self, status: int, message: str, headers: bytes = b"") -> None:
        if self._refused:
            return
        self._refused = True
        self._body.release()
        self.deadline = self._loop.time() + READ_TIMEOUT_S
        if self._request is not None:
            # An answer to an earlier request is under way; what follows it cannot be answered in order any more.
            self._closing = True
            self._forget_waiting()
            return
        body = error_body(message, "invalid_request_error", code="request_refused")
        self.transport.write(
            b"%b%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (HEADS.of(status), JSON, headers, len(body), body)
        )
        self._linger()

    def _linger(self) -> None:
        """Close the connection in a while: to close at once would reset it while the client still sends, and it would never
        read why. What still arrives is thrown away."""
        self.transport.write_eof()
        self._loop.call_later(LINGER_S, self.transport.close)


def _path_of(url: bytes) -> bytes:
    """The path and query of a target in absolute form (RFC 9112, 3.2.2), as clients write it that take us for a proxy.

    Empty if it is no such target, or names no host.
    """
    scheme, mark, rest = url.partition(b"://")
    authority, _, query = rest.partition(b"?")
    host, _, path = authority.partition(b"/")
    if not mark or not host or scheme.lower() not in (b"http", b"https"):
        return b""
    return b"/%b?%b" % (path, query) if b"?" in rest else b"/" + path


def _was_reset(transport: Outlet) -> bool:
    connection = transport.socket()
    if connection is None or connection.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), 0)  # errors and hang-ups are told without being asked for
    return bool(poll.poll(0))
