"""A whole gateway over replicas that die under load: no request fails, and no adapter is asked before it is back."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from graduand.gateway.state.sqlite import SqliteStore
from tests.gateway.conftest import Start
from tests.gateway.fleet.engines import Engine
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import chat
from tests.gateway.upstream import Upstream

NAME = "small@3f9c1a0b22de"


def serving(start: Start, upstream: Upstream, engines: list[Engine], **more: object) -> Gateway:
    """A gateway whose student is registered, and ready on every replica."""
    teacher = upstream.place(f"fleet-{id(engines)}")
    upstreams = {"t": configured(teacher.url), "gpu": configured(*(one.url for one in engines), kind="vllm", **more)}
    gateway = start(upstreams, {"r": route("t", "gpu", mode="student")})
    register(gateway, NAME)
    until(lambda: states(gateway) == ["ready"] * len(engines), "the adapter is ready everywhere")
    gateway.settled()
    return gateway


def register(gateway: Gateway, name: str) -> None:
    store = SqliteStore(Path(gateway.settings["state"].removeprefix("sqlite:///")))
    store.add_adapter(name, "gpu", "/adapters/small", who="test")
    store.close()


def states(gateway: Gateway) -> list[str]:
    return [place["state"] for one in gateway.admin.get("/v1/adapters").json()["adapters"] for place in one["replicas"]]


class Load:
    """Clients that ask without pause; `failed` has every answer that is not a 200."""

    def __init__(self, gateway: Gateway, clients: int = 2) -> None:
        self.failed: list[str] = []
        self.reasons: list[str] = []
        self._gateway = gateway
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for one in self._threads:
            one.start()

    def _run(self) -> None:
        with self._gateway.client() as client:
            while not self._ended.wait(0.01):
                answer = client.ask(chat("r"))
                self.reasons.append(answer.headers.get("x-graduand-reason", ""))
                if answer.status != 200:
                    self.failed.append(f"{answer.status} {answer.body!r}")

    def end(self) -> None:
        self._ended.set()
        for one in self._threads:
            one.join()


@pytest.mark.slow
def test_killed_and_started_again_under_load(start: Start, upstream: Upstream, engines: list[Engine]) -> None:
    gateway = serving(start, upstream, engines)
    load = Load(gateway)
    killed = engines[0]
    until(lambda: len(load.reasons) > 20, "there is load")
    killed.kill()
    until(lambda: "away" in states(gateway), "the manager has seen it")
    gateway.settled()
    killed.asked.clear()
    killed.start()
    until(lambda: states(gateway) == ["ready", "ready"], "the adapter is back")
    until(lambda: ("/v1/chat/completions", NAME) in killed.asked, "it is asked again")
    load.end()
    assert load.failed == []
    steps = [path for path, model in killed.asked if model == NAME]
    first = steps.index("/v1/chat/completions")
    assert steps[0] == "/v1/load_lora_adapter"
    assert steps[1:first] == ["/v1/completions"] * 4  # three proofs and the warming
    assert gateway.total("graduand_adapter_ready", NAME) == 2
    assert gateway.total("graduand_fleet_actions_total", "lost") == 1


def test_without_any_replica_ready_the_teacher_answers(start: Start, upstream: Upstream, engines: list[Engine]) -> None:
    gateway = serving(start, upstream, engines[:1])
    engines[0].kill()
    until(lambda: states(gateway) == ["away"], "the manager has seen it")
    gateway.settled()
    with gateway.client() as client:
        answer = client.ask(chat("r"))
    assert (answer.status, answer.headers["x-graduand-reason"]) == (200, "fallback:not_loaded")
    record = gateway.record(answer.headers["x-graduand-id"])
    assert all(attempt["arm"] == "teacher" for attempt in record["attempts"])


@pytest.mark.slow
def test_removed_while_managed_it_is_drained(start: Start, upstream: Upstream, engines: list[Engine]) -> None:
    gateway = serving(start, upstream, engines[:1])
    assert gateway.admin.delete(f"/v1/adapters/{NAME}").status_code == 409  # the route asks it
    assert gateway.change("r", mode="teacher").status_code == 200
    engines[0].busy = [NAME]
    assert gateway.admin.delete(f"/v1/adapters/{NAME}").status_code == 200
    time.sleep(2.5)  # two looks
    assert NAME in engines[0].adapters
    engines[0].busy = []
    until(lambda: NAME not in engines[0].adapters, "it is unloaded")


@pytest.mark.slow
def test_a_dead_manager_changes_nothing(start: Start, upstream: Upstream, engines: list[Engine]) -> None:
    gateway = serving(start, upstream, engines)
    [manager] = gateway.process_ids("graduand.gateway.processes.fleet")
    os.kill(manager, signal.SIGSTOP)
    try:
        load = Load(gateway)
        until(lambda: len(load.reasons) > 20, "there is load")
        engines[0].kill()
        engines[0].start()  # without its adapter
        time.sleep(0.5)
        load.end()
        assert load.failed == []
        assert states(gateway) == ["ready", "ready"]
    finally:
        os.kill(manager, signal.SIGKILL)
    until(lambda: states(gateway) == ["ready", "ready"] and NAME in engines[0].adapters, "the next one brings it back")


@pytest.mark.slow
def test_a_new_replica_is_asked_when_it_is_ready(start: Start, upstream: Upstream, engines: list[Engine]) -> None:
    gateway = serving(start, upstream, engines[:1])
    engines[1].gate.clear()
    gateway.settings["upstreams"]["gpu"]["base_urls"].append(engines[1].url)
    gateway.write_settings()
    load = Load(gateway)
    gateway.process.send_signal(1)
    until(
        lambda: any(path.endswith("load_lora_adapter") for path, _ in engines[1].asked),
        "it is being loaded",
    )
    asked = len(load.reasons)
    until(lambda: len(load.reasons) > asked + 10, "traffic goes on")
    assert not [path for path, _ in engines[1].asked if path.endswith("chat/completions")]
    engines[1].gate.set()
    until(lambda: ("/v1/chat/completions", NAME) in engines[1].asked, "it is asked")
    load.end()
    assert load.failed == []
    assert set(load.reasons) == {"student"}
