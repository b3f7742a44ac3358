"""A real Prometheus of one's own: found, started with the project's rules, asked, and ended."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

RULES = Path(__file__).parents[2] / "monitoring" / "prometheus" / "rules"
# Where `make observe` unpacks one; beside the Python that runs.
UNPACKED = Path(sys.prefix) / "prometheus"
READY_WITHIN_S = 60.0

Json = dict[str, Any]


class NoPrometheus(RuntimeError):
    """There is no Prometheus here, or it did not start; the message says why and what to do."""


def binary(name: str) -> str:
    """`prometheus` or `promtool`; raise NoPrometheus."""
    unpacked = UNPACKED / "usr" / "bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    if found is None:
        raise NoPrometheus(
            f"{name} was not found; `make prometheus` fetches it, or see https://prometheus.io/download/"
        )
    return found


class Prometheus:
    """Scrapes `targets` (HOST:PORT of admin planes) every `every_s`; ends with its block."""

    def __init__(self, folder: Path, targets: list[str], port: int, every_s: int = 1) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.every_s = every_s
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(_configuration(targets, every_s)))
        command = [
            binary("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip
        assets = UNPACKED / "usr" / "share" / "prometheus" / "web"
        if command[0].startswith(str(UNPACKED)):
            command.append(f"--web.local-assets={assets}/")
        with (folder / "prometheus.log").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "GOMAXPROCS": "1"},
            )
        self._client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def __enter__(self) -> "Prometheus":
        until = time.monotonic() + READY_WITHIN_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.close()
                said = (self._folder / "prometheus.log").read_text("utf-8", "replace").strip()[-1000:]
                raise NoPrometheus(f"Prometheus did not start: {said}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, path: str, **parameters: Any) -> Any:
        """The data of an API call; raises what Prometheus says is wrong."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        body: Json = answer.json()
        if body.get("status") != "success":
            raise ValueError(f"{path} {parameters}: {body.get('error')}")
        return body["data"]

    def _ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False


def _configuration(targets: list[str], every_s: int) -> Json:
    return {
        "global": {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"},
        "rule_files": [f"{RULES}/*.yml"],
        "scrape_configs": [{"job_name": "graduand", "static_configs": [{"targets": targets}]}],
    }
