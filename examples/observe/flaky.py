"""A student that fails on purpose, in every way that a dashboard should show; it answers well most of the time."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.demo.tickets import QUEUE

# Of each ten requests: one error, one overload, one answer that is no JSON.
FAULTS = {
    3: (500, b'{"error": {"message": "out of memory"}}'),
    6: (429, b'{"error": {"message": "busy"}}'),
    8: (200, b"{"),
}
HEAD = {"id": "x", "created": 0, "model": "flaky"}
USAGE = {"prompt_tokens": 60, "completion_tokens": 1, "total_tokens": 61}


class FlakyStudent:
    """Serves until `close`; every answer is the first queue's name."""

    def __init__(self, port: int) -> None:
        counting = iter(range(1 << 60))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                stream = json.loads(self.rfile.read(int(self.headers["content-length"]))).get("stream") is True
                good = _stream() if stream else _answer()
                status, body = FAULTS.get(next(counting) % 10, (200, good))
                kind = "text/event-stream" if stream and body is good else "application/json"
                head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _answer() -> bytes:
    message = {"role": "assistant", "content": QUEUE.labels[0]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def _stream() -> bytes:
    head = {**HEAD, "object": "chat.completion.chunk"}
    pieces = [{"content": QUEUE.labels[0]}, {"content": ", I think"}]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in pieces]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**head, "choices": [], "usage": {**USAGE, "completion_tokens": 2, "total_tokens": 62}})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"
