"""Two real engines in processes of their own, one killed with -9 under load: its adapter is back before its traffic is."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from graduand.gateway.adapters import adapter
from graduand.gateway.state.sqlite import SqliteStore
from tests.gateway.conftest import Start
from tests.gateway.fleet.pair import Pair, story
from tests.gateway.fleet.test_live import Load, states
from tests.gateway.redises import RedisServer, free_port
from tests.gateway.running import ROOT, UNTIL_PARENT_ENDS, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.upstream import Upstream

# What a worker may still send by its old table, though it may stand still meanwhile; an engine takes longer to start.
FOLLOW_S = 5.0


class Engine:
    """`graduand engine` on a port of its own."""

    def __init__(self, base: Path, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        listen = ["--listen", f"127.0.0.1:{self.port}", "--threads", "1"]
        self._command = ["-m", "graduand", "engine", "--model", str(base), *listen]
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UNTIL_PARENT_ENDS, *self._command], cwd=ROOT, stdout=log, stderr=log
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/models", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def engines(tiny_base: Path, tmp_path: Path) -> Iterator[list[Engine]]:
    started = [Engine(tiny_base, tmp_path / f"engine{number}.log") for number in range(2)]
    until(lambda: all(one.answers() for one in started), "the engines start")
    yield started
    for one in started:
        one.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_under_load(start: Start, upstream: Upstream, engines: list[Engine], trained: Path) -> None:
    name = f"letters@{adapter.digest(trained)}"
    teacher = upstream.place("teacher-of-engines")
    student = {"upstream": "gpu", "adapter": name}
    gateway = start(
        {"t": configured(teacher.url), "gpu": configured(*(one.url for one in engines), kind="vllm")},
        {"r": {**route("t", mode="student"), "student": student}},
    )
    store = SqliteStore(Path(gateway.settings["state"].removeprefix("sqlite:///")))
    store.add_adapter(name, "gpu", str(trained), who="test")
    until(lambda: states(gateway) == ["ready", "ready"], "the adapter is ready on both")
    load = Load(gateway)
    until(lambda: all(any(_asked(one, at.url) for one in gateway.records()) for at in engines), "both are asked")
    killed = engines[0]
    killed.kill()
    until(lambda: "away" in states(gateway), "the manager has seen it")
    killed.start()
    until(lambda: states(gateway) == ["ready", "ready"], "the adapter is back")
    known = len(gateway.records())
    until(lambda: any(_asked(one, killed.url) for one in gateway.records()[known:]), "it is asked again")
    load.end()
    assert load.failed == []
    events = [one for one in store.events() if one["who"] == "fleet" and killed.url in str(one)]
    back = next(one["time"] for one in events if killed.url in one.get("ready", ()))
    lost = next(one["time"] for one in events if killed.url in one.get("not_ready", ()))
    times = [one["time"] for one in gateway.records() if _asked(one, killed.url)]
    assert lost < back
    assert [at for at in times if lost + FOLLOW_S < at < back] == []
    assert [at for at in times if at > back]
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_gateways(
    start: Start, upstream: Upstream, engines: list[Engine], trained: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    name = f"letters@{adapter.digest(trained)}"
    path = Path(shutil.copytree(trained, tmp_path / "letters"))
    pair = Pair(start, redis_server, upstream.place("teacher-of-two").url, engines, name, tmp_path)
    outcomes = {attempt["outcome"] for record in story(pair, path) for attempt in record["attempts"]}
    assert "ok" in outcomes
    assert "model_missing" not in outcomes


def _asked(record: dict[str, object], url: str) -> bool:
    attempts = record["attempts"]
    assert isinstance(attempts, list)
    return any(attempt["replica"] == url for attempt in attempts)
