"""What is a file's own: one that cannot be used, one that is new, and one that an older version of Graduand has filled."""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.logs.tail import Line, Place
from graduand.gateway.state import sqlite_upgrade, trail
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.sqlite import SqliteStore
from graduand.gateway.state.sqlite_hashes import SqliteHashes
from graduand.gateway.state.store import Registered, StateStore

# A file with something in every table, and what the last version that wrote such files answered.
BEFORE = Path(__file__).with_name("state-before.sql")
ANSWERS = Path(__file__).with_name("state-before.json")


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database " * 100)
    with pytest.raises(StateError, match="cannot use the state file"):
        SqliteStore(tmp_path / "file" / "state.db")
    with pytest.raises(StateError, match="cannot use the state file"):
        SqliteStore(tmp_path / "file")


@pytest.mark.parametrize("mode", ["SHARED", "EXCLUSIVE"])
def test_a_new_file_that_another_process_is_preparing(tmp_path: Path, mode: str) -> None:
    """Several processes open the file for the first time at once; the journal's mode is changed by one of them."""
    path = tmp_path / "state.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE x (y)")
    if mode == "EXCLUSIVE":
        other.execute("BEGIN EXCLUSIVE")
    else:
        other.execute("BEGIN")
        other.execute("SELECT * FROM x").fetchall()
    timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    timer.start()
    assert SqliteStore(path).version() == 1
    timer.join()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    [pages] = store._file.db.execute("PRAGMA page_count").fetchone()
    store._file.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="full"), store.transaction():
        for name in "ab":
            store.hashes.set("x", name, "v" * 5000)
    assert (store.hashes.all("x"), store.hashes.changing) == ({}, False)
    store._file.db.execute("PRAGMA max_page_count = 1000000")
    with store.transaction():
        store.hashes.set("x", "a", "v" * 5000)
    assert store.hashes.all("x").keys() == {"a"}
    store.close()


# A file of an older version.


@pytest.fixture
def before(tmp_path: Path) -> Path:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(BEFORE.read_text())
    return path


def answers(path: Path) -> Any:
    store = Rollouts(SqliteStore(path))
    state, documents, row = store.state, Documents(store.state), store.find("triage")
    both = ("triage-1", "triage-2")
    found = {
        "version": state.version(),
        "overrides": {name: _given(asdict(one)) for name, one in state.overrides().items()},
        "events": _chained(state),
        "served": state.served(),
        "adapters": [asdict(one) for one in state.adapters()],
        "leases": {name: state.lease(name) for name in ("controller", "fleet")},
        "documents": {kind: documents.all(kind) for kind in ("drift", "alarm", "verdict")},
        "rows": [
            {
                # With the gates of today, evidence begins anew (tests/gateway/control); where it stood is kept.
                "state": {name: one.state.to_dict()[name] for name in ("id", "phase", "step", "version", "salt")},
                "counts": one.counts,
                **{name: getattr(one, name) for name in (
                    "created_at", "started_at", "token", "entry_version", "attempt_version", "table_version")},
            }
            for one in store.rows()
        ],
        "live": [one.id for one in store.live()],
        "rollout_events": {
            name: [(version, phase, event.to_dict()) for version, phase, event in store.events(name)] for name in both
        },
        "tokens": {name: store.tokens(name) for name in both},
        "told": store.notified("triage-1", 0),
        "course": {name: store.course(name) for name in both},
        "last_point": store.last_point("triage-2"),
        "disagreements": {name: store.disagreements(name) for name in both},
        "judging": [[wanted, said, store.judging_case(number)] for number, wanted, said in store.judging(row.id, 10)[1]],
        "judging_count": store.judging_count(row.id),
        "judged_on": [store.judged_on(row.id, day) for day in (20422, 20421)],
        "offsets": store.offsets(),
        "waiting_files": sorted(store.waiting_files(0)),
    }  # fmt: skip
    store.close()
    return json.loads(json.dumps(found))


def _chained(state: StateStore) -> list[dict[str, Any]]:
    """The events as they were, each of which now has its place in the audit trail."""
    links, events = state.trail(1), state.events()
    assert trail.broken(links) is None
    assert [(one.number, one.hash) for one in links[::-1]] == [(one.pop("number"), one.pop("hash")) for one in events]
    return events


