"""HTTP/1.1 towards upstreams: pooled connections on asyncio protocols, awaited from fibers.

A `Call` is one request on one connection. Closing an unfinished call closes its connection, which is what tells an
engine to stop generating. Every failure is an UpstreamFailed; a broken-off answer is never returned as a whole one.
"""

import asyncio
import ssl
import zlib
from typing import Any, Final

import httptools

from graduand.gateway.dataplane.http import failures, tunnel
from graduand.gateway.dataplane.http.failures import Failure, UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Signal
from graduand.gateway.dataplane.http.outbox import Outbox, Outlet
from graduand.gateway.dataplane.http.pauses import STOOD_STILL_S
from graduand.gateway.model.outbound import Proxy
from graduand.gateway.model.routes import Replica

MAX_ANSWER_BYTES = 64 << 20
MAX_HEADER_BYTES: Final = 64 << 10
PAUSE_ABOVE_BYTES: Final = 256 << 10
IDLE_CONNECTION_S = 60.0
LINGER_S: Final = 1.0


class Call:
    """A request under way: its head, then its body, then its end."""

    __slots__ = (
        "_active", "_chunks", "_connection", "_decoder", "_idle_s", "_last_at", "_loop", "_patience_s", "_paused", "_signal",
        "_size", "_stop_at", "_stream", "_total",
        "deadline", "ended", "failure", "headers", "received", "reused", "status",
    )  # fmt: skip

    def __init__(
        self, connection: "Connection", *, stream: bool, first_at: float, first_s: float, idle_s: float, stop_at: float,
        last_at: float, active: set["Call"], loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        """Times are the event loop's: `first_at` for the first byte of the body; `stop_at` for its end as long as another model
        may answer instead, `last_at` for its end after that. `first_s` is how long a stream may be silent before its first
        token, `idle_s` from then on.
        """
        self._connection: Connection | None = connection
        self._stream = stream
        self._patience_s = first_s
        self._idle_s = idle_s
        self._stop_at = stop_at
        self._last_at = last_at
        self._active = active
        self._loop = loop
        self._signal = Signal()
        self._chunks: list[bytes] = []
        self._size = 0
        self._total = 0
        self._paused = False
        self._decoder: Any = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.ended = False
        self.received = False
        self.failure: Failure | None = None
        self.reused = connection.used
        self.deadline = first_at

    def send(self, request: bytes) -> None:
        """Write the whole request; the answer's parts then arrive."""
        connection = self._connection
        assert connection is not None
        self._active.add(self)
        connection.call = self
        connection.used = True
        connection.transport.write(request)

    async def head(self) -> int:
        """Wait for status and headers, of a whole answer for its end as well; return the status."""
        while not (self.status and (self._stream or self.ended)):
            if self.failure is not None:
                raise UpstreamFailed(self.failure)
            await self._signal
        return self.status

    async def read(self) -> bytes:
        """All that has arrived of the body since the last read; b"" at its end."""
        while not self._chunks:
            if self.failure is not None:
                raise UpstreamFailed(self.failure)
            if self.ended:
                return b""
            await self._signal
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        self.resume()
        return data

    async def body(self) -> bytes:
        """The whole body."""
        while not self.ended:
            if self.failure is not None:
                raise UpstreamFailed(self.failure)
            await self._signal
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def began(self) -> None:
        """The answer has begun: from now on the idle timeout counts. Of a stream only its reader can tell."""
        self.received = True
        self._patience_s = self._idle_s
        self._heard()

    def take_all_time(self) -> None:
        """Nobody else can answer any more, so nobody else's time need be spared."""
        self._stop_at = self._last_at
        self._heard()

    def postpone(self, by_s: float) -> None:
        """Take time out of account that passed while this process stood still."""
        self.deadline += by_s
        self._stop_at += by_s
        self._last_at += by_s

    def close(self) -> None:
        """Give the call up if it has not ended: the upstream sees the connection close."""
        self._active.discard(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.call = None
            connection.transport.abort()

    def linger(self) -> None:
        """Let the upstream end the answer on its own for a moment, so that the connection can be used again."""
        self.deadline = self._stop_at = self._last_at = self._loop.time() + LINGER_S

    def pause(self) -> None:
        """Stop reading from the upstream until `resume` or the next `read`."""
        if self._connection is not None:
            self._connection.transport.pause_reading()
            self._paused = True
            self.deadline = self._stop_at  # the upstream cannot be blamed for silence while nobody listens

    def resume(self) -> None:
        """Read on after `pause`."""
        connection = self._connection
        if connection is not None and self._paused:
            self._paused = False
            connection.transport.resume_reading()
            self._heard()

    def expire(self, now: float) -> None:
        """Fail the call if its deadline has passed."""
        if now < self.deadline:
            return
        if now >= self._last_at:
            # An upstream that was answering, or that nobody listened to, has done nothing wrong.
            silent = not self.received and not self._paused
            self.fail(failures.TOTAL_TIMEOUT if silent else failures.OVERTIME)
        elif not self.received:
            self.fail(failures.FIRST_TOKEN_TIMEOUT)
        else:
            self.fail(failures.OVERDUE if now >= self._stop_at else failures.IDLE_TIMEOUT)

    def _heard(self) -> None:
        """The upstream lives: its silence is counted from now."""
        self.deadline = min(self._loop.time() + self._patience_s, self._stop_at)

    # The connection's side.

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding in (b"gzip", b"x-gzip", b"deflate"):
            # 32 lets zlib recognise gzip and zlib framing by itself.
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif encoding not in (b"identity", b""):
            self.fail(failures.MALFORMED)
        # A stream is read as it comes; of a whole answer only the end is worth waking anybody for.
        if self._stream:
            self._signal.wake()

    def on_body(self, data: bytes) -> None:
        if self._decoder is not None:
            try:
                # A few kilobytes may inflate to gigabytes: one byte above the bound is enough to know.
                data = self._decoder.decompress(data, MAX_ANSWER_BYTES - self._total + 1)
            except zlib.error:
                self.fail(failures.MALFORMED)
                return
            if not data:
                return  # nothing to read yet; an empty piece would be taken for the end of the body
        self._total += len(data)
        if self._total > MAX_ANSWER_BYTES:
            self.fail(failures.MALFORMED)
            return
        if self._paused:
            pass  # read before the pause; silence is not counted until it ends
        elif self.received or self._stream:
            self._heard()  # whatever it is: a comment before the first token, too
        else:
            self.began()
        self._chunks.append(data)
        if self._stream:
            self._size += len(data)
            if self._size > PAUSE_ABOVE_BYTES:
                self.pause()
            self._signal.wake()

    def on_end(self) -> None:
        self.ended = True
        self._connection = None
        self._active.discard(self)
        self._signal.wake()

    def fail(self, failure: Failure) -> None:
        """End the call with `failure`, unless it has ended."""
        if self.ended or self.failure is not None:
            return
        self.failure = failure
        self.close()
        self._signal.wake()


class Connection(asyncio.Protocol):
    """One connection to an upstream; holds at most one call."""

    __slots__ = ("_headers", "_parser", "_pool", "_size", "call", "idle_since", "transport", "used")

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._size = 0
        self.call: Call | None = None
        self.used = False
        self.idle_since = 0.0
        self.transport: Outlet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = Outlet(transport, self._pool.outbox)

    def data_received(self, data: bytes) -> None:
        if self.call is None:
            # Nobody asked for this: whatever it is, it must not be taken for the next call's answer.
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail()
            self.transport.abort()

    def _fail(self) -> None:
        # A function of its own: in the one above, compiled code believes that the call is still there.
        if self.call is not None:
            self.call.fail(failures.MALFORMED)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        call, self.call = self.call, None
        if call is None:
            return
        headers = call.headers
        if exc is None and call.status and b"content-length" not in headers and b"transfer-encoding" not in headers:
            call.on_end()  # HTTP/1.0 style: the end of the connection is the end of the body
        else:
            call.fail(failures.TRUNCATED if call.status else failures.RESET)

    def on_message_begin(self) -> None:
        if self.call is None:
            self.transport.abort()  # an answer that nobody asked for must not become the next call's
        self._headers = {}
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > MAX_HEADER_BYTES and self.call is not None:
            self.call.fail(failures.MALFORMED)
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and self.call is not None:
            self.call.on_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        if self.call is not None:
            self.call.on_body(data)

    def on_message_complete(self) -> None:
        call = self.call
        if call is None or not call.status:
            return  # an interim 1xx answer, or a call that was given up
        self.call = None
        if self._parser.should_keep_alive() and not self.transport.is_closing():
            call.resume()
            self._pool.park(self)
        else:
            self.transport.close()
        call.on_end()


class Pool:
    """The connections to one replica. Reuses the one used last, so that the others can age and close."""

    def __init__(
        self, replica: Replica, tls: ssl.SSLContext | None, outbox: Outbox, proxy: Proxy | None = None
    ) -> None:
        self._replica = replica
        self._proxy = proxy
        self._tls = tls
        self.outbox = outbox
        self._loop = outbox.loop
        self._closed = False
        self.parked: list[Connection] = []

    def idle(self) -> Connection | None:
        """The connection that was used last, or None if there is none to reuse."""
        parked = self.parked
        while parked:
            connection = parked.pop()
            if not connection.transport.is_closing():
                connection.idle_since = 0.0
                return connection
        return None

    def park(self, connection: Connection) -> None:
        """Keep a connection whose call has ended for the next one."""
        if self._closed:
            connection.transport.close()
        else:
            self.parked.append(connection)

    def lost(self, connection: Connection) -> None:
        """The connection has closed."""
        if connection in self.parked:
            self.parked.remove(connection)

    async def connect(self, connect_s: float) -> Connection:
        """A new connection; raise UpstreamFailed if none can be made within `connect_s`."""
        signal = Signal()
        task = self._loop.create_task(self._connect(connect_s))
        task.add_done_callback(lambda _: signal.wake())
        try:
            await signal
        except BaseException:
            task.add_done_callback(_close_unwanted)
            task.cancel()
            raise
        connection = task.result()
        if connection.transport.is_closing():  # closed by the upstream since, and nothing can be sent on it
            raise UpstreamFailed(failures.RESET)
        return connection

    def forget_old(self, now: float) -> None:
        """Close connections that have been idle for long; called now and then."""
        for connection in list(self.parked):
            if not connection.idle_since:
                connection.idle_since = now
            elif now - connection.idle_since > IDLE_CONNECTION_S:
                connection.transport.close()

    def close(self) -> None:
        """Close the idle connections, and those with a call under way as soon as it ends."""
        self._closed = True
        for connection in list(self.parked):
            connection.transport.close()

    async def _connect(self, connect_s: float) -> Connection:
        began = self._loop.time()
        try:
            return await self._connected(connect_s)
        except TimeoutError as error:
            if self._loop.time() - began < connect_s + STOOD_STILL_S:
                raise UpstreamFailed(failures.CONNECT_TIMEOUT) from error
        # It was this process that stood still, and not the upstream: once more.
        try:
            return await self._connected(connect_s)
        except TimeoutError as error:
            raise UpstreamFailed(failures.CONNECT_TIMEOUT) from error

    async def _connected(self, connect_s: float) -> Connection:
        try:
            async with asyncio.timeout(connect_s):
                connection = await self._opened()
        except TimeoutError:
            raise
        except ssl.SSLCertVerificationError as unverified:
            text = f"the upstream's certificate cannot be verified: {unverified.verify_message}; see ca_file"
            raise UpstreamFailed(Failure("tls", text, retry=False)) from unverified
        except ssl.SSLError as unsafe:
            text = f"the TLS handshake with the upstream failed: {unsafe.reason or 'no reason given'}"
            raise UpstreamFailed(Failure("tls", text, retry=False)) from unsafe
        except OSError as error:
            raise UpstreamFailed(failures.CONNECT) from error
        return connection

    async def _opened(self) -> Connection:
        replica, proxy, loop = self._replica, self._proxy, self._loop
        if proxy is None:
            _, connection = await loop.create_connection(
                lambda: Connection(self), replica.host, replica.port, ssl=self._tls
            )
            return connection
        through = await tunnel.opened(loop, proxy, replica.host, replica.port)
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), sock=through, ssl=self._tls,
                server_hostname=None if self._tls is None else replica.host,
            )  # fmt: skip
        except BaseException:
            through.close()
            raise
        return connection


def _close_unwanted(task: "asyncio.Task[Connection]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().transport.abort()
