"""A client made of a raw socket: says any bytes, and tells exactly how an answer ended."""

import json
import select
import socket
import time
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Answer:
    """One answer as it was on the wire. `whole`: it ended as its framing promised; `closed`: then the connection closed."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def data(self) -> Json:
        parsed: Json = json.loads(self.body)
        return parsed

    @property
    def error(self) -> Json:
        found: Json = self.data["error"]
        return found

    @property
    def events(self) -> list[Any]:
        """The payloads of a stream: JSON parsed, [DONE] as text."""
        blocks = [block for block in self.body.decode().split("\n\n") if block and not block.startswith(":")]
        assert all(block.startswith("data: ") for block in blocks), blocks
        return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]

    @property
    def comments(self) -> list[str]:
        """The lines of a stream that every reader skips, without their colons."""
        return [line[1:].strip() for line in self.body.decode().split("\n") if line.startswith(":")]

    @property
    def said(self) -> tuple[str, str]:
        """Who answered and why, by the headers or by a comment of a stream whose headers had to leave before."""
        lines = dict(line.split(": ", 1) for line in self.comments if ": " in line)
        everywhere = {**self.headers, **lines}
        return everywhere["x-graduand-arm"], everywhere["x-graduand-reason"]

    @property
    def text(self) -> str:
        """What a reader sees of the answer, streamed or not."""
        if "event-stream" not in self.headers.get("content-type", ""):
            content: str = self.data["choices"][0]["message"]["content"]
            return content
        choices = [one["choices"][0] for one in self.events if isinstance(one, dict) and one.get("choices")]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


class Client:
    """One connection to a gateway."""

    def __init__(self, port: int, timeout_s: float = 60.0, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def post(self, body: bytes | Json, path: str = "/v1/chat/completions", headers: tuple[str, ...] = ()) -> None:
        self.send(request(body, path, headers))

    def ask(self, body: bytes | Json, path: str = "/v1/chat/completions", headers: tuple[str, ...] = ()) -> Answer:
        self.post(body, path, headers)
        return self.read()

    def get(self, path: str, headers: tuple[str, ...] = ()) -> Answer:
        self.send("\r\n".join([f"GET {path} HTTP/1.1", "host: x", *headers, "", ""]).encode())
        return self.read()

    def read(self) -> Answer:
        """The next answer; interim ones are skipped."""
        while True:
            head = self._until(b"\r\n\r\n")
            if head is None:
                raise ConnectionResetError("closed before an answer")
            line, *lines = head.decode("latin-1").split("\r\n")
            status = int(line.split(" ")[1])
            if status >= 200:
                break
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        if headers.get("transfer-encoding") == "chunked":
            return self._chunked(status, headers)
        length = int(headers["content-length"]) if "content-length" in headers else 1 << 62
        while len(self._rest) < length and self._more():
            pass
        body, self._rest = self._rest[:length], self._rest[length:]
        return Answer(status, headers, body, len(body) == length)

    @property
    def dropped(self) -> bool:
        """Whether the other side has closed it while nothing was asked: real clients look before they ask again."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def closed(self, within_s: float = 30.0) -> bool:
        """Whether the other side closes the connection, saying nothing more."""
        self.socket.settimeout(within_s)
        try:
            return not self._rest and self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def _chunked(self, status: int, headers: dict[str, str]) -> Answer:
        answer = Answer(status, headers, b"", False)
        pieces = []
        while (size := self._until(b"\r\n")) is not None:
            length = int(size, 16)
            while len(self._rest) < length + 2:
                if not self._more():
                    break
            if len(self._rest) < length + 2:
                break
            if length == 0:
                self._rest = self._rest[2:]
                answer.whole = True
                break
            pieces.append((time.monotonic(), self._rest[:length]))
            self._rest = self._rest[length + 2 :]
        answer.pieces = pieces
        answer.body = b"".join(piece for _, piece in pieces)
        return answer

    def read_piece(self) -> bytes:
        """Whatever comes next, raw."""
        return self.socket.recv(1 << 16)

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._rest:
            if not self._more():
                return None
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._rest += data
        return bool(data)


def request(body: bytes | Json, path: str = "/v1/chat/completions", headers: tuple[str, ...] = ()) -> bytes:
    """The bytes of a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(data)}", "", ""]).encode() + data


def chat(model: str, text: str = "hello", **more: Any) -> Json:
    """A small chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
