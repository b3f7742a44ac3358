"""An upstream made of raw sockets that does exactly what a test tells it: answers well, or commits a fault.

One server has many places: the first part of a path below its base URL names one. Each place has a script (what to do with
the next requests, then for ever) and keeps what it saw. A thread a connection; everything ends with `close`.
"""

import contextlib
import gzip
import json
import queue
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 60.0
Json = dict[str, Any]


@dataclass
class Seen:
    """One request as it arrived, whether the other side has read what there is of the answer, and when (monotonic) it closed
    the connection."""

    at: float
    line: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    taken: bool = False
    closed_at: float | None = None

    @property
    def data(self) -> Json:
        parsed: Json = json.loads(self.body)
        return parsed

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Conversation:
    """One request being answered. `over` says that the connection is of no more use."""

    def __init__(self, connection: socket.socket, seen: Seen, place: "Place") -> None:
        self.connection = connection
        self.seen = seen
        self.place = place
        self.over = False

    @property
    def streams(self) -> bool:
        return self.seen.data.get("stream") is True

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def whole(self, status: int, body: bytes | Json, *headers: str, length: int | None = None) -> None:
        """A whole answer; `length` is a false Content-Length."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", *headers]
        lines.append(f"content-length: {len(data) if length is None else length}")
        self.send("\r\n".join([*lines, "", ""]).encode() + data)

    def start_stream(self, *headers: str) -> None:
        lines = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "transfer-encoding: chunked", *headers, "", ""]
        self.send("\r\n".join(lines).encode())

    def piece(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def events(self, events: Iterable[Json | str], pause_s: float = 0.0) -> None:
        for event in events:
            text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            self.piece(f"data: {text}\n\n".encode())
            if pause_s:
                time.sleep(pause_s)

    def taken(self) -> None:
        """Wait until the other side has read all that was sent: by then it has acted on it, too."""
        ours, theirs = self.connection.getsockname(), self.connection.getpeername()
        until = time.monotonic() + PATIENCE_S
        while _unread(theirs, ours) and time.monotonic() < until:
            time.sleep(0.005)
        self.seen.taken = True

    def cut(self) -> None:
        """Close the connection in an orderly way, whatever was promised."""
        self.over = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.over = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def wait_for_close(self, within_s: float = PATIENCE_S) -> bool:
        """Stay silent until the other side closes; note when it did."""
        self.taken()
        until = time.monotonic() + within_s
        while not self.place.ended.is_set() and (left := until - time.monotonic()) > 0:
            if select.select([self.connection], [], [], min(left, 0.2))[0] and self._read_nothing():
                self.seen.closed_at = time.monotonic()
                self.over = True
                return True
        return False

    def _read_nothing(self) -> bool:
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True


Action = Callable[[Conversation], None]


class Told:
    """An action that a test does step by step: `next()` is the next request, which nobody answers but the test."""

    def __init__(self) -> None:
        self._asked: queue.Queue[Conversation] = queue.Queue()
        self._over: list[threading.Event] = []

    def __call__(self, conversation: Conversation) -> None:
        over = threading.Event()
        self._over.append(over)
        self._asked.put(conversation)
        over.wait(PATIENCE_S)

    def next(self) -> Conversation:
        return self._asked.get(timeout=PATIENCE_S)

    def end(self) -> None:
        """All that was answered by the test is over."""
        for over in self._over:
            over.set()


@dataclass
class Place:
    """What one base URL does: the script's actions in order, then `then` for ever."""

    url: str
    then: Action
    ended: threading.Event
    script: list[Action] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, seen: Seen) -> Action:
        with self.lock:
            self.seen.append(seen)
            return self.script.pop(0) if self.script else self.then

    @property
    def asked(self) -> int:
        return len(self.seen)

    def forget(self) -> None:
        with self.lock:
            self.seen.clear()


