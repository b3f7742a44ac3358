"""A real gateway with a recorded teacher and students of known quality, and users who keep asking."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from graduand.gateway.control.store import rollouts
from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Settings
from tests.gateway.running import PATIENCE_S, Gateway, RecordedTeacher, until
from tests.gateway.speaking import Client

Json = dict[str, Any]
TEACHER = "gpt-4o"
GOOD, SLICED, BREAKING = "good@aaaaaa111111", "sliced@bbbbbb222222", "breaking@cccccc333333"
UNSURE, SUCCESSOR = "unsure@dddddd444444", "unsure@eeeeee555555"
PROMPTS = 200
TASK = {"kind": "label", "labels": ["yes", "no"]}


def prompt(number: int) -> str:
    """Every tenth is about a refund."""
    return f"Ticket {number % PROMPTS}: {'a refund' if number % 10 == 0 else 'a question'}"


def answer(model: str, number: int) -> str:
    """The sliced student is wrong on half of the refunds."""
    right = "yes" if number % 2 else "no"
    return "maybe" if model == SLICED and number % 20 == 0 else right


class Recorded(RecordedTeacher):
    """For the teacher and the students at once, and `more` answers."""

    def __init__(self, folder: Path, more: Iterable[Json] = ()) -> None:
        path = folder / "answers.jsonl"
        lines = [
            {"model": model, "messages": [{"role": "user", "content": prompt(n)}], "answer": answer(model, n)}
            for model in (TEACHER, GOOD, SLICED)
            for n in range(PROMPTS)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *more]))
        super().__init__(path)


class FaultServer:
    """A student that answers well until it is `broken`: then it answers 500."""

    def __init__(self) -> None:
        owner = self
        self.broken = False

        class Handler(_Handler):
            def do_POST(self) -> None:
                data = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number = int(data["messages"][-1]["content"].split()[1].rstrip(":"))
                message = {"role": "assistant", "content": answer(BREAKING, number)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                whole = {"id": "x", "object": "chat.completion", "model": BREAKING, "choices": [choice]}
                self.send(500 if owner.broken else 200, {"error": {"message": "out"}} if owner.broken else whole)

        self._server, self.url = _serving(Handler)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class UnsureServer:
    """A student with log probabilities: on every fifth prompt it is unsure, and wrong half of the time."""

    def __init__(self) -> None:
        class Handler(_Handler):
            def do_POST(self) -> None:
                data = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number = int(data["messages"][-1]["content"].split()[1].rstrip(":"))
                says = "maybe" if number % 10 == 0 else answer(UNSURE, number)
                choice: Json = {"index": 0, "finish_reason": "stop", "logprobs": None}
                if data.get("logprobs"):
                    tops = [
                        {"token": says, "logprob": -0.1},
                        {"token": "x", "logprob": -0.3 if number % 5 == 0 else -6.0},
                    ]
                    kept = tops[: data.get("top_logprobs", 0)]
                    choice["logprobs"] = {"content": [{"token": says, "logprob": -0.1, "top_logprobs": kept}]}
                head = {"id": "x", "model": UNSURE}
                if not data.get("stream"):
                    message = {"role": "assistant", "content": says}
                    choices = [{**choice, "message": message}]
                    return self.send(200, {**head, "object": "chat.completion", "choices": choices})
                chunk = {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": {"content": says}}]}
                events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
                return self.send(200, events, "text/event-stream")

        self._server, self.url = _serving(Handler)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Lists every student; keeps its connections."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send(200, {"data": [{"id": BREAKING}, {"id": UNSURE}, {"id": SUCCESSOR}]})

    def send(self, status: int, data: Json | bytes, kind: str = "application/json") -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: Any) -> None:
        pass


def _serving(handler: type[BaseHTTPRequestHandler]) -> tuple[ThreadingHTTPServer, str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


@dataclass(frozen=True)
class Reply:
    """What one user saw."""

    began: float
    ended: float
    user: str
    number: str
    arm: str
    reason: str
    worker_died: bool = False


def ticket(number: int) -> Json:
    """What one user asks."""
    return {"messages": [{"role": "user", "content": prompt(number)}]}


@dataclass
class Users:
    """Threads that ask on and on, each over a connection of its own, until `stop`."""

    port: int
    route: str
    people: int = 100_000
    threads: int = 4
    pause_s: float = 0.02  # a flood would measure who gets the processor: two gateways may be under test side by side
    question: Callable[[int], Json] = ticket
    replies: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._count = iter(range(1 << 60))
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads)
        self._done = [self._pool.submit(self._run) for _ in range(self.threads)]

    def stop(self) -> None:
        self._stopping.set()
        for one in self._done:
            one.result(90)
        self._pool.shutdown()

    def __enter__(self) -> "Users":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        client: Client | None = None
        while not self._stopping.wait(self.pause_s):
            with self._lock:
                number = next(self._count)
            try:
                client = client or Client(self.port)
                self._ask(client, number)
            except OSError:  # a worker was killed: the next connection finds another
                client = None
        if client is not None:
            client.close()

    def _ask(self, client: Client, number: int) -> None:
        user, began = f"user-{number % self.people}", time.time()
        got = client.ask({"model": self.route, "user": user, **self.question(number)})
        assert got.status == 200, got.body
        head = got.headers
        self.replies.append(
            Reply(began, time.time(), user, head["x-graduand-id"], head["x-graduand-arm"], head["x-graduand-reason"])
        )


class Rollouts:
    """The rollouts API of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.admin: httpx.Client = gateway.admin

    def start(self, route: str, student: str, **changes: Any) -> str:
        spec = {
            "route": route,
            "student": student,
            "gates": ["agreement 0.8"],
            "steps": steps(),
            "cycle": "none",
            **changes,
        }
        body = {"spec": spec, "why": "a test"}
        answer = self.admin.post("/v1/rollouts", json=body, headers={"x-graduand-who": "ann"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, name: str, more: str = "") -> Json:
        answer = self.admin.get(f"/v1/rollouts/{name}{more}")
        assert answer.status_code == 200, answer.text
        data: Json = answer.json()
        return data

    def verb(self, name: str, verb: str, **body: Any) -> httpx.Response:
        return self.admin.post(f"/v1/rollouts/{name}/{verb}", json=body, headers={"x-graduand-who": "ann"})

    def until(self, name: str, phase: str, within_s: float = PATIENCE_S) -> Json:
        """Wait for a phase, or for a step by its name, until every worker serves by it.

        One that lasts, or nobody might look while it is there.
        """
        last: Json = {}

        def there() -> bool:
            last.update(self.get(name))
            time.sleep(0.05)
            return phase in (last["phase"], last["step"] if last["phase"] not in ("hold", "precheck") else None)

        try:
            until(there, f"{name} is in {phase}", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is in {last.get('phase')}: {last.get('reasons')}") from None
        self.gateway.settled()
        return last


def steps(*canaries: Json, pairs: int = 60) -> list[Json]:
    """Quick steps: from the shadow by these canaries to everything."""
    short = {"dwell": "300ms", "requests": 10}
    middle = [{"canary": {**short, **one}} for one in canaries or ({"weight": 10},)]
    return [{"shadow": {"pairs": pairs, "t_max": "10m"}}, *middle, {"full": {**short, "requests": 30}}]


def stored(gateway: Gateway) -> rollouts.Rollouts:
    """The store of a gateway, as one more of its processes sees it."""
    return open_rollouts(Settings({}, {}, state=gateway.settings["state"], logs=gateway.settings["logs"]))


def controller_id(gateway: Gateway) -> int | None:
    """The process id of the gateway's controller, if it is up."""
    return next(iter(gateway.process_ids("graduand.gateway.processes.control")), None)


def kill(process: int | None) -> bool:
    """kill -9 of one process that the gateway started."""
    try:
        if process is not None:
            os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return process is not None


def pairs_of(row: Row, records: list[Json]) -> tuple[int, int]:
    """How many pairs were counted, and how many the log has: in the end the same."""
    mine = [one for one in records if one["rollout"] == row.id and one["route_version"] >= row.attempt_version]
    served = {
        one["id"]
        for one in mine
        if one["role"] == "served" and one["copy_wanted"] and one["completed"] and one["arm"] == one["assigned_arm"]
    }
    pairs = [one for one in mine if one["role"] in ("shadow", "audit") and one["parent_id"] in served]
    counted = sum(count for what, count in row.counts.items() if what.startswith(("copies", "unscored", "pairs of")))
    return row.ledger.pairs + counted, len(pairs)
