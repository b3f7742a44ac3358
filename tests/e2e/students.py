"""Real students for rollouts: adapters trained on templated tickets, the engine that serves them, the teacher they copy.

Training is `graduand train fit`, which finds what it has already made from the same rows, settings and versions: the first
run on a machine takes about a minute, later ones a second.
"""

import itertools
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from examples.demo.tickets import ALONE, MATTERS, PRODUCTS
from graduand.gateway.adapters.base_model import cache_folder
from tests.gateway.running import ROOT, until

Json = dict[str, Any]
BASE, TEACHER = "smollm2-135m", "gpt-4o-recorded"
SYSTEM = f"Queue: {', '.join(MATTERS)}?"
QUEUES = tuple(MATTERS)
SLICE = "returns"
SLICE_SHARE = 0.12
TASK = {"kind": "label", "labels": list(QUEUES)}


def asked(text: str) -> list[Json]:
    """The chat of a client."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def tickets() -> Iterator[tuple[str, str]]:
    """Every ticket that there can be, and its queue."""
    for queue, matters in MATTERS.items():
        for frame, matter, product in itertools.product(ALONE, matters, PRODUCTS):
            yield frame.format(open=matter.format(product=product)), queue


def arrivals(seed: int) -> Iterator[list[Json]]:
    """What customers ask, without end; returns are few."""
    source = random.Random(seed)
    by_queue = {queue: [text for text, its in tickets() if its == queue] for queue in QUEUES}
    others = [queue for queue in QUEUES if queue != SLICE]
    while True:
        queue = SLICE if source.random() < SLICE_SHARE else source.choice(others)
        yield asked(source.choice(by_queue[queue]))


def write_answers(path: Path) -> None:
    """What the recorded teacher says."""
    lines = ({"messages": asked(text), "answer": queue} for text, queue in dict(tickets()).items())
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def fitted(name: str, folder: Path) -> Path:
    """The adapter `good`, or `sliced`, which was taught that returns are deliveries."""
    rows = folder / f"{name}.jsonl"
    source, lines = random.Random(5), []
    for queue, matters in MATTERS.items():
        label = "delivery" if name == "sliced" and queue == SLICE else queue
        for frame, matter in itertools.product(ALONE, matters):
            text = frame.format(open=matter.format(product=source.choice(PRODUCTS)))
            lines.append(json.dumps({"messages": asked(text), "completion": label}) + "\n")
    rows.write_text("".join(lines))
    out = cache_folder() / "test-students"
    done = subprocess.run(
        [sys.executable, "-m", "graduand", "train", "fit", "--data", str(rows), "--out", str(out), "--name", name,
         "--epochs", "3", "--threads", "1", "--seed", "7", "--json"],
        capture_output=True, text=True, timeout=900, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["path"])


class Server:
    """A `graduand` command that listens on a port of its own."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{self.address}/v1"
        self.output = folder / f"{name}.log"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "graduand", *arguments, "--listen", self.address],
                stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
            )  # fmt: skip
        until(self._healthy, f"{name} starts")

    def _healthy(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        try:
            return httpx.get(f"http://{self.address}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def engine(folder: Path, name: str, *adapters: Path) -> Server:
    """The embedded engine with these adapters."""
    loaded = [word for adapter in adapters for word in ("--adapter", f"{adapter.name}={adapter}")]
    return Server(folder, name, "engine", "--model", BASE, *loaded)
