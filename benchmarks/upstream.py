"""The streaming upstream: answers every chat with server-sent events, paced or as fast as they are taken.

Protocol-level and on uvloop. The prompt says how: `pace_ms=20 tokens=300`, or `wait_ms=1000` for a whole answer. Paced,
each event is a write of its own, as an inference engine does it. At full speed a write holds BURST events, since one
system call for each would make this server slower than the gateways; the report's row `direct` shows how fast it is on
its own.
Run as `python -m benchmarks.upstream PORT`.
"""

import asyncio
import gc
import json
import re
import signal
import sys
from typing import Any

import httptools
import orjson
import uvloop

from benchmarks.payload import TEACHER_MODEL, completion, models

ORDER = re.compile(rb"pace_ms=(\d+) tokens=(\d+)")
WAIT = re.compile(rb"wait_ms=(\d+)")
# So small that a peer which reads slowly soon stops the writing, as it would stop an engine.
HIGH_WATER = 16 << 10
BURST = 8


def frame(data: Any) -> bytes:
    """One event as one HTTP chunk."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    event = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": TEACHER_MODEL,
        "choices": [choice],
    }


USAGE = {"prompt_tokens": 93, "completion_tokens": 300, "total_tokens": 393}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = HEAD + frame(chunk({"role": "assistant", "content": ""}))
# Not one word over and over: LiteLLM takes that for a model that is stuck and ends the stream with an error.
TOKENS = [frame(chunk({"content": f" word{number % 64:02}"})) for number in range(64 + BURST)]
FINISH = frame(chunk({}, "stop"))
COUNTED = frame({**chunk({}), "choices": [], "usage": USAGE})
DONE = frame("[DONE]") + b"0\r\n\r\n"
WHOLE, MODELS = completion().encode(), models().encode()


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class Pump:
    """Writes to all unpaced streams in turn, a burst each, for as long as any of them takes more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.streams: dict[Connection, None] = {}
        self.running = False

    def add(self, stream: "Connection") -> None:
        self.streams[stream] = None
        if not self.running:
            self.running = True
            self.loop.call_soon(self.turn)

    def turn(self) -> None:
        for stream in list(self.streams):
            if stream.paused or not stream.write(BURST):
                del self.streams[stream]
        self.running = bool(self.streams)
        if self.running:
            self.loop.call_soon(self.turn)


class Connection(asyncio.Protocol):
    """One client connection; answers one request at a time."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.paused = False
        self.left = 0  # tokens of the current stream that are still to be written
        self.interval_s = 0.0
        self.ending = b""
        self.timer: asyncio.TimerHandle | None = None  # of the whole answer or of the next event
        self.body = b""
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def connection_lost(self, error: Exception | None) -> None:
        self.left = 0
        if self.timer is not None:
            self.timer.cancel()
        del self.parser  # which knows this connection: nobody collects cycles here

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.left and not self.interval_s:
            self.pump.add(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if self.parser.get_method() == b"GET":
            self.transport.write(whole(MODELS))
            return
        request = orjson.loads(body or b"{}")
        if not request.get("stream"):
            wait = WAIT.search(body)
            if wait is None:
                self.transport.write(whole(WHOLE))
            else:
                self.timer = self.pump.loop.call_later(int(wait[1]) / 1000, self.transport.write, whole(WHOLE))
            return
        order = ORDER.search(body)
        pace_ms, self.left = map(int, order.groups()) if order else (0, 10)
        counted = (request.get("stream_options") or {}).get("include_usage")
        self.ending = FINISH + (COUNTED if counted else b"") + DONE
        self.interval_s = pace_ms / 1000
        self.transport.write(FIRST)
        if pace_ms:
            loop = self.pump.loop
            self.paced(loop.time() + self.interval_s)
        else:
            self.pump.add(self)

    def paced(self, due: float) -> None:
        # Due times are counted from the first one, so that a late event does not delay all that follow.
        self.timer = self.pump.loop.call_at(due, self.paced_token, due)

    def paced_token(self, due: float) -> None:
        if self.write(1):
            self.paced(due + self.interval_s)

    def write(self, most: int) -> bool:
        """Write up to `most` events; false once the stream has ended."""
        if self.left <= 0 or self.transport.is_closing():
            return False
        count = min(most, self.left)
        self.left -= count
        start = self.left % 64
        tokens = b"".join(TOKENS[start : start + count])
        self.transport.write(tokens if self.left else tokens + self.ending)
        return self.left > 0


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    pump = Pump(loop)
    await loop.create_server(lambda: Connection(pump), "127.0.0.1", port, backlog=1024)
    # A collection in the middle of a run would show as a gap in every stream.
    gc.freeze()
    gc.disable()
    await stopped.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