def _given(override: dict[str, Any]) -> dict[str, Any]:
    """An override without what it does not change: fields are added with time."""
    return {name: value for name, value in override.items() if value is not None}


def _expected() -> Any:
    """What was read from the file before the stores were one, as far as it has stayed the same since."""
    found = json.loads(ANSWERS.read_text())
    found["overrides"] = {name: _given(one) for name, one in found["overrides"].items()}
    # Thresholds are learnt anew from pairs that say whose they are.
    del found["samples"], found["sample_count"]
    for row in found["rows"]:
        row["state"] = {name: row["state"][name] for name in ("id", "phase", "step", "version", "salt")}
        del row["ledger"]
    return found


def test_nothing_is_lost(before: Path) -> None:
    expected = _expected()
    found = answers(before)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name
    assert answers(before) == expected  # and once more: it is not filled twice


def test_evidence_on_its_way_goes_on(before: Path) -> None:
    """Halves that wait, ids that were seen, units that were counted and questions that are open."""
    store = Rollouts(SqliteStore(before))
    row = store.find("triage")
    with store.transaction():
        assert store.take_waiting("id-7", "served") == Line(Place("w0.jsonl", 7938, 709), b"")
        assert not store.write_seen("id-5", 1764468106.7234557)
        assert store.write_seen("id-99", 1764468106.7234557)
        assert (store.write_unit(row, 7), store.write_unit(row, 8)) == (False, True)
        served, [first, *_] = store.judging(row.id, 1)
        assert served == []  # a store of that time has one queue
        store.write_judged(first[0])
        store.write_judging(row, 20422, [0], {"conversation": "new"}, served=False)
    assert [store.judging_case(number)["conversation"] for number, _, _ in store.judging(row.id, 9)[1]] == ["c2", "new"]
    with store.transaction():
        assert store.write_forgotten(1764468100.0, 1764468000.0 + 7200) == 1
        assert store.write_seen("id-5", 1764468106.7234557)
    assert store.number("triage") == 2
    store.close()


def test_killed_in_it(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever that is, the old file is as it was."""
    expected = _expected()
    write = SqliteHashes.set

    class Killed(Exception):
        pass

    for after in (0, 20, 70):
        left = [after]

        def until_killed(self: SqliteHashes, *what: Any, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            write(self, *what)

        monkeypatch.setattr(SqliteHashes, "set", until_killed)
        with pytest.raises(Killed):
            SqliteStore(before)
    monkeypatch.undo()
    assert answers(before) == expected


def test_several_processes_fill_it_once(before: Path) -> None:
    opened: list[SqliteStore] = []
    threads = [threading.Thread(target=lambda: opened.append(SqliteStore(before))) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(opened) == 6
    assert answers(before) == _expected()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.unlink()])
def test_an_older_version_refuses_what_it_cannot_read(before: Path, make: Callable[[Path], None]) -> None:
    """It reads `meta`, and fills it if it is empty: a file that looked new to it would give every route back to the
    configuration file."""
    make(before)
    SqliteStore(before).close()
    with closing(sqlite3.connect(before)) as older:
        for statement in (
            "SELECT version FROM meta",
            "INSERT INTO meta SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM meta)",
        ):
            with pytest.raises(sqlite3.OperationalError, match="belongs to a newer version of Graduand"):
                older.execute("CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL)")
                older.execute(statement).fetchall()


def test_other_tables_stay(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE mine (x)")
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as file:
        assert {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == {
            "mine",
            "hashes",
        }
        assert not sqlite_upgrade.OLD.keys() & {"mine", "hashes"}


def test_adapters_of_a_file_from_before_bases_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(
        "CREATE TABLE adapters (name TEXT NOT NULL, upstream TEXT NOT NULL, path TEXT NOT NULL, added_at REAL NOT NULL, "
        "PRIMARY KEY (name, upstream))"
    )
    old.execute("INSERT INTO adapters VALUES ('a@111111', 'gpu', '/a', 1.5)")
    old.close()
    store = SqliteStore(path)
    assert store.adapters() == [Registered("a@111111", "gpu", "/a", 1.5, None)]
    store.add_adapter("a@111111", "gpu", "/a", who="ann", base="base")
    assert [one.base for one in SqliteStore(path).adapters()] == ["base"]
