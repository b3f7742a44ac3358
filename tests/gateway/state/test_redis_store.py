"""A store that can be away, emptied, exchanged and restored: nobody's weight changes by that, and nobody writes blindly."""

from dataclasses import replace
from pathlib import Path

import pytest

from graduand.gateway.model.routes import Route, Student, Teacher
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.redis_client import connect
from graduand.gateway.state.redis_hashes import LOCK, META
from graduand.gateway.state.redis_store import NothingLost, RedisStore, StoreEmpty, StoreLost
from graduand.gateway.state.replica import ReplicaFolder
from tests.gateway.redises import RedisServer, free_port

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", "triage@3f9c1a"), mode="canary", weight_bp=5000)
ROUTES = {"triage": ROUTE}


def replica(server: RedisServer, folder: Path) -> RedisStore:
    """One replica's view of the store: `folder` is its disk."""
    return RedisStore(connect(server.url, None), ReplicaFolder(folder))


@pytest.fixture
def store(redis_server: RedisServer, tmp_path: Path) -> RedisStore:
    """A store whose route was turned down to 3%, and a replica that knows it."""
    store = replica(redis_server, tmp_path / "known")
    store.found()
    store.change_route(ROUTE, who="ann", weight_bp=300)
    store.table(ROUTES)
    store.keep()
    return store


# Transactions.


@pytest.mark.parametrize("how", ["error", "lock lost", "lock taken over", "store emptied", "store exchanged"])
def test_all_or_nothing(store: RedisStore, how: str) -> None:
    def write() -> None:
        with store.transaction():
            store.changed("route/triage", "bob", {})
            store.hashes.set("routes", "triage", "spoilt")
            match how:
                case "error":
                    raise StateError("changed my mind")
                case "lock lost":
                    store.client.delete(LOCK)
                case "lock taken over":
                    store.client.set(LOCK, "another")
                case "store emptied":
                    store.client.hdel(META, "id")
                case "store exchanged":
                    store.client.hset(META, "id", "another")

    before = store.client.hget(META, "id")
    with pytest.raises(StateError):
        write()
    store.client.hset(META, "id", before)
    assert store.table(ROUTES).routes["triage"].weight_bp == 300
    assert len(store.events()) == 1
    store.client.delete(LOCK)
    store.change_route(ROUTE, who="ann", weight_bp=400)  # and it can be used again
    assert store.version() == 3


