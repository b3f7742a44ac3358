"""What one client is told: the headers that say who answers, a whole body or a stream, and how it ends.

Invariants: an answer's end leaves only by `leave`, so that its record can be in the journal before; nothing leaves twice;
what was released and then broke off ends in an error event and a broken connection, never in silence that looks like
success. A comment that tells a waiting client of life is no released byte: until the first event, who answers is open.
"""

from functools import lru_cache
from typing import Final

from graduand.gateway.dataplane.http.client import Call
from graduand.gateway.dataplane.http.server import JSON, ClientConnection

# How an answer ends: it has yet to; with a body of known length; as a whole stream; as a broken one.
_NOT_YET: Final = 0
_WHOLE: Final = 1
_STREAM: Final = 2
_BROKEN: Final = 3
KEEP_ALIVE: Final = b": still waiting for the model\n\n"


class Reply:
    """The answer to one request on its connection.

    `route`, `arm` and `reason` are said in the headers, arm and reason in a comment before the first event of a stream whose
    headers had to leave before anybody could know them. `request_id` is the client's own id of the request, if it has one, and
    `passed` the lines of what the upstream said beside its answer. `status` is 0 until something is to be told; `released`
    counts the bytes of the answer, `gone` says that the client has left.
    """

    __slots__ = (
        "_connection", "_early", "_end", "_id", "_last", "_last_headers", "_request_id", "arm", "gone", "passed", "reason",
        "released", "route", "status",
    )  # fmt: skip

    def __init__(self, connection: ClientConnection, id: str, request_id: bytes | None, arm: str, reason: str) -> None:
        self._connection = connection
        self._id = id.encode()
        self._request_id = request_id or self._id
        self.passed = b""
        self._end = _NOT_YET
        self._early = False  # whether a stream's headers had to leave before anybody answered
        self._last = b""  # what ends the answer; with its headers if nothing has left yet
        self._last_headers = b""
        self.route = "unknown"
        self.arm = arm
        self.reason = reason
        self.status = 0
        self.released = 0
        self.gone = False

    @property
    def begun(self) -> bool:
        """Whether a status has left; an error can then only be told in the stream."""
        return self.released > 0 or self._early

    def begin(self) -> None:
        """Say who answers, if nothing has been released yet."""
        if self.released:
            return
        if self._early:
            self._connection.write(self._who())
            return
        self.status = 200
        self._connection.start_stream(self._headers())

    def keep_alive(self) -> None:
        """Let the client of a stream see that it is still being worked for."""
        if self.gone or self._end != _NOT_YET:
            return
        if not self.begun:
            self._early = True
            self.status = 200
            self._connection.start_stream(self._ids() + _route_header(self.route))
        self._connection.write(KEEP_ALIVE)

    def release(self, data: bytes) -> bool:
        """Send a piece of the stream on; whether the client can take no more for now (`drained`)."""
        self.begin()
        self.released += len(data)
        self._connection.write(data)
        return self._connection.paused

    async def drained(self, call: Call) -> None:
        """Wait until the client reads on; so long `call` is not read."""
        connection = self._connection
        while connection.paused:  # a wake may be older than this pause
            call.pause()
            await connection.drained
            call.resume()

    def end_whole(self, body: bytes) -> None:
        """End with an answer of known length."""
        self.released = len(body)
        self._end_with(200, JSON + self._headers(), body)

    def end_stream(self, last: bytes) -> None:
        """End the stream with its last event."""
        self.begin()
        self.released += len(last)
        self._end, self._last = _STREAM, last

    def refuse(self, status: int, more_headers: bytes, body: bytes) -> None:
        """End with an error about the request, which nobody has been asked for."""
        self._end_with(status, b"%b%b%b" % (JSON, self._ids(), more_headers), body)

    def fail(self, status: int, more_headers: bytes, body: bytes) -> None:
        """End with an error in place of an answer."""
        self._end_with(status, JSON + self._headers() + more_headers, body)

    def break_off(self, last: bytes) -> None:
        """End what has begun with an error event, and break the connection."""
        self._end, self._last = _BROKEN, last if self.released else self._who() + last

    def abandon(self) -> None:
        """The client has gone; an end that has not left never will."""
        self.status = self.status or 499
        if self._end != _NOT_YET:
            self._end = _NOT_YET
            self.released -= len(self._last)

    def leave(self) -> None:
        """Send the answer's end, once its record is in the journal: what a client has read whole is never lost."""
        end, self._end = self._end, _NOT_YET
        if self.gone or end == _NOT_YET:
            return
        if end == _WHOLE:
            self._connection.respond(self.status, self._last_headers, self._last)
        elif end == _STREAM:
            self._connection.end_stream(self._last)
        else:
            self._connection.break_stream(self._last)

    def _end_with(self, status: int, headers: bytes, body: bytes) -> None:
        self.status, self._end = status, _WHOLE
        self._last_headers, self._last = headers, body

    def _headers(self) -> bytes:
        return b"%b%b%b" % (self._ids(), _arm_headers(self.route, self.arm, self.reason), self.passed)

    def _ids(self) -> bytes:
        return b"x-graduand-id: %b\r\nx-request-id: %b\r\n" % (self._id, self._request_id)

    def _who(self) -> bytes:
        said = b"".join(b": %b\n" % line for line in self.passed.splitlines())
        return b"%b%b\n" % (f": x-graduand-arm: {self.arm}\n: x-graduand-reason: {self.reason}\n".encode(), said)


def _route_header(route: str) -> bytes:
    return f"x-graduand-route: {route}\r\n".encode()


@lru_cache(1024)
def _arm_headers(route: str, arm: str, reason: str) -> bytes:
    return _route_header(route) + f"x-graduand-arm: {arm}\r\nx-graduand-reason: {reason}\r\n".encode()
