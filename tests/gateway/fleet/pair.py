"""Two gateways that share a Redis and two engines, and what they must go through: engines and the manager are killed."""

import os
import signal
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from graduand.gateway.adapters import adapter, admission
from graduand.gateway.state.places import LEASE
from graduand.gateway.state.redis_client import connect
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.replica import ReplicaFolder
from tests.gateway.conftest import Start
from tests.gateway.fleet.test_live import Load, states
from tests.gateway.redises import RedisServer
from tests.gateway.running import Gateway, Json, route, until
from tests.gateway.running import upstream as configured


class Engine(Protocol):
    """An engine that can be killed and started again."""

    @property
    def url(self) -> str: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class Watch:
    """Looks at the lease without pause. `holders` has everybody who was seen under each token."""

    def __init__(self, store: RedisStore) -> None:
        self.holders: dict[int, set[str]] = defaultdict(set)
        self._tokens: list[int] = []
        self._store = store
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            holder, token, _ = self._store.lease(LEASE)
            if token:
                self.holders[token].add(holder)
                self._tokens.append(token)

    def end(self) -> None:
        """Everybody held the lease under tokens of his own, in order."""
        self._ended.set()
        self._thread.join()
        assert all(len(names) == 1 for names in self.holders.values()), self.holders
        assert self._tokens == sorted(self._tokens)


class Pair:
    """The gateways that live, their store, and clients at each of them without pause."""

    def __init__(
        self, start: Start, redis: RedisServer, teacher: str, engines: Sequence[Engine], student: str, folder: Path
    ) -> None:
        section = {**route("t"), "student": {"upstream": "gpu", "adapter": student}, "mode": "teacher"}
        upstreams = {"t": configured(teacher), "gpu": configured(*(one.url for one in engines), kind="vllm")}
        self.student = student
        self.engines = engines
        self.alive = [start(upstreams, {"r": section}, state=redis.url) for _ in range(2)]
        self.stores = [
            RedisStore(connect(redis.url, None), ReplicaFolder(folder / name)) for name in ("store", "watch")
        ]
        for one in self.stores:
            one.found()
        self.store = self.stores[0]
        self.loads: dict[int, Load] = {}

    def add(self, path: Path) -> None:
        """Register the adapter through the first gateway; both say that it is ready on both engines, and go by that."""
        [first, *_] = self.alive
        admission.write(path, {"digest": adapter.digest(path), "checks": [{"name": "test", "passed": True}]})
        base, _, _ = self.student.partition("@")
        added = first.admin.post("/v1/adapters", json={"name": base, "path": str(path), "upstream": "gpu"}, timeout=60)
        assert (added.status_code, added.json().get("name")) == (201, self.student), added.text
        self.ready()

    def ready(self) -> None:
        for one in self.alive:
            until(lambda one=one: states(one) == ["ready", "ready"], "it is ready on both")  # type: ignore[misc]
            self.settled(one)

    def settled(self, gateway: Gateway) -> None:
        """The gateway's worker goes by what the store says now."""
        version, name = self.store.version(), gateway.admin.get("/v1/state").json()["replica"]
        until(lambda: self.store.served().get(f"{name}/0", 0) >= version, "the worker has the table")

    def load(self) -> None:
        self.loads = {one.port: Load(one, 3) for one in self.alive}
        self.asked()

    def asked(self, reason: str = "") -> None:
        """Every gateway's clients have got further answers, the latest one for this reason."""
        for load in self.loads.values():
            known = len(load.reasons)
            until(lambda known=known, load=load: any(  # type: ignore[misc]
                one.startswith(reason) for one in load.reasons[known:]), f"answers {reason}")  # fmt: skip

    def manager(self) -> Gateway | None:
        """The gateway that manages the fleet, by its own word and by its process."""
        holder = self.alive[0].admin.get("/v1/state").json()["manager"]
        if holder is None:
            return None
        found = [
            one
            for one in self.alive
            if int(holder.split("/")[1]) in one.process_ids("graduand.gateway.processes.fleet")
        ]
        return found[0] if found else None

    def changes(self) -> int:
        """How often the manager has changed who is asked."""
        return sum(one["who"] == "fleet" for one in self.store.events(1000))

    def restart(self, engine: Engine) -> None:
        """Kill an engine and start it again; it is asked by every gateway in the end."""
        engine.kill()
        for one in self.alive:
            until(lambda one=one: "away" in states(one), "the manager has seen it")  # type: ignore[misc]
            self.settled(one)
        known = {one.port: len(one.records()) for one in self.alive}
        engine.start()
        self.ready()
        for one in self.alive:
            until(
                lambda one=one: any(_asked(record, engine.url) for record in one.records()[known[one.port] :]),  # type: ignore[misc]
                "it is asked again",
            )  # fmt: skip

    def kill_manager(self) -> None:
        """kill -9 of all of the managing gateway's processes at once, as when its machine is gone."""
        gateway = self.manager()
        assert gateway is not None
        self.alive.remove(gateway)
        self.loads.pop(gateway.port).end()
        [manager] = gateway.process_ids("graduand.gateway.processes.fleet")
        os.kill(manager, signal.SIGSTOP)  # or it would say goodbye when its supervisor is gone
        everybody = [gateway.process.pid, *gateway.process_ids("graduand.gateway.")]
        for number in everybody:
            os.kill(number, signal.SIGKILL)

    def end(self) -> None:
        for one in self.loads.values():
            one.end()

    def close(self) -> None:
        for one in self.stores:
            one.close()


def story(pair: Pair, path: Path) -> list[Json]:
    """No request fails in all of it; the records of both gateways."""
    gateways = list(pair.alive)
    watch = Watch(pair.stores[1])
    loads: list[Load] = []
    try:
        pair.add(path)
        assert pair.manager() is not None
        pair.load()
        loads = list(pair.loads.values())
        assert pair.alive[1].change("r", mode="student").status_code == 200
        pair.asked("student")
        pair.restart(pair.engines[0])
        changes = pair.changes()
        pair.kill_manager()
        [other] = pair.alive
        until(lambda: pair.manager() is other, "the other one manages")
        until(lambda: other.total("graduand_fleet_places", "ready") == 2, "and has looked")
        pair.asked("student")
        assert pair.changes() == changes
        pair.restart(pair.engines[1])
    finally:
        pair.end()
        watch.end()
        pair.close()
    assert [one.failed for one in loads] == [[], []]
    assert len(watch.holders) == 2
    return [record for one in gateways for record in one.records()]


def _asked(record: Json, url: str) -> bool:
    return any(attempt["replica"] == url for attempt in record["attempts"])
