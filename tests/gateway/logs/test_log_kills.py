"""kill -9 of workers and of the shipper at random points, with a store that fails in every way: every answer that a
client has seen to its end is in the store exactly once, and so is every copy.

GRADUAND_KILLS says how often; the default is few, `make kills` runs 200.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from tests.gateway.conftest import Start
from tests.gateway.logs.store import S3, URL
from tests.gateway.running import Gateway, route, until
from tests.gateway.speaking import Client, chat
from tests.gateway.upstream import Upstream

KILLS = int(os.environ.get("GRADUAND_KILLS", "4"))
FAULTS = {"error": 0.1, "reset": 0.1, "lost": 0.1, "slow": 0.1}
LONG = "long " * 24_000  # 120 kB


class Askers:
    """Threads that ask whole answers, streams and long questions, and now and then leave in the middle."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.answered: list[str] = []
        self.left = 0
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(90)

    def _run(self, seed: int) -> None:
        rng, client = random.Random(seed), None
        while not self._stopping.wait(0.01):
            text = LONG if rng.random() < 0.05 else f"question {rng.random()}"
            try:
                client = client or Client(self._port)
                if rng.random() < 0.05:
                    client.post(chat("tickets", text, stream=True))
                    client.close()
                    client, self.left = None, self.left + 1
                    continue
                got = client.ask(chat("tickets", text, stream=rng.random() < 0.5))
            except OSError:  # its worker was killed: the next connection finds another
                client = None
                continue
            if got.status == 200 and got.whole:
                self.answered.append(got.headers["x-graduand-id"])
            else:
                client = None
        if client is not None:
            client.close()


def kill_one(gateway: Gateway, rng: random.Random) -> bool:
    found = gateway.worker_ids() if rng.random() < 0.6 else gateway.process_ids("graduand.gateway.processes.shipper")
    if not found:
        return False
    try:
        os.kill(rng.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(120 + KILLS * 10)
def test_every_answer_lands_once(s3: S3, start: Start, upstream: Upstream) -> None:
    rng = random.Random(3)
    s3.slow_s, s3.faults = 0.05, FAULTS
    section = route("u", "u", mode="shadow")
    gateway = start(
        {"u": {"kind": "vllm", "base_urls": [upstream.place("logged").url]}}, {"tickets": section}, environ=s3.environ,
        workers=2, logs=URL, record={"seal_s": 0.3},
    )  # fmt: skip
    askers, kills = Askers(gateway.port), 0
    while kills < KILLS:
        # Sometimes at once, sometimes when all are well at work again.
        time.sleep(rng.choice((0.05, 0.5, 2.0)) * rng.random())
        kills += kill_one(gateway, rng)
    if KILLS >= 50:
        until(lambda: all(s3.seen[fault] for fault in FAULTS), "the store has failed in every way")
    askers.stop()
    s3.faults = {}
    spool = gateway.folder / "spool"
    until(lambda: not waiting(spool), "the rest is shipped")
    assert gateway.stop() == 0
    landed = check(askers.answered)
    print(
        f"{kills} kills, {len(askers.answered)} answers, {askers.left} left, {landed} records; store: {dict(s3.seen)}"
    )
    assert not waiting(spool)
    assert not list(spool.rglob("*.ring"))


def waiting(spool: Path) -> list[Path]:
    """Segments that are not shipped yet."""
    return [path for path in spool.rglob("*.jsonl") if not path.with_name(path.name + ".shipped").exists()]


def check(answered: list[str]) -> int:
    with Log(Source(URL, None)) as log:
        found = log.query("SELECT id, parent_id, role, completed, request_json, response_json FROM log").fetchall()
    ids = Counter(row[0] for row in found)
    assert [number for number, count in ids.items() if count > 1] == []
    assert set(answered) - set(ids) == set()
    seen = set(answered)
    for number, _, role, completed, request, response in found:
        if role == "served" and number in seen:
            assert completed
            assert request
            assert response
    served = {row[0] for row in found if row[2] == "served"}
    copies = Counter(row[1] for row in found if row[2] == "shadow")
    assert set(copies) <= served
    assert set(copies.values()) <= {1}
    return len(found)
