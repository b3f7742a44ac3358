"""The load of streams: opens many at once over raw protocols and keeps the time of every event.

Must not be what limits a measurement: it takes events out of the HTTP chunks with httptools and counts them without
decoding. Run as `python -m benchmarks.streams PORT paced|full STREAMS SECONDS`; prints one JSON object,
in which `count` and `seconds` are the events and the time of the whole run.

paced: each stream is 50 tokens/s for SECONDS. Counted are the gaps between arrivals, the streams with a gap of more
than 250 ms, and those that had not ended, whole, two seconds after they should have.
full: each stream starts anew when it ends. Counted are the events that arrive in SECONDS after one second of warm-up.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httptools
import orjson
import uvloop

from benchmarks.payload import CLIENT_KEY, USER, streamed

TOKENS_PER_S = 50
FULL_SPEED_TOKENS = 200
STALL_S = 0.25
RAMP_S = 1.0
GRACE_S = 2.0
WARM_UP_S = 1.0
MARK = b"data: "


@dataclass(slots=True)
class Tally:
    """What all streams of one run saw."""

    events: int = 0
    gaps_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    whole: int = 0
    broken: int = 0
    causes: dict[str, int] = field(default_factory=dict)

    def fail(self, cause: str) -> None:
        self.broken += 1
        self.causes[cause] = self.causes.get(cause, 0) + 1


class Stream(asyncio.Protocol):
    """One connection: sends a request, times the events of its answer, and tells `ended` when it is over."""

    def __init__(self, request: bytes, tokens: int, tally: Tally, ended: Callable[["Stream"], None]) -> None:
        self.request, self.tokens, self.tally, self.ended = request, tokens, tally, ended
        self.worst_gap_s = 0.0
        self.over = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Begin a stream on this connection."""
        self.over = False
        self.events = 0
        self.tail = b""
        self.done = False
        self.sent_at = time.perf_counter()
        self.last_at = 0.0
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        before = self.events
        self.parser.feed_data(data)
        if self.events != before:
            self.arrived(self.events - before)
        if self.over:
            self.ended(self)

    def arrived(self, events: int) -> None:
        # uvloop's own clock counts whole milliseconds, which is too coarse here.
        now = time.perf_counter()
        self.tally.events += events
        if self.last_at:
            gap_s = now - self.last_at
            self.tally.gaps_s.append(gap_s)
            self.worst_gap_s = max(gap_s, self.worst_gap_s)
        else:
            self.tally.first_s.append(now - self.sent_at)
        self.last_at = now

    def on_body(self, body: bytes) -> None:
        # The end of the last piece is looked at again, since a mark may lie across two pieces.
        text = self.tail + body
        self.events += text.count(MARK)
        self.tail = text[-(len(MARK) - 1) :]
        self.done = self.done or b"[DONE]" in text

    def on_message_complete(self) -> None:
        self.over = True
        status = self.parser.get_status_code()
        if status == 200 and self.done and self.events > self.tokens:
            self.tally.whole += 1
        else:
            self.tally.fail(f"status {status}" if status != 200 else "not whole")

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over:
            self.over = True
            self.tally.fail("connection closed")
            self.ended(self)


def request(port: int, number: int, pace_ms: int, tokens: int) -> bytes:
    body = streamed(pace_ms, tokens).replace(USER, f"stream-{number}").encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {CLIENT_KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def paced(port: int, streams: int, seconds: float) -> dict[str, Any]:
    """Streams at the speed of an engine: how smoothly do they arrive?"""
    loop, tally, ended = asyncio.get_running_loop(), Tally(), asyncio.Semaphore(0)
    tokens = round(seconds * TOKENS_PER_S)
    opened: list[Stream] = []
    began = time.perf_counter()
    for number in range(streams):
        sent = request(port, number, 1000 // TOKENS_PER_S, tokens)
        make = partial(Stream, sent, tokens, tally, lambda stream: ended.release())
        opened.append((await loop.create_connection(make, "127.0.0.1", port))[1])
        await asyncio.sleep(RAMP_S / streams)
    try:
        async with asyncio.timeout(seconds + GRACE_S):
            for _ in opened:
                await ended.acquire()
    except TimeoutError:
        pass  # the streams that are late are counted below
    late = [stream for stream in opened if not stream.over]
    gaps_ms = sorted(gap_s * 1000 for gap_s in tally.gaps_s) or [0.0]
    first_ms = sorted(first_s * 1000 for first_s in tally.first_s) or [0.0]
    return {
        "gap_max_ms": gaps_ms[-1],
        "gap_p99_ms": gaps_ms[int(len(gaps_ms) * 0.99)],
        "stalled": sum(stream.worst_gap_s > STALL_S for stream in opened),
        "unfinished": len(late) + tally.broken,
        "first_p50_ms": first_ms[len(first_ms) // 2],
        "seconds": time.perf_counter() - began,
        "count": tally.events,
        "causes": tally.causes,
    }


async def full(port: int, streams: int, seconds: float) -> dict[str, Any]:
    """Streams as fast as they come: how many events a second arrive?"""
    loop, tally = asyncio.get_running_loop(), Tally()

    def again(stream: Stream) -> None:
        if not stream.transport.is_closing() and stream.parser.should_keep_alive():
            stream.send()
        else:
            stream.transport.close()
            loop.create_task(connect(stream.request))

    async def connect(sent: bytes) -> None:
        try:
            await loop.create_connection(lambda: Stream(sent, FULL_SPEED_TOKENS, tally, again), "127.0.0.1", port)
        except OSError as error:
            tally.fail(str(error))

    connected = time.perf_counter()
    for number in range(streams):
        await connect(request(port, number, 0, FULL_SPEED_TOKENS))
    await asyncio.sleep(WARM_UP_S)
    before, began = tally.events, time.perf_counter()
    await asyncio.sleep(seconds)
    events, ended = tally.events, time.perf_counter()
    return {
        "chunks_per_s": (events - before) / (ended - began),
        "streams": tally.whole,
        "unfinished": tally.broken,
        "seconds": ended - connected,
        "count": events,
        "causes": tally.causes,
    }


def main() -> None:
    port, mode, streams, seconds = sys.argv[1:]
    gc.freeze()
    gc.disable()
    run = {"paced": paced, "full": full}[mode]
    print(orjson.dumps(uvloop.run(run(int(port), int(streams), float(seconds)))).decode())


if __name__ == "__main__":
    main()
