"""How a new table comes to the workers, and what they do while the store cannot be read."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graduand.gateway.model.routes import Route, RouteTable, Settings, Student, Teacher
from graduand.gateway.state.open import open_state
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.store import StateStore
from graduand.gateway.state.watcher import TableWatcher
from tests.gateway.redises import RedisServer
from tests.gateway.running import until

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), mode="canary", weight_bp=5000)


class Replica:
    """A worker's watcher with a disk of its own, and the tables that it was given."""

    def __init__(self, state: str, folder: Path) -> None:
        self.settings = Settings({}, {"triage": ROUTE}, state=state, logs=f"file://{folder}")
        self.tables: list[RouteTable] = []
        self.watcher = TableWatcher(self.settings, self._changed, "0")
        self.tables.append(self.watcher.first())

    @property
    def weight(self) -> int:
        return self.tables[-1].routes["triage"].weight_bp

    @property
    def mode(self) -> str:
        return self.tables[-1].routes["triage"].mode

    def _changed(self, table: RouteTable) -> None:
        self.tables.append(table)
        self.watcher.serves(table.version)


Begin = Callable[..., Replica]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    started: list[Replica] = []

    def begin(state: str, name: str = "0") -> Replica:
        started.append(Replica(state, tmp_path / name))
        return started[-1]

    yield begin
    for one in started:
        one.watcher.stop()


@pytest.fixture
def own_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    monkeypatch.setattr(RedisStore, "settle_s", 0.0)
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.kill()


def stores(one: Replica) -> StateStore:
    store = open_state(one.settings)
    store.found()
    return store


def test_a_new_weight_reaches_every_replica(begin: Begin, redis_server: RedisServer) -> None:
    first = begin(redis_server.url, "0")
    until(lambda: not first.watcher.problem, "an empty Redis is made the store")
    replicas = [first, begin(redis_server.url, "1"), begin(redis_server.url, "2")]
    store = stores(first)
    for weight in (100, 1000, 0):
        version = store.change_route(ROUTE, who="ann", weight_bp=weight)
        until(lambda: store.all_serve(version, 3), "every worker says that it serves it")  # noqa: B023
        assert {one.weight for one in replicas} == {weight}
    for one in replicas[1:]:
        one.watcher.stop()
    assert list(store.served()) == [f"{store.replica}/0"]  # type: ignore[attr-defined]
    assert max(one.watcher.age_s for one in replicas[:1]) < 5


def test_redis_goes_and_comes(begin: Begin, own_redis: RedisServer, tmp_path: Path) -> None:
    one = begin(own_redis.url)
    until(lambda: not one.watcher.problem, "the store is there")
    stores(one).change_route(ROUTE, who="ann", weight_bp=300)
    until(lambda: one.weight == 300, "the change is there")
    own_redis.kill()
    until(lambda: one.watcher.problem, "it is missed")
    assert "the last route table stays in force: Redis: " in one.watcher.problem
    assert one.weight == 300
    again, fresh = begin(own_redis.url), begin(own_redis.url, "fresh")
    assert (again.weight, again.mode) == (300, "canary")
    assert (fresh.mode, fresh.tables[-1].version) == ("teacher", 0)
    assert "until it was the teacher answers everything" in fresh.watcher.problem
    own_redis.start()
    until(lambda: not one.watcher.problem and not fresh.watcher.problem, "it is found again")
    until(lambda: (fresh.weight, fresh.mode) == (300, "canary"), "the newcomer serves what the others do")
    own_redis.lose()
    own_redis.start()
    until(lambda: "come back empty" in one.watcher.problem, "the loss is seen")
    assert {one.weight, again.weight, fresh.weight} == {300}
    newcomer = begin(own_redis.url, "newcomer")
    assert newcomer.mode == "teacher"
    store = open_state(one.settings)
    assert isinstance(store, RedisStore)
    store.accept("ann", "the disk is gone")
    everybody = (one, again, fresh, newcomer)
    until(lambda: not any(each.watcher.problem for each in everybody), "everybody takes the new one")
    store.change_route(ROUTE, who="ann", weight_bp=200)
    until(lambda: {each.weight for each in everybody} == {200}, "and follows it")


def test_a_file_goes_and_comes(begin: Begin, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    one = begin(f"sqlite:///{path}")
    store = stores(one)
    store.change_route(ROUTE, who="ann", weight_bp=300)
    until(lambda: one.weight == 300, "the change is there")
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("ALTER TABLE hashes RENAME TO hidden")
    until(lambda: one.watcher.problem, "it cannot be read")
    assert one.weight == 300
    lock.execute("ALTER TABLE hidden RENAME TO hashes")
    until(lambda: not one.watcher.problem, "it can be read")
