"""Where each microsecond goes: one request through the data plane in memory, without sockets.

`python -m benchmarks.hotpath` feeds bytes to the protocols as the event loop would, with transports that answer at once,
and prints the time a request takes and a profile by function. What the kernel and the event loop add is not in it.
"""

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from gateway.dataplane.client import Connection
from gateway.dataplane.fleet import Fleet
from gateway.dataplane.keys import ClientKeys
from gateway.dataplane.plane import Plane
from gateway.dataplane.server import ClientConnection
from gateway.log import LogWriter
from gateway.routes import Replica, Route, RouteTable, Student, Teacher, Unit, Upstream
from monitoring.metrics import Metrics
from monitoring.series import SeriesFile

BODY = (
    b'{"model":"triage","user":"user-17","messages":[{"role":"system","content":"You route support tickets to one of five '
    b'queues: billing, login, shipping, returns, other. Answer with the queue only."},{"role":"user","content":"Hello, I '
    b"paid my invoice twice last week and I would like to have one of the payments back, please. The order number is "
    b'12345-678."}],"temperature":0,"max_tokens":16}'
)
ANSWER = (
    b'{"id":"chatcmpl-123","object":"chat.completion","created":1700000000,"model":"gpt-4o","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"billing"},"logprobs":null,"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":57,"completion_tokens":2,"total_tokens":59},"system_fingerprint":"fp_44709d6fcb"}'
)
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nauthorization: Bearer k1\r\ncontent-type: application/json\r\n"
)
REQUEST += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 07:00:00 GMT\r\nContent-Type: application/json\r\n"
)
RESPONSE += b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (len(ANSWER), ANSWER)


class Wire:
    """A transport that hands what is written to `peer`, or drops it."""

    def __init__(self, peer: Any = None) -> None:
        self.peer = peer

    def write(self, data: bytes) -> None:
        if self.peer is not None:
            self.peer.data_received(RESPONSE)

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True


async def _run(requests: int, profile: bool) -> None:
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        upstreams = {
            name: Upstream(name, kind, (Replica("http", "127.0.0.1", 1, "/v1"),))
            for name, kind in (("openai", "openai"), ("gpu", "vllm"))
        }
        route = Route(
            "triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), "canary", 1000, Unit("user"), 0
        )
        fleet = Fleet(upstreams, loop)
        for state in fleet.upstreams.values():
            idle = state.replicas[0].pool._idle
            connection = Connection(idle)
            connection.connection_made(Wire(connection))  # type: ignore[arg-type]
            idle.append(connection)
        log = LogWriter(Path(folder))
        metrics = Metrics(SeriesFile(Path(folder) / "w.series"))
        plane = Plane(RouteTable(1, {"triage": route}), fleet, ClientKeys(("k1", "k2")), None, metrics, log)
        client = ClientConnection(plane.handle, set(), loop)
        client.connection_made(Wire())  # type: ignore[arg-type]
        _feed(client, requests // 10)
        if profile:
            profiler = cProfile.Profile()
            profiler.runcall(_feed, client, requests)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
        else:
            times = sorted(_timed(client, requests // 50) for _ in range(50))
            print(f"{times[0]:.2f} us a request at best, {times[25]:.2f} us median of 50 rounds")
        log.close()


def _feed(client: ClientConnection, requests: int) -> None:
    for _ in range(requests):
        client.data_received(REQUEST)


def _timed(client: ClientConnection, requests: int) -> float:
    began = time.perf_counter()
    _feed(client, requests)
    return (time.perf_counter() - began) / requests * 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--profile", action="store_true", help="print a profile by function")
    arguments = parser.parse_args()
    uvloop.run(_run(arguments.requests, arguments.profile))
