"""What every backend does alike: against a model, among several writers, and when one of them is killed."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.state.hashes import COUNT, Hashes, StateError
from graduand.gateway.state.redis_hashes import LOCK, RedisHashes
from graduand.gateway.state.sqlite import SqliteStore
from graduand.gateway.state.store import StateStore
from tests.gateway.redises import RedisServer
from tests.gateway.running import ROOT, UNTIL_PARENT_ENDS
from tests.gateway.state.conftest import Open

KEYS = ("a", "ä")
FIELDS = st.sampled_from(["1", "nul\0", "nul\0l", "Ö\t'"])
VALUES = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=20))
WRITES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(KEYS), FIELDS, VALUES),
    st.tuples(st.just("unset"), st.sampled_from(KEYS), st.lists(FIELDS, max_size=4)),
    st.tuples(st.just("drop"), st.sampled_from(KEYS)),
    st.tuples(st.just("next"), st.sampled_from(KEYS), st.just("n")),
    st.tuples(st.just("append"), st.sampled_from(KEYS), VALUES),
)
READS = st.one_of(
    st.tuples(st.just("many"), st.sampled_from(KEYS), st.lists(FIELDS, max_size=4)),
    st.tuples(st.just("all"), st.sampled_from(KEYS)),
    st.tuples(st.just("latest"), st.sampled_from(KEYS), st.integers(1, 4)),
)
TRANSACTIONS = st.tuples(st.lists(st.one_of(WRITES, READS), max_size=20), st.booleans())


class Model(Hashes):
    """What the backends are compared with: dictionaries, and a copy of them to go back to."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, bytes]] = {}

    changing = True
    transaction: Any = None

    def many(self, key: str, fields: list[str]) -> list[bytes | None]:
        return [self.data.get(key, {}).get(field) for field in fields]

    def all(self, key: str) -> dict[str, bytes]:
        return dict(self.data.get(key, {}))

    def set(self, key: str, field: str, value: Any) -> None:
        self.data.setdefault(key, {})[field] = value if isinstance(value, bytes) else str(value).encode()

    def unset(self, key: str, fields: Any) -> None:
        for field in fields:
            self.data.get(key, {}).pop(field, None)

    def drop(self, key: str) -> None:
        self.data.pop(key, None)


class Undone(Exception):
    """A transaction that somebody thinks better of."""


