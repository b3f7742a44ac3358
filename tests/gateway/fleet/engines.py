"""Engines that speak vLLM's dialect of adapters without a model: cheap replicas that can be killed, slowed and emptied.

An adapter answers otherwise than the base, unless it is one of `idle`: loaded, listed, and not applied.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BASE = "base"
Json = dict[str, Any]


class Engine:
    """One replica; `asked` has every answered request in order, as its path and model."""

    def __init__(self, port: int = 0) -> None:
        self.adapters: dict[str, str] = {}
        self.idle: set[str] = set()
        self.refused: set[str] = set()
        self.busy: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.gate = threading.Event()  # loading waits for it
        self.gate.set()
        self.port = port
        self.starts: list[int] = []  # how much was asked when it was started
        self._server: ThreadingHTTPServer
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        engine = self
        self.starts.append(len(self.asked))

        class Handler(_Handler):
            of = engine

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        """As a crash does: what was loaded is forgotten."""
        self._server.shutdown()
        self._server.server_close()
        self.adapters.clear()

    def models(self) -> list[str]:
        """The models of all completions and chats, in order."""
        return [model for path, model in self.asked if path.endswith("completions")]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Engine

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/metrics":
            labels = f'max_lora="4",running_lora_adapters="{",".join(self.of.busy)}",waiting_lora_adapters=""'
            return self._send(200, f"vllm:num_requests_running 0\nvllm:lora_requests_info{{{labels}}} 1\n".encode())
        entries = [{"id": BASE, "parent": None}]
        entries += [{"id": name, "root": path, "parent": BASE} for name, path in list(self.of.adapters.items())]
        self._send(200, json.dumps({"data": entries}).encode())

    def do_POST(self) -> None:
        body: Json = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.of.asked.append((self.path, body.get("model") or body.get("lora_name", "")))
        if self.path.endswith("load_lora_adapter"):
            return self._change(body)
        model = body["model"]
        if model != BASE and model not in self.of.adapters:
            return self._error(404, f"The model `{model}` does not exist.")
        if self.path.endswith("/chat/completions"):
            choice: Json = {"index": 0, "message": {"role": "assistant", "content": model}, "finish_reason": "stop"}
        else:
            value = -0.5 if model == BASE or model in self.of.idle else -0.1
            logprobs = {"top_logprobs": [{" a": value, " b": -2.0}]}
            choice = {"index": 0, "text": " a", "finish_reason": "length", "logprobs": logprobs}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
        self._send(200, json.dumps(answer).encode())

    def _change(self, body: Json) -> None:
        name = body["lora_name"]
        if self.path.endswith("unload_lora_adapter"):
            known = self.of.adapters.pop(name, None)
            return self._error(404, "cannot be found") if known is None else self._send(200, b"Success")
        self.of.gate.wait(60)
        if name in self.of.refused:
            return self._error(400, "rank 64 is greater than max_lora_rank 16")
        self.of.adapters[name] = body["lora_path"]
        self._send(200, b"Success")

    def _error(self, status: int, message: str) -> None:
        body = {"error": {"message": message, "type": "NotFoundError", "param": None, "code": status}}
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