def test_a_writer_that_died_holds_nobody_up_for_long(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graduand.gateway.state.redis_hashes.BUSY_S", 0.05)
    store.client.set(LOCK, "the dead one", px=5000)
    with pytest.raises(StateError, match="somebody else has been writing"):
        store.change_route(ROUTE, who="ann", weight_bp=400)
    store.client.pexpire(LOCK, 1)
    store.change_route(ROUTE, who="ann", weight_bp=400)


def test_a_long_transaction_keeps_its_lock(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graduand.gateway.state.redis_hashes.RENEW_S", 0.0)
    with store.transaction():
        store.client.pexpire(LOCK, 500)
        store.hashes.get("x", "y")
        assert store.client.pttl(LOCK) > 1000


# A store that is not what it was.


def test_a_redis_that_comes_back_empty_resets_no_weight(
    store: RedisStore, redis_server: RedisServer, tmp_path: Path
) -> None:
    newcomer = replica(redis_server, tmp_path / "new")
    redis_server.empty()
    for _ in range(2):
        with pytest.raises(StoreLost, match="come back empty: restore its backup, or run `graduand state accept`"):
            store.table(ROUTES)
    with pytest.raises(StoreLost):
        store.change_route(ROUTE, who="ann", weight_bp=1)
    with pytest.raises(StoreLost):
        store.found()
    with pytest.raises(StoreLost, match="lost the store that other replicas still serve by"):
        newcomer.found()
    assert newcomer.last_known(ROUTES).routes["triage"].mode == "teacher"
    restarted = replica(redis_server, tmp_path / "known")
    with pytest.raises(StoreLost):
        restarted.table(ROUTES)
    assert restarted.last_known(ROUTES).routes["triage"].weight_bp == 300
    assert redis_server.client().hgetall("graduand:routes") == {}


def test_a_restored_backup_is_the_store_again(store: RedisStore, redis_server: RedisServer) -> None:
    client = redis_server.client()
    backup = {key: client.dump(key) for key in client.scan_iter()}
    redis_server.empty()
    with pytest.raises(StoreLost):
        store.version()
    client.delete(META)
    for key, value in backup.items():
        client.restore(key, 0, value, replace=True)
    assert store.table(ROUTES).routes["triage"].weight_bp == 300


@pytest.mark.parametrize("then", ["still empty", "another store in its place"])
def test_accepting_carries_the_routes_over(
    store: RedisStore, redis_server: RedisServer, tmp_path: Path, then: str
) -> None:
    other = replica(redis_server, tmp_path / "other")
    other.table(ROUTES)
    other.keep()
    redis_server.empty()
    newcomer = replica(redis_server, tmp_path / "new")
    if then == "still empty":
        for one in (other, store):
            with pytest.raises(StoreLost):
                one.version()
        with pytest.raises(StoreLost):
            newcomer.found()
    else:  # a newcomer was faster than those who know that something is missing
        newcomer.found()
        with pytest.raises(StoreLost, match="holds another store"):
            other.version()
    assert store.accept("ann", "the disk is gone") == ["triage"]
    for one in (store, other, newcomer, replica(redis_server, tmp_path / "other")):
        route = one.table(ROUTES).routes["triage"]
        assert (route.weight_bp, route.version) == (300, 3)
    assert store.version() == 3
    assert store.events()[0]["why"] == "the disk is gone"
    for one in (store, newcomer):
        with pytest.raises(NothingLost):
            one.accept("ann", "again")


def test_nothing_to_accept(store: RedisStore) -> None:
    with pytest.raises(NothingLost):
        store.accept("ann", "")
    assert store.version() == 2


def test_a_newcomer_accepts_for_those_who_are_gone(
    store: RedisStore, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.empty()
    with pytest.raises(StoreLost):
        store.version()
    newcomer = replica(redis_server, tmp_path / "new")
    with pytest.raises(StoreLost):
        newcomer.found()
    assert newcomer.accept("ann", "") == []
    assert newcomer.table(ROUTES).routes["triage"].weight_bp == 5000  # as in the file: nobody knows better
    store.version()  # and who comes back after that takes it as well


def test_an_empty_redis_is_a_new_store_only_for_who_knows_none(redis_server: RedisServer, tmp_path: Path) -> None:
    new = replica(redis_server, tmp_path / "new")
    with pytest.raises(StoreEmpty):
        new.table(ROUTES)
    new.found()
    assert new.table(ROUTES).routes == ROUTES
    assert replica(redis_server, tmp_path / "second").table(ROUTES).routes == ROUTES


def test_those_who_know_a_lost_store_object_before_a_newcomer_makes_a_new_one(
    store: RedisStore, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.empty()
    newcomer = replica(redis_server, tmp_path / "new")

    def meanwhile(_: float) -> None:
        with pytest.raises(StoreLost):
            store.version()

    monkeypatch.setattr("graduand.gateway.state.redis_store.time.sleep", meanwhile)
    with pytest.raises(StoreLost):
        newcomer.found()
    assert redis_server.client().hget(META, "id") is None


def test_a_mark_differs_though_the_version_is_the_same(store: RedisStore, redis_server: RedisServer) -> None:
    """A failover lost the last change, and then there was another one."""
    client = redis_server.client()
    before = client.dump(META)
    store.change_route(ROUTE, who="ann", weight_bp=400)
    seen, version = store.mark(), store.version()
    client.restore(META, 0, before, replace=True)
    store.change_route(ROUTE, who="ann", weight_bp=500)
    assert store.version() == version
    assert store.mark() != seen


# Away.


def test_what_serves_while_redis_is_away(store: RedisStore, tmp_path: Path) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    fresh = RedisStore(connect(away, None), ReplicaFolder(tmp_path / "fresh"))
    with pytest.raises(StateError, match="Redis: .*127.0.0.1"):
        fresh.table(ROUTES)
    last = fresh.last_known(ROUTES)
    assert (last.version, last.routes["triage"]) == (0, replace(ROUTE, mode="teacher", version=0))
    known = RedisStore(connect(away, None), ReplicaFolder(tmp_path / "known"))
    assert known.last_known(ROUTES).routes["triage"] == replace(ROUTE, weight_bp=300, version=2)


def test_a_copy_that_cannot_be_read_is_none(store: RedisStore, tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"store": "x", "version": 1, "overrides": {"triage": {"strange": 1}}}'):
        (tmp_path / "known" / "state-copy.json").write_text(text)
        assert ReplicaFolder(tmp_path / "known").copy() is None


def test_a_replica_keeps_its_name_and_no_other_has_it(tmp_path: Path) -> None:
    names = {ReplicaFolder(tmp_path / str(number)).name for number in range(5)}
    assert len(names) == 5
    assert {ReplicaFolder(tmp_path / str(number)).name for number in range(5)} == names


def test_a_worker_that_is_gone_is_not_waited_for(
    store: RedisStore, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replica(redis_server, tmp_path / "other")
    other.serves("0", 1)
    assert store.served() == {}  # it has not met the store yet
    other.version()
    assert not store.all_serve(2, 1)  # nobody has said anything yet
    store.serves("0", 2)
    other.serves("0", 1)
    assert store.served() == {f"{store.replica}/0": 2, f"{other.replica}/0": 1}
    assert not store.all_serve(2, 1)
    other.serves("0", 3)
    assert store.all_serve(2, 1)
    other.serves("0", 1)
    other.leave("0")
    assert store.all_serve(2, 1)
    store.client.hset("graduand:served", f"{other.replica}/0", f"1 {store.now() - 31:.0f}")
    assert store.all_serve(2, 1)
    store.client.hset("graduand:served", f"{other.replica}/0", f"1 {store.now() - 4000:.0f}")
    store.served()
    assert store.client.hlen("graduand:served") == 1


# How it is reached.


def test_a_password_is_needed_and_never_shown(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "very-secret")
    try:
        store = RedisStore(connect(server.url, "very-secret"), ReplicaFolder(tmp_path / "logs"))
        store.found()
        for wrong in ("wrong-secret", None):
            refused = RedisStore(connect(server.url, wrong), ReplicaFolder(tmp_path / "logs"))
            with pytest.raises(StateError) as caught:
                refused.version()
            assert "secret" not in str(caught.value)
    finally:
        server.kill()


def test_what_may_lose_data_is_told(redis_server: RedisServer, store: RedisStore) -> None:
    assert store.risks() == []
    client = redis_server.client()
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    try:
        evicts, forgets = store.risks()
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
    assert "noeviction" in evicts
    assert "appendonly" in forgets


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_redis_that_takes_no_writes_changes_nothing(store: RedisStore, redis_server: RedisServer, how: str) -> None:
    client = redis_server.client()
    if how == "full":
        client.config_set("maxmemory", 1)
    else:
        client.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(StateError, match="maxmemory|replica"):
            store.change_route(ROUTE, who="ann", weight_bp=1)
        assert store.table(ROUTES).routes["triage"].weight_bp == 300
    finally:
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")
    store.change_route(ROUTE, who="ann", weight_bp=1)