@given(transactions=st.lists(TRANSACTIONS, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_do_what_dictionaries_would(
    transactions: list[tuple[list[Any], bool]], redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    redis_server.empty()
    file = SqliteStore(tmp_path_factory.mktemp("hashes") / "state.db")
    client = redis_server.client()
    model = Model()
    for steps, kept in transactions:
        before = {key: dict(one) for key, one in model.data.items()}
        answers = [[getattr(model, step[0])(*step[1:]) for step in steps]]
        for hashes in (file.hashes, RedisHashes(client)):
            answers.append([])
            try:
                with hashes.transaction():
                    answers[-1] = [getattr(hashes, step[0])(*step[1:]) for step in steps]
                    if not kept:
                        raise Undone
            except Undone:
                pass
        assert answers[1] == answers[0], "SQLite"
        assert answers[2] == answers[0], "Redis"
        model.data = model.data if kept else before
        for key in KEYS:
            assert file.hashes.all(key) == RedisHashes(client).all(key) == model.all(key)
    file.close()
    client.close()


def test_a_transaction_reads_what_it_wrote_and_nobody_else_does(store: StateStore, opened: Open) -> None:
    one, other = store.hashes, opened().hashes
    with store.transaction():
        one.set("x", "a", 1)
        one.set("y", "b", 1)
        one.set("y", "e", 1)
        assert (other.all("x"), other.all("y")) == ({}, {})
    with store.transaction():
        assert one.number("x", "a") == 1
        one.set("x", "a", 2)
        one.unset("y", ["b", "e", "never there"])
        one.set("y", "c", 3)
        assert (one.number("x", "a"), one.all("y"), one.many("y", ["b", "c"])) == (2, {"c": b"3"}, [None, b"3"])
        one.drop("x")
        assert (one.get("x", "a"), one.all("x")) == (None, {})
        one.set("x", "d", 4)
        assert (one.all("x"), other.all("x"), other.all("y")) == ({"d": b"4"}, {"a": b"1"}, {"b": b"1", "e": b"1"})
    assert (other.all("x"), other.all("y")) == ({"d": b"4"}, {"c": b"3"})


def test_no_update_is_lost_among_writers(opened: Open) -> None:
    def count(mine: StateStore) -> None:
        for _ in range(15):
            with mine.transaction():
                mine.hashes.next("x", "n")

    threads = [threading.Thread(target=count, args=(opened(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened().hashes.number("x", "n") == 60


def test_what_changes_outside_of_a_transaction_is_a_mistake(store: StateStore) -> None:
    hashes = store.hashes
    for change in (lambda: hashes.set("x", "a", 1), lambda: hashes.unset("x", ["a"]), lambda: hashes.drop("x")):
        with pytest.raises(AssertionError, match="only inside a transaction"):
            change()
    with store.transaction():
        assert hashes.changing
        with pytest.raises(AssertionError, match="under way already"), hashes.transaction():
            pass
    assert not hashes.changing


def test_a_list_keeps_its_numbers(store: StateStore) -> None:
    hashes = store.hashes
    with store.transaction():
        assert [hashes.append("x", value) for value in "abc"] == [1, 2, 3]
        hashes.unset("x", ["3"])
        assert hashes.append("x", "d") == 4
    assert hashes.latest("x", 3) == [b"b", b"d"]
    assert hashes.latest("x", 99) == [b"a", b"b", b"d"]
    assert hashes.number("x", COUNT) == 4
    assert hashes.latest("y", 3) == []


def test_a_failure_is_a_state_error(store: StateStore, redis_server: RedisServer) -> None:
    store.close()
    if isinstance(store, SqliteStore):
        with pytest.raises(StateError, match="SQLite: Cannot operate on a closed database"):
            store.version()
    else:
        redis_server.client().set("graduand:x", "no hash")
        with pytest.raises(StateError, match="Redis: WRONGTYPE"):
            store.hashes.all("x")


# Writes two counters a transaction, and says each that is written.
WRITER = """
import sys
from pathlib import Path
from graduand.gateway.state.redis_client import connect
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.replica import ReplicaFolder
from graduand.gateway.state.sqlite import SqliteStore
where = sys.argv[1]
redis = where.startswith("redis:")
store = RedisStore(connect(where, None), ReplicaFolder(Path(sys.argv[2]))) if redis else SqliteStore(Path(where))
while True:
    with store.transaction():
        for key in ("x", "y"):
            number = store.hashes.next(key, "n")
            store.hashes.set(key, str(number), "v" * 5000)
    print(number, flush=True)
"""


@pytest.mark.timeout(180)
def test_a_writer_that_is_killed_leaves_all_or_nothing(
    store: StateStore, redis_server: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(3)
    where = str(tmp_path / "folder" / "state.db") if isinstance(store, SqliteStore) else redis_server.url
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", UNTIL_PARENT_ENDS, "-c", WRITER, where, str(tmp_path / "logs")],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert writer.stdout is not None
        said = int(writer.stdout.readline())
        time.sleep(rng.uniform(0, 0.1))
        writer.kill()
        said = int((writer.stdout.read().split() or [said])[-1])
        writer.wait()
        redis_server.client().delete(LOCK)  # or the next one waits until it ends by itself
        number = store.hashes.number("x", "n")
        assert number == store.hashes.number("y", "n")
        assert number in (said, said + 1)
        assert len(store.hashes.all("x")) == len(store.hashes.all("y")) == number + 1
