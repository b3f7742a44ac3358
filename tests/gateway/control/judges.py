"""A judge on a free port whose answers depend on what it is shown, and which can be taken away and brought back."""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from graduand.gateway.model.routes import Replica, Upstream

# Each question's tags end in its own 16 digits; what stands between them may contain anything else.
ANSWERS = re.compile(
    r"<answer_a_([0-9a-f]{16})>\n(.*?)\n</answer_a_\1>\n\n<answer_b_\1>\n(.*?)\n</answer_b_\1>", re.DOTALL
)


class JudgeServer:
    """`mode`: `fair` finds "no" worse than anything else; `biased` takes what stands first; `babbling` says no verdict;
    `down` answers 500; `refusing` answers 400; `page` sends a web page. `asked` counts each question by its text."""

    def __init__(self) -> None:
        owner = self
        self.mode, self.delay_s = "fair", 0.0
        self.asked: Counter[str] = Counter()
        self.answered = self.most_at_once = self._now = 0
        self.seen: list[dict[str, Any]] = []
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with owner._lock:
                    owner.asked[body["messages"][-1]["content"]] += 1
                    owner.seen.append({"path": self.path, "key": self.headers["authorization"], **body})
                    owner._now += 1
                    owner.most_at_once = max(owner.most_at_once, owner._now)
                if owner.delay_s:
                    time.sleep(owner.delay_s)
                status, data = owner.reply(body)
                with owner._lock:
                    owner._now -= 1
                    owner.answered += status == 200
                head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a killed controller hangs up
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def upstream(self, name: str = "judge", key: str | None = "secret") -> Upstream:
        return Upstream(name, "openai", (Replica("http", "127.0.0.1", self.port, "/v1"),), key)

    def reply(self, body: dict[str, Any]) -> tuple[int, bytes]:
        if self.mode in ("down", "refusing"):
            return 500 if self.mode == "down" else 400, b'{"error": {"message": "out"}}'
        if self.mode == "page":
            return 200, b"<html>maintenance</html>"
        says = self.verdict(body["messages"][-1]["content"])
        usage = {"prompt_tokens": 40, "completion_tokens": 6}
        choices = [{"message": {"role": "assistant", "content": says}}]
        return 200, json.dumps({"choices": choices, "usage": usage}).encode()

    def verdict(self, asked: str) -> str:
        found = ANSWERS.search(asked)
        assert found is not None, asked
        if self.mode == "babbling":
            return "Well, both have their merits."
        if self.mode == "biased":
            return "VERDICT: A"
        bad = [text.startswith("no") for text in found.groups()[1:]]
        return f"Let me see.\nVERDICT: {'TIE' if bad[0] == bad[1] else 'B' if bad[0] else 'A'}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
