"""Real clients, the real gateway, the real engine: openai's streaming helper and lorax-client, through the gateway."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.gateway.running import ROOT, Gateway, route, until, upstream

pytestmark = pytest.mark.slow

LORAX_PYTHON = ROOT / ".venv-lorax" / "bin" / "python"
BASE = "smollm2-135m"
PROMPT = "The capital of France is"


@pytest.fixture(scope="module", params=["vllm", "lorax"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The student is the engine's base model; the engine speaks vLLM's dialect or LoRAX's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("clients")
    dialect = "lorax" if request.param == "lorax" else "openai"
    with (folder / "engine.log").open("wb") as output:
        engine = subprocess.Popen(
            [sys.executable, "-m", "graduand", "engine", "--model", BASE, "--listen", f"127.0.0.1:{port}",
             "--dialect", dialect],
            stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
    try:
        until(lambda: _healthy(port, engine), "the engine starts")
        prefix = "" if request.param == "lorax" else "/v1"
        section = route("engine", "engine", mode="student", on_student_failure="error")
        section["student"]["adapter"] = BASE
        upstreams = {"engine": upstream(f"http://127.0.0.1:{port}{prefix}", kind=request.param)}
        running = Gateway(folder, upstreams, {"triage": section})
        try:
            yield running
        finally:
            running.stop()
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(30)


def _healthy(port: int, engine: "subprocess.Popen[bytes]") -> bool:
    assert engine.poll() is None, "the engine ended"
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_openai_streaming_helper(gateway: Gateway) -> None:
    with openai.OpenAI(base_url=gateway.url, api_key="none", max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        whole = client.chat.completions.create(model="triage", messages=messages, max_tokens=12, temperature=0)
        with client.chat.completions.stream(
            model="triage", messages=messages, max_tokens=12, temperature=0, stream_options={"include_usage": True}
        ) as stream:
            pieces = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
    text = whole.choices[0].message.content
    assert "Paris" in text
    assert final.choices[0].message.content == "".join(pieces) == text
    assert final.usage.completion_tokens == whole.usage.completion_tokens > 0
    assert final.model == whole.model == BASE


@pytest.mark.skipif(not LORAX_PYTHON.exists(), reason="lorax-client has no environment here; `make e2e` makes it")
def test_lorax_client(gateway: Gateway) -> None:
    calls = Path(__file__).parent / "lorax_calls.py"
    address = gateway.url.removesuffix("/v1")
    done = subprocess.run(
        [str(LORAX_PYTHON), str(calls), address, "triage", PROMPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert "Paris" in got["whole"]
    assert got["streamed"] == got["last"] == got["whole"]
    assert got["stream_tokens"] == got["generated_tokens"] == 8
    if gateway.settings["upstreams"]["engine"]["kind"] == "vllm":
        assert "".join(got["tokens"]) == got["whole"]
        assert all(logprob < 0 for logprob in got["logprobs"])
    else:
        assert got["tokens"] == []  # LoRAX's OpenAI routes, which the gateway asks, tell no tokens
    assert "Did you mean 'triage'" in got["refused"]
