"""A real gateway in processes of its own, and what it leaves behind: its log and its metrics."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from graduand.gateway.logs.reading import Reader, Source
from tests.gateway.speaking import Client

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0  # with what must happen: long, for a machine that is busy with other things
Json = dict[str, Any]
# Linux sends SIGTERM (15) to what has asked for it (1, PR_SET_PDEATHSIG) when its parent ends, however that was.
_ASKS = "import ctypes, os, sys; prctl = getattr(ctypes.CDLL(None), 'prctl', None); prctl and prctl(1, 15); "
UNTIL_PARENT_ENDS = _ASKS + "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
UNTIL_PARENT_ENDS_EXEC = _ASKS + "os.execv(sys.argv[1], sys.argv[1:])"


def upstream(*urls: str, kind: str = "openai", **more: Any) -> Json:
    """One upstream of a configuration file."""
    return {"kind": kind, "base_urls": [*urls], **more}


def route(teacher: str, student: str | None = None, **more: Any) -> Json:
    """One route; its models are called as its upstreams."""
    section: Json = {"teacher": {"upstream": teacher, "model": "gpt-4o"}, "retries": 2, **more}
    if student is not None:
        section["student"] = {"upstream": student, "adapter": "small@3f9c1a0b22de"}
    return section


class Gateway:
    """`graduand serve` on free ports. Ends by `stop`, at the latest with the test's own process."""

    def __init__(
        self, folder: Path, upstreams: Json, routes: Json, environ: dict[str, str] | None = None, **more: Any
    ) -> None:
        self.folder = folder
        self.file = folder / "graduand.yaml"
        self.settings: Json = {
            "listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "workers": 1,
            "state": f"sqlite:///{folder}/state.db", "logs": f"file:///{folder}/logs",
            # Records are read from the segments: none is shipped unless a test wants it.
            "record": {"seal_s": 86400}, "upstreams": upstreams, "routes": routes, **more,
        }  # fmt: skip
        self.write_settings()
        self.errors_path = folder / "stderr"
        with self.errors_path.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UNTIL_PARENT_ENDS, "-m", "graduand", "serve", "--config", str(self.file)],
                stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
            )  # fmt: skip
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words, self.errors_path.read_text()
        self.port = int(words[2].removesuffix("/v1,").rpartition(":")[2])
        self.admin_url = words[5]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        # None is kept: the admin plane closes idle connections, perhaps as the next request is on its way.
        once = httpx.Limits(max_keepalive_connections=0)
        self.admin = httpx.Client(base_url=self.admin_url, timeout=60, trust_env=False, limits=once)
        self._read: dict[Path, int] = {}
        self._records: list[Json] = []
        self._lock = threading.Lock()
        until(self._ready, "the gateway starts")

    def write_settings(self) -> None:
        self.file.write_text(yaml.safe_dump(self.settings))

    def client(self, **more: Any) -> Client:
        return Client(self.port, **more)

    def ask_to_end(self) -> None:
        """Have it end, without waiting for that."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, within_s: float = 60) -> int:
        """End it in an orderly way; return its exit code."""
        self.ask_to_end()
        self.admin.close()
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def errors(self) -> str:
        return self.errors_path.read_text()

    def worker_ids(self) -> list[int]:
        """The process ids of its workers."""
        return self.process_ids("graduand.gateway.processes.worker")

    def process_ids(self, module: str) -> list[int]:
        """The process ids of its processes of one kind."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in children if module.encode() in _command(one)]

    # What it leaves behind.

    def records(self) -> list[Json]:
        """All log records until now, in the order of the files."""
        if any((self.folder / "logs").glob("dt=*")):  # the segments of a worker that was killed are shipped
            return list(Reader(Source.of(str(self.folder / "logs"))))
        with self._lock:
            for path in sorted((self.folder / "logs" / "segments").glob("*.jsonl")):
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self._read[path] = self._read.get(path, 0) + len(whole)
                self._records += [json.loads(line) for line in whole.splitlines()]
            return list(self._records)

    def record(self, number: str) -> Json:
        """The one record of a request that was served; fails if there is none or more than one."""
        until(lambda: any(one["id"] == number for one in self.records()), f"the record {number} is written")
        [found] = [one for one in self.records() if one["id"] == number]
        return found

    def raw_log(self) -> str:
        return "".join(path.read_text() for path in (self.folder / "logs" / "segments").glob("*.jsonl"))

    def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Every sample by name and label values."""
        page = self.admin.get("/metrics").text
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def total(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples that carry all the given label values."""
        return sum(value for (one, given), value in self.metrics().items() if one == name and set(labels) <= set(given))

    def change(self, name: str, **change: Any) -> httpx.Response:
        return self.admin.patch(f"/v1/routes/{name}", json=change)

    def settled(self) -> None:
        """Wait until every worker serves by what the store says now."""
        version = self.admin.get("/v1/state").json()["version"]

        def serve() -> bool:
            served = self.admin.get("/v1/state").json()["workers"].values()
            return len(served) >= self.settings["workers"] and min(served) >= version

        until(serve, f"every worker serves by version {version}")

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.errors
        try:
            with Client(self.port) as client:
                ready = client.get("/readyz").status == 200
            return ready and self.admin.get("/healthz").status_code == 200
        except (OSError, httpx.HTTPError):
            return False


class RecordedTeacher:
    """`graduand recorded-teacher` on a free port: `url` is its root. Ends by `close`."""

    def __init__(self, answers: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "graduand", "recorded-teacher", "--answers", str(answers), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = next(word for word in line.split() if word.startswith("http")).rstrip("/.,").removesuffix("/v1")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def _command(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""  # it has just ended


def until(condition: Callable[[], Any], what: str | Callable[[], str], within_s: float = PATIENCE_S) -> None:
    """Wait for something that must happen; what is waited for is a fact about another process. A `what` that is called tells
    what is there when the time is up.

    A pass does not cost `within_s`, so that is generous: a shared machine may stand still for seconds, and a monitor and a
    shipper give way to everybody on it. The last look is after the time is up, since this very process may have been the
    one that stood still.
    """
    end, pause_s = time.monotonic() + within_s, 0.002
    while True:
        late = time.monotonic() >= end
        if condition():
            return
        assert not late, f"not within {within_s} s: {what if isinstance(what, str) else what()}"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.05)  # looks at the admin plane are no load of their own
