"""The gateway in front of LoRAX, seen from both sides: what real clients get, and what LoRAX was sent.

`make e2e-lorax LORAX_URL=…` asks a real LoRAX; otherwise the embedded engine speaks its dialect, quirks included. Between
the two stands a relay that keeps what passes, since what must never pass is half of what is tested.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.students import BASE, Server
from tests.e2e.test_clients import LORAX_PYTHON
from tests.gateway.running import Gateway, route, upstream
from tests.gateway.speaking import Answer, Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Json = dict[str, Any]
PROMPT = "The capital of France is"
CHAT = [{"role": "user", "content": PROMPT}]
HUB_TOKEN, EVIL = "hf_of-the-client", "evil/hub-adapter"


@dataclass
class Relay:
    """Passes everything on to LoRAX and keeps what was asked, head and body."""

    target: str
    seen: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                relay.seen.append(f"{self.requestline}\n{self.headers}".encode() + body)
                headers = {"content-type": "application/json"}
                got = httpx.post(relay.target + self.path, content=body, headers=headers, timeout=300, trust_env=False)
                self.send_response(got.status_code)
                self.send_header("content-type", got.headers.get("content-type", "text/plain"))
                self.send_header("content-length", str(len(got.content)))
                self.end_headers()
                self.wfile.write(got.content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@dataclass(frozen=True)
class Place:
    """A gateway whose routes are students on LoRAX: the base (or $LORAX_ADAPTER), and an adapter that is not there."""

    gateway: Gateway
    relay: Relay
    adapter: str

    def ask(self, body: Json, path: str = "/v1/chat/completions") -> Answer:
        with Client(self.gateway.port, timeout_s=300) as client:
            return client.ask(body, path, (f"authorization: Bearer {HUB_TOKEN}",))

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.gateway.url, api_key=HUB_TOKEN, max_retries=0, timeout=300)

    def passed(self) -> bytes:
        """All that LoRAX was sent since the last look."""
        seen = b"\n".join(self.relay.seen)
        self.relay.seen.clear()
        return seen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, engine = tmp_path_factory.mktemp("lorax"), None
    url, adapter = os.environ.get("LORAX_URL", "").rstrip("/"), os.environ.get("LORAX_ADAPTER", "")
    if not url:
        engine = Server(folder, "engine", "engine", "--model", BASE, "--dialect", "lorax")
        url = engine.url.removesuffix("/v1")
    if not adapter:  # the base answers to its own name
        adapter = str(httpx.get(f"{url}/info", timeout=60, trust_env=False).json()["model_id"])
    relay = Relay(url)
    routes = {name: route("lorax", "lorax", mode="student", on_student_failure="error") for name in ("triage", "gone")}
    routes["triage"]["student"]["adapter"], routes["gone"]["student"]["adapter"] = adapter, "gone@000000000000"
    gateway = Gateway(folder, {"lorax": upstream(relay.url, kind="lorax")}, routes)
    try:
        yield Place(gateway, relay, adapter)
    finally:
        gateway.stop(240)
        relay.server.shutdown()
        if engine is not None:
            engine.stop()


def test_a_whole_answer_has_openais_shape(place: Place) -> None:
    with place.openai() as client:
        made = client.chat.completions.create(model="triage", messages=CHAT, max_tokens=6, temperature=0)
    assert (made.object, made.model, made.choices[0].finish_reason) == ("chat.completion", place.adapter, "length")
    assert made.id != "null"
    assert made.usage.completion_tokens == 6


def test_a_stream_has_openais_shape_and_its_usage_once(place: Place) -> None:
    body = {"model": "triage", "messages": CHAT, "max_tokens": 6, "temperature": 0}
    answer = place.ask({**body, "stream": True, "stream_options": {"include_usage": True}})
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert {chunk["model"] for chunk in chunks} == {place.adapter}
    assert "null" not in {chunk["id"] for chunk in chunks}
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")] == [6]
    assert answer.text == place.ask(body).text


@pytest.mark.parametrize("stop", ["Paris", ["Paris"]])
def test_a_stop_sequence_is_a_stop(place: Place, stop: Any) -> None:
    answer = place.ask(
        {"model": "triage", "prompt": PROMPT, "max_tokens": 8, "temperature": 0, "stop": stop}, "/v1/completions"
    )
    assert answer.status == 200, answer.body
    assert answer.data["choices"][0]["finish_reason"] in ("stop", "length")


def test_an_adapter_that_cannot_be_loaded_is_an_error_of_openais_shape(place: Place) -> None:
    refused = place.ask({"model": "gone", "messages": CHAT})
    assert refused.status >= 400
    assert refused.error["message"]
    streamed = place.ask({"model": "gone", "messages": CHAT, "stream": True})
    assert streamed.status >= 400 or "error" in streamed.events[-1]
    assert b"[DONE]" not in streamed.body


FIELDS = [
    {"adapter_id": EVIL}, {"adapter_source": "s3"}, {"adapter_source": "local"}, {"adapter_source": "hub"},
    {"api_token": HUB_TOKEN}, {"merged_adapters": {"ids": [EVIL, "b"], "weights": [1, 1], "density": 0.5}},
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: "-".join(map(str, [*fields, *fields.values()]))[:40])
def test_only_the_route_says_what_lorax_loads(place: Place, fields: Json) -> None:
    """Sources and tokens of clients go nowhere, on OpenAI's routes and LoRAX's own."""
    place.passed()
    for path in ("/v1/chat/completions", "/v1/completions"):
        body = {"model": "triage", "max_tokens": 1, **({"messages": CHAT} if "chat" in path else {"prompt": PROMPT})}
        assert place.ask({**body, **fields}, path).status == 200
    native = {"inputs": PROMPT, "parameters": {"max_new_tokens": 1, **fields, "adapter_id": "triage"}}
    assert place.ask(native, "/generate").status == (422 if "merged_adapters" in fields else 200)
    sent = place.passed()
    for secret in (HUB_TOKEN, EVIL, "adapter_source", "merged_adapters", "api_token"):
        assert secret.encode() not in sent
    assert HUB_TOKEN not in place.gateway.errors


@pytest.mark.parametrize("adapter", [EVIL, "../../etc", "s3://bucket/adapter", ""])
def test_a_name_that_is_no_route_never_reaches_lorax(place: Place, adapter: str) -> None:
    place.passed()
    assert place.ask({"model": adapter, "messages": CHAT}).status in (400, 404)
    refused = place.ask({"inputs": PROMPT, "parameters": {"adapter_id": adapter}}, "/generate")
    assert (refused.status in (404, 422), set(refused.data)) == (True, {"error", "error_type"})
    assert place.passed() == b""


MERGES = [
    {"ids": ["triage", "gone"], "weights": [1], "density": 0.5},
    {"ids": ["triage"], "weights": [1], "merge_strategy": "average", "density": 0.5},
    {"ids": ["triage"], "weights": [1], "density": 7},
    {"ids": ["triage"], "weights": [1], "density": 0.5},
]


@pytest.mark.parametrize("merge", MERGES)
def test_merged_adapters_are_refused_before_lorax_sees_them(place: Place, merge: Json) -> None:
    """Words that LoRAX does not know crash the request inside it; the gateway merges nothing, so it passes none on."""
    place.passed()
    refused = place.ask({"inputs": PROMPT, "parameters": {"merged_adapters": merge}}, "/generate")
    assert (refused.status, refused.data["error_type"]) == (422, "validation")
    assert place.passed() == b""


@pytest.mark.skipif(not LORAX_PYTHON.exists(), reason="lorax-client has no environment here; `make e2e` makes it")
def test_lorax_client_through_the_gateway(place: Place) -> None:
    calls = Path(__file__).parent / "lorax_calls.py"
    done = subprocess.run(
        [str(LORAX_PYTHON), str(calls), place.gateway.url.removesuffix("/v1"), "triage", PROMPT],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["streamed"] == got["last"] == got["whole"]
    assert "Did you mean 'triage'" in got["refused"]
