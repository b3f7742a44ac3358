"""A teacher whose faults are scripted: each request takes the next fault of the script, and none once it is used up."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from graduand.monitoring.prices import Price
from graduand.training.teacher.config import Teacher

PRICE = Price(10.0, 30.0)


def chat(text: str | None, finish: str = "stop", model: str = "fake-1", usage: bool = True) -> dict[str, Any]:
    """An answer in OpenAI's shape."""
    message = {"role": "assistant", "content": text}
    counted = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}]}  # fmt: skip
    return body | ({"usage": counted} if usage else {})


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request gets in place of its answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    hang_up: bool = False


def error(status: int, code: str | None = None, **headers: str) -> Fault:
    """OpenAI's shape of an error."""
    body = json.dumps({"error": {"message": f"fake {status}", "type": "fake", "code": code}}).encode()
    return Fault(status, body, tuple((name.replace("_", "-"), value) for name, value in headers.items()))


@dataclass
class Fake:
    """The running teacher: its script, what it was asked, and how it answers."""

    url: str = ""
    script: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: chat("1")
    delay_s: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def teacher(self, name: str = "fake", **more: Any) -> Teacher:
        """The teacher as a configuration would name it."""
        values: dict[str, Any] = {"model": "fake-1", "key": None, "price": PRICE, "parameters": {"max_tokens": 10}}
        return Teacher(name, f"{self.url}/v1", **(values | more))


@contextmanager
def running() -> Iterator[Fake]:
    """A fake on a free port."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with fake.lock:
                fake.requests.append(body)
                fault = fake.script.pop(0) if fake.script else None
                fake.at_once += 1
                fake.most_at_once = max(fake.most_at_once, fake.at_once)
            time.sleep(fake.delay_s)
            with fake.lock:
                fake.at_once -= 1
            if fault and fault.hang_up:
                self.close_connection = True
                return
            data = fault.body if fault else json.dumps(fake.answer(body)).encode()
            self.send_response(fault.status if fault else 200)
            for name, value in (*(fault.headers if fault else ()), ("content-type", "application/json")):
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            pass  # a client that was killed hangs up

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