class Upstream:
    """The server. `place(name)` makes a place; `stop` and `start` are a crash and a recovery on the same port."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.port = 0
        self.places: dict[str, Place] = {}
        self.ended = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.connected = 0
        self._listener: socket.socket
        self.start()

    def start(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(1024)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection, as a crash would."""
        with self._lock:  # not between the acceptance of a connection and the note of it: that one would live on
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.cut_connections()

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.ended.set()
        self.stop()

    def place(self, name: str, then: Action | None = None, script: Iterable[Action] = ()) -> Place:
        url = f"http://127.0.0.1:{self.port}/{name}"
        place = self.places[name] = Place(url, then or answer, self.ended, list(script))
        return place

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if listener.fileno() < 0:  # it was closed meanwhile
                    connection.close()
                    return
                self.connected += 1
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection, self.connected), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        accepted, rest = connection, b""
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while (got := _read_request(connection, rest, number)) is not None:
                seen, rest = got
                place = self.places[seen.line.split(" ")[1].split("/")[1]]
                conversation = Conversation(connection, seen, place)
                if seen.line.startswith("GET ") and not getattr(place.then, "answers_gets", False):
                    conversation.whole(404, {})  # the gateway looks for an engine's metrics; nobody counts that
                    continue
                place.next(seen)(conversation)
                if conversation.over:
                    return
        except OSError:
            return  # the other side has gone, which is what many tests are about
        finally:
            self._connections.discard(accepted)
            connection.close()


def _unread(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """The bytes that wait in the kernel for the owner of this end of an IPv4 connection (Linux, proc(5): rx_queue)."""
    ends = [f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}" for host, port in (local, remote)]
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1:3] == ends:
                return int(fields[4].partition(":")[2], 16)
    return 0


def _read_request(connection: socket.socket, data: bytes, number: int) -> tuple[Seen, bytes] | None:
    while b"\r\n\r\n" not in data:
        more = connection.recv(1 << 16)
        if not more:
            return None
        data += more
    head, _, data = data.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in rest)]
    length = int(dict(headers).get("content-length", "0"))
    while len(data) < length:
        more = connection.recv(1 << 16)
        if not more:
            return None
        data += more
    return Seen(time.monotonic(), line, headers, data[:length], number), data[length:]


# Good answers.


def text_of(model: str) -> str:
    """What a well-behaved model says; it names the model, and not only in ASCII."""
    return f"Grüße von {model} — 你好 🎓."


def message(model: str, **more: Any) -> Json:
    """A whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text_of(model)}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model + "-2024-08-06",
        "choices": [{**choice, "logprobs": None}], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        **more,
    }  # fmt: skip


def chunk(model: str, *, finish: str | None = None, **delta: Any) -> Json:
    """One chunk of a streamed chat answer."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model + "-2024-08-06",
        "choices": choices,
    }  # fmt: skip


def usage_chunk(model: str) -> Json:
    return {**chunk(model), "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}


def tokens(model: str) -> list[Json]:
    """The role, and the text in a few pieces; no end."""
    words = text_of(model).split(" ")
    pieces = [word + (" " if at < len(words) - 1 else "") for at, word in enumerate(words)]
    return [chunk(model, role="assistant", content=""), *(chunk(model, content=piece) for piece in pieces)]


def good_events(model: str, *, usage: bool = True) -> list[Json | str]:
    """A whole streamed answer."""
    return [*tokens(model), chunk(model, finish="stop"), *([usage_chunk(model)] if usage else []), "[DONE]"]


def asked_usage(conversation: Conversation) -> bool:
    return bool((conversation.seen.data.get("stream_options") or {}).get("include_usage"))


def answer(conversation: Conversation) -> None:
    """Answer well, as asked."""
    model = conversation.seen.data["model"]
    if conversation.streams:
        conversation.start_stream()
        conversation.events(good_events(model, usage=asked_usage(conversation)))
        conversation.end_stream()
    else:
        conversation.whole(200, message(model))


def gzipped(conversation: Conversation) -> None:
    """Answer well, but compressed, although nobody asked for that; a stream is flushed event by event."""
    model = conversation.seen.data["model"]
    if not conversation.streams:
        conversation.whole(200, gzip.compress(json.dumps(message(model)).encode()), "content-encoding: gzip")
        return
    import zlib

    packer = zlib.compressobj(wbits=31)
    conversation.start_stream("content-encoding: gzip")
    # The header of the format alone: bytes that decode to nothing yet.
    conversation.piece(packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH))
    conversation.taken()
    for event in good_events(model):
        text = event if isinstance(event, str) else json.dumps(event)
        conversation.piece(packer.compress(f"data: {text}\n\n".encode()) + packer.flush(zlib.Z_SYNC_FLUSH))
        time.sleep(0.005)
    conversation.piece(packer.flush())
    conversation.end_stream()


def byte_by_byte(conversation: Conversation) -> None:
    """Answer well, in chunks of one byte: boundaries in UTF-8 characters, in `data:` and between CR and LF."""
    model = conversation.seen.data["model"]
    conversation.start_stream()
    for event in good_events(model):
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
        for byte in f"data: {text}\r\n\r\n".encode():
            conversation.piece(bytes([byte]))
    conversation.end_stream()
