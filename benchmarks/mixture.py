"""The soak's load: many clients that ask, read, leave early and come back, until so many requests have been made.

Of twenty requests twelve ask for a whole answer, five for a stream, one is left in the middle of a stream, one while a
whole answer is waited for, and one names a model that nobody has named before. Users take turns. Each connection is
closed after some requests and opened anew; those left early are closed or reset, in turn. Every answer is looked at.
"""

import asyncio
import socket
import struct
from collections import Counter
from typing import Any

import httptools

from benchmarks.payload import CLIENT_KEY, MODEL, TICKET, USER, chat

WHOLE, STREAMED, CUT_STREAM, CUT_WAITING, UNKNOWN = (
    "whole",
    "streamed",
    "left mid-stream",
    "left waiting",
    "unknown model",
)
TURNS = 4 * [WHOLE, STREAMED, WHOLE, WHOLE] + [CUT_STREAM, CUT_WAITING, UNKNOWN, STREAMED]
# What is left early must not come to its end by itself, however busy the machine is: these orders take many seconds.
SLOW_STREAM, SLOW_ANSWER = "pace_ms=5 tokens=4000", "wait_ms=20000"
STREAM_TOKENS = 24
LEAVE_AFTER_S = 0.004
USERS = 100_000
# Coprime to the number of users, so that every user comes before any comes again.
STRIDE = 7919
NOBODYS = "MODEL_PLACEHOLDER"
RESET = struct.pack("ii", 1, 0)


class Template:
    """A request of one length whose user and model are filled in."""

    def __init__(self, port: int, body: str) -> None:
        body = body.replace(USER, "user-%(user)06d").replace(NOBODYS, "model-%(number)09d")
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {CLIENT_KEY}\r\ncontent-length: {len(body % {'user': 0, 'number': 0})}\r\n\r\n"
        )
        self._text = head + body

    def fill(self, number: int) -> bytes:
        user = (number * STRIDE + number // USERS) % USERS
        return (self._text % {"user": user, "number": number}).encode()


class Mixture:
    """Gives requests out to `clients` connections and counts how they ended."""

    def __init__(self, port: int, requests: int, clients: int) -> None:
        self.port = port
        self.requests = requests
        self.clients = clients
        self.begun = 0
        self.ended = 0
        self.connections = 0
        self.sent: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.over = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._left = clients
        # Prompts of many lengths, as memory that comes back in other sizes than it is asked for is what fragments.
        lengths = (0, 0, 0, 1, 2, 5, 9, 16, 40)
        self._templates = {
            WHOLE: [Template(port, chat(TICKET * (1 + length))) for length in lengths],
            STREAMED: [
                Template(port, chat(f"pace_ms=0 tokens={tokens} {TICKET}", stream=True))
                for tokens in (STREAM_TOKENS, 2 * STREAM_TOKENS, STREAM_TOKENS // 2)
            ],
            CUT_STREAM: [Template(port, chat(f"{SLOW_STREAM} {TICKET}", stream=True))],
            CUT_WAITING: [Template(port, chat(f"{SLOW_ANSWER} {TICKET}"))],
            UNKNOWN: [Template(port, chat(TICKET).replace(MODEL, NOBODYS))],
        }

    def start(self) -> None:
        """Open all connections; `over` is set when every request has ended and every connection is closed."""
        for _ in range(self.clients):
            self._open()

    def next(self) -> tuple[str, bytes] | None:
        """The next request, or None when all have been given out."""
        number = self.begun
        if number == self.requests:
            return None
        self.begun += 1
        kind = TURNS[number % len(TURNS)]
        self.sent[kind] += 1
        templates = self._templates[kind]
        return kind, templates[number // len(TURNS) % len(templates)].fill(number)

    def closed(self) -> None:
        """A connection has closed: another takes its place while requests are left."""
        if self.begun < self.requests:
            self._open()
            return
        self._left -= 1
        if not self._left:
            self.over.set()

    def _open(self) -> None:
        task = self.loop.create_task(self._connect())
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _connect(self) -> None:
        self.connections += 1
        # Not all of the same age, or all would be closed at once.
        requests = 20 + self.connections * 37 % 80
        try:
            await self.loop.create_connection(lambda: Client(self, requests), "127.0.0.1", self.port)
        except OSError as error:
            self.wrong[f"no connection: {error}"] += 1
            self.loop.call_later(0.1, self.closed)


class Client(asyncio.Protocol):
    """One connection, good for so many requests."""

    def __init__(self, mixture: Mixture, requests: int) -> None:
        self.mixture = mixture
        self.left = requests
        self.kind = ""
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Begin the next request, if there is one for this connection."""
        given = self.mixture.next() if self.left else None
        self.kind = ""
        if given is None:
            self.transport.close()
            return
        self.left -= 1
        self.kind, request = given
        self.tail = b""
        self.pieces = 0
        self.transport.write(request)
        if self.kind == CUT_WAITING:
            self.mixture.loop.call_later(LEAVE_AFTER_S, self.leave)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.pieces += body.count(b"data: ")
        # Enough of the answer's end to know it by.
        self.tail = (self.tail + body)[-600:]
        if self.kind == CUT_STREAM and b" word" in body:
            self.leave()

    def on_message_complete(self) -> None:
        kind, status = self.kind, self.parser.get_status_code()
        if not kind:
            return  # what was still on its way when this client left
        if kind == WHOLE:
            right = status == 200 and b'"content":"billing"' in self.tail
        elif kind == STREAMED:
            right = status == 200 and b"[DONE]" in self.tail and self.pieces > STREAM_TOKENS // 2
        else:
            right = kind == UNKNOWN and status == 404 and b"model_not_found" in self.tail
        self.end("" if right else f"{kind}: status {status}, {self.tail[-80:]!r}")
        self.send()

    def leave(self) -> None:
        """Go away with the request under way."""
        if not self.kind:
            return
        self.end("answered before the client left" if self.kind == CUT_WAITING and self.tail else "")
        if self.mixture.ended % 2:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def end(self, wrong: str) -> None:
        self.kind = ""
        self.mixture.ended += 1
        if wrong:
            self.mixture.wrong[wrong] += 1

    def connection_lost(self, error: Exception | None) -> None:
        if self.kind:
            self.end(f"{self.kind}: the connection was closed")
        self.mixture.closed()
