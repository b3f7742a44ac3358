"""Where each microsecond goes: one request through the data plane in memory, without sockets.

`python -m benchmarks.hotpath` feeds bytes to the protocols as the event loop would, with transports that answer at once.
It prints what a whole request takes and what its stages take alone, compiled or not as the modules happen to be; what
the kernel and the event loop add is not in it. `--profile` prints a profile by function (of uncompiled modules).
"""

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httptools
import orjson
import uvloop

from graduand.gateway.dataplane import checking
from graduand.gateway.dataplane.budget import Budgets
from graduand.gateway.dataplane.dialects import answers
from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.fleet import Fleet
from graduand.gateway.dataplane.http.client import Connection
from graduand.gateway.dataplane.http.server import ClientConnection
from graduand.gateway.dataplane.keys import ClientKeys
from graduand.gateway.dataplane.plane import Plane
from graduand.gateway.dataplane.shared import Shared
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model import record
from graduand.gateway.model.clients import ANYBODY, ClientKey
from graduand.gateway.model.routes import Replica, Route, RouteTable, Student, Teacher, Upstream, read_unit
from graduand.gateway.model.routing import decide
from graduand.monitoring.checks import judging, written
from graduand.monitoring.checks.judging import Checks
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.series import SeriesFile

BODY = (
    b'{"model":"triage","user":"user-17","messages":[{"role":"system","content":"You route support tickets to one of '
    b'five queues: billing, login, shipping, returns, other. Answer with the queue only."},{"role":"user","content":'
    b'"Hello, I paid my invoice twice last week and I would like to have one of the payments back, please. The order '
    b'number is 12345-678."}],"temperature":0,"max_tokens":16}'
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
_CHUNK = (
    b'{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o",'
    b'"system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}],"usage":null}'
)
PIECES = 30
EVENTS = [
    _CHUNK % (b'{"role":"assistant","content":""}', b"null"),
    *(_CHUNK % (b'{"content":" word%d"}' % number, b"null") for number in range(PIECES)),
    _CHUNK % (b"{}", b'"stop"'),
    _CHUNK[: _CHUNK.index(b'"choices"')]
    + b'"choices":[],"usage":{"prompt_tokens":57,"completion_tokens":30,"total_tokens":87}}',
    b"[DONE]",
]
STREAM_BODY = BODY[:-1] + b',"stream":true}'
STREAM_REQUEST = REQUEST[: REQUEST.index(b"Content-Length")] + b"Content-Length: %d\r\n\r\n%b" % (
    len(STREAM_BODY), STREAM_BODY
)  # fmt: skip
STREAM_RESPONSE = [
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 07:00:00 GMT\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
    *(b"%x\r\ndata: %b\n\n\r\n" % (len(event) + 8, event) for event in EVENTS),
    b"0\r\n\r\n",
]
JSON_TEXT = '{"category": "billing", "amount": 12.5, "currency": "EUR", "tags": ["double charge", "refund"]}'
PROSE = " ".join(f"Sentence {number} says something else about parcel {number * 7919}." for number in range(11))
ROUTE = Route(
    "triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), "canary", 1000, read_unit("user"), 0
)


class Wire:
    """A transport that answers `peer` at once whatever it writes, or drops what is written."""

    def __init__(self, peer: Any = None) -> None:
        self.peer = peer
        self.answers = peer is not None

    def write(self, data: bytes) -> None:
        if self.answers:
            self.peer.data_received(RESPONSE)

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True


class Parts:
    """The data plane with both sides' transports replaced."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        upstreams = {
            name: Upstream(name, kind, (Replica("http", "127.0.0.1", 1, "/v1"),))
            for name, kind in (("openai", "openai"), ("gpu", "vllm"))
        }
        fleet = Fleet(upstreams, loop)
        for state in fleet.upstreams.values():
            pool = state.replicas[0].pool
            connection = Connection(pool)
            wire = Wire(connection)
            connection.connection_made(wire)  # type: ignore[arg-type]
            pool.park(connection)
            if state is fleet.upstreams["openai"]:
                self.upstream = wire
        self.log = LogWriter(folder)
        metrics = Metrics(SeriesFile(folder / "w.series"))
        table = RouteTable(1, {"triage": ROUTE})
        budgets = Budgets(folder / "budgets")
        self.shared = Shared(
            table, fleet, ClientKeys((ClientKey("k1"), ClientKey("k2"))), None, metrics, self.log, budgets
        )
        self.outbox = fleet.outbox
        self.client = ClientConnection(Plane(self.shared).handle, set(), fleet.outbox)
        self.client.connection_made(Wire())  # type: ignore[arg-type]

    def request(self) -> None:
        self.client.data_received(REQUEST)
        self.outbox.end_turn()

    def stream(self) -> None:
        """A request whose answer comes in pieces, each in a turn of its own."""
        self.upstream.answers = False
        self.client.data_received(STREAM_REQUEST)
        self.outbox.end_turn()
        for data in STREAM_RESPONSE:
            self.upstream.peer.data_received(data)
            self.outbox.end_turn()
        self.upstream.answers = True


async def _run(requests: int, profile: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder), asyncio.get_running_loop())
        if profile:
            profiler = cProfile.Profile()
            profiler.runcall(_repeat, parts.request, requests)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
        else:
            _print_stages(parts, requests)
        parts.log.close()


def _print_stages(parts: Parts, requests: int) -> None:
    data, number = orjson.loads(BODY), record.new_id()
    target = parts.shared.routes["triage"].teacher.addressee
    meter = parts.shared.meters.of("triage", "teacher", "", "ok")
    decision = decide(ROUTE, "user-17", number, 0.0)
    answer = orjson.loads(ANSWER)
    line = _record(number, decision, data)
    stages: list[tuple[str, Callable[[], object]]] = [
        ("read the request's HTTP", lambda: _parsed(httptools.HttpRequestParser, REQUEST)),
        ("its JSON, checked", lambda: CHAT.parse(BODY)),
        ("a request id", record.new_id),
        ("decide the arm", lambda: decide(ROUTE, "user-17", number, 0.0)),
        ("the upstream's body", lambda: CHAT.sending(BODY, data, target, scored=False)),
        ("read the answer's HTTP", lambda: _parsed(httptools.HttpResponseParser, RESPONSE)),
        ("the answer's JSON, checked", lambda: answers.whole(ANSWER, {}, target)),
        ("its checks: a label", _checks(parts, {"kind": "label", "labels": ["billing", "shipping"]}, answer)),
        ("its checks: JSON", _checks(parts, {"kind": "json"}, _said(JSON_TEXT))),
        ("its checks: 600 characters of text", _checks(parts, {"kind": "text"}, _said(PROSE))),
        ("metrics", lambda: (meter.ended(0.01, 0.01, 0.001), meter.used(57, 2))),
        ("the log record", lambda: _record(number, decision, data)),
        ("the log record as JSON", lambda: orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)),
    ]
    form = "compiled" if answers.__file__.endswith(".so") else "not compiled"
    whole, stream = _best_us(parts.request, requests), _best_us(parts.stream, requests // 10)
    print(f"a whole request: {whole:.1f} us; one streamed in {PIECES} pieces: {stream:.1f} us ({form}); stages alone:")
    for name, stage in stages:
        print(f"  {_best_us(stage, requests):6.2f} us  {name}")


def _checks(parts: Parts, task: dict[str, Any], answer: dict[str, Any]) -> Callable[[], object]:
    """All that the task's checks cost a whole answer: judging, counting, and their part of the record."""
    checks, meters = Checks(written.of_route(None, task)), parts.shared.meters

    def judge() -> object:
        verdicts = checks.judge(checking.choices(answer, {}), acting=True)
        judging.worst(verdicts)
        meters.judged(verdicts, "triage", "student", "triage@3f9c1a")
        return judging.logged(verdicts)

    return judge


def _said(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


class _Headers:
    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_body(self, data: bytes) -> None:
        pass


def _parsed(kind: Any, data: bytes) -> None:
    kind(_Headers()).feed_data(data)


def _record(number: str, decision: Any, data: dict[str, Any]) -> dict[str, Any]:
    return record.record(
        id=number, parent_id=None, role="served", route="triage", endpoint="/chat/completions", decision=decision,
        arm="teacher", reason="teacher", adapter=None, base_model=None, teacher_model="gpt-4o", served_model="gpt-4o",
        status=200, request_body=BODY, request=data, response_json=ANSWER.decode(), stream=False, completed=True,
        client_disconnected=False, bytes_released=len(ANSWER),
        timings={"queue_ms": None, "overhead_ms": 0.1, "ttft_ms": 1.0, "total_ms": 1.0},
        usage={"prompt_tokens": 57, "completion_tokens": 2, "kind": "exact"},
        attempts=[{"upstream": "openai", "replica": "http://127.0.0.1:1/v1", "outcome": "ok", "ms": 1.0}], error=None,
        client=ANYBODY, verdicts=[],
    )  # fmt: skip


def _repeat(what: Callable[[], object], times: int) -> None:
    for _ in range(times):
        what()


def _best_us(what: Callable[[], object], times: int) -> float:
    rounds = []
    # Short rounds: on a busy machine some of them are not interrupted.
    for _ in range(400):
        began = time.perf_counter()
        _repeat(what, times // 400)
        rounds.append((time.perf_counter() - began) / (times // 400) * 1e6)
    return min(rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--profile", action="store_true", help="print a profile by function")
    arguments = parser.parse_args()
    uvloop.run(_run(arguments.requests, arguments.profile))
