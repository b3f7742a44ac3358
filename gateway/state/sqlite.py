"""The run-time state in one SQLite file: for one machine, where several processes may use it at once.

Rollouts live in the same file (gateway.control.store.sqlite), so that a decision and the route change that it means are one
transaction.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graduand.gateway.state.store import Override, Registered, StateError, StateStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL);
INSERT INTO meta SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM meta);
CREATE TABLE IF NOT EXISTS routes (
    name TEXT PRIMARY KEY, mode TEXT, weight_bp INTEGER, adapter TEXT, version INTEGER NOT NULL,
    rollout TEXT, salt TEXT, audit_bp INTEGER, logprobs INTEGER, threshold TEXT, incumbent TEXT, limit_bp INTEGER,
    unit_salt TEXT
);
CREATE TABLE IF NOT EXISTS served (worker TEXT PRIMARY KEY, version INTEGER NOT NULL, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS adapters (
    name TEXT NOT NULL, upstream TEXT NOT NULL, path TEXT NOT NULL, added_at REAL NOT NULL, base TEXT,
    PRIMARY KEY (name, upstream)
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, subject TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, token INTEGER NOT NULL, until REAL NOT NULL);
"""


BUSY_S = 5.0
COLUMNS = "name, version, mode, weight_bp, adapter, rollout, salt, audit_bp, logprobs, threshold, incumbent, limit_bp, unit_salt"
# Columns that files written before they existed have not.
LATER_COLUMNS = {
    "routes": {
        "rollout": "TEXT", "salt": "TEXT", "audit_bp": "INTEGER", "logprobs": "INTEGER", "threshold": "TEXT",
        "incumbent": "TEXT", "limit_bp": "INTEGER", "unit_salt": "TEXT",
    },
    "adapters": {"base": "TEXT"},
}  # fmt: skip


class SqliteStore(StateStore):
    """The store in one file; several processes on one machine may use it at once. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One request of the admin plane may be carried from thread to thread, but never used by two at once.
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot use the state file {path}: {error}; check the folder's permissions") from error

    def _prepare(self) -> None:
        # Only a new file needs preparing. Changing the journal's mode does not wait for other processes that are
        # preparing it in the same moment, as a gateway's are when it starts for the first time.
        until = time.monotonic() + BUSY_S
        while True:
            try:
                if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    self._db.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.01)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)
        self._add_later_columns()

    def _add_later_columns(self) -> None:
        for table, columns in LATER_COLUMNS.items():
            there = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
            for name in columns.keys() - there:
                # Another process may be adding it in this very moment.
                with contextlib.suppress(sqlite3.OperationalError):
                    self._db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for stores that keep more in the same file."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def version(self) -> int:
        """The store's version: it grows with every change."""
        return int(self._db.execute("SELECT version FROM meta").fetchone()[0])

    def snapshot(self) -> tuple[int, dict[str, Override]]:
        """Version and overrides of one moment."""
        with self._transaction("DEFERRED"):
            return self.version(), self.overrides()

    def overrides(self) -> dict[str, Override]:
        """What was changed, by route."""
        rows = self._db.execute(f"SELECT {COLUMNS} FROM routes")
        return {name: Override(*rest) for name, *rest in rows}

    def put(self, name: str, new: Override) -> None:
        """Write what is changed of a route; only inside a transaction, together with `changed`."""
        row = (
            name, new.version, new.mode, new.weight_bp, new.adapter, new.rollout, new.salt, new.audit_bp, new.logprobs,
            new.threshold, new.incumbent, new.limit_bp, new.unit_salt,
        )  # fmt: skip
        marks = ", ".join("?" * len(row))
        self._db.execute(f"INSERT OR REPLACE INTO routes ({COLUMNS}) VALUES ({marks})", row)

    def changed(self, subject: str, who: str, what: dict[str, Any]) -> None:
        """Note a change and who made it; only inside a transaction. Workers look for a new table after it."""
        self._db.execute("UPDATE meta SET version = version + 1")
        self._db.execute(
            "INSERT INTO events (time, subject, who, what) VALUES (?, ?, ?, ?)",
            (time.time(), subject, who, json.dumps(what)),
        )

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest changes, newest first."""
        rows = self._db.execute("SELECT time, subject, who, what FROM events ORDER BY id DESC LIMIT ?", (limit,))
        return [{"time": at, "subject": subject, "who": who, **json.loads(what)} for at, subject, who, what in rows]

    def serves(self, worker: str, version: int) -> None:
        """A worker says which version of the table it serves by."""
        row = (worker, version, time.time())
        self._db.execute("INSERT OR REPLACE INTO served (worker, version, time) VALUES (?, ?, ?)", row)

    def served(self) -> dict[str, int]:
        """By worker, the version of the table that it serves by."""
        return dict(self._db.execute("SELECT worker, version FROM served"))

    def all_serve(self, version: int, workers: int) -> bool:
        """Whether all of the one gateway's workers serve by this version or a later one."""
        served = self.served()
        return all(served.get(str(number), 0) >= version for number in range(workers))

    def adapters(self) -> list[Registered]:
        """The registered adapters."""
        rows = self._db.execute("SELECT name, upstream, path, added_at, base FROM adapters ORDER BY name, upstream")
        return [Registered(*row) for row in rows]

    def put_adapter(self, one: Registered) -> None:
        """Write an adapter; only inside a transaction."""
        row = (one.name, one.upstream, one.path, one.added_at, one.base)
        insert = "INSERT OR REPLACE INTO adapters (name, upstream, path, added_at, base) VALUES (?, ?, ?, ?, ?)"
        self._db.execute(insert, row)

    def drop_adapter(self, name: str, upstream: str) -> None:
        """Forget an adapter; only inside a transaction."""
        self._db.execute("DELETE FROM adapters WHERE name = ? AND upstream = ?", (name, upstream))

    def lease(self, name: str) -> tuple[str, int, float]:
        """Who holds a lease, under which token, and until when."""
        found = self._db.execute("SELECT holder, token, until FROM lease WHERE name = ?", (name,)).fetchone()
        return found or ("", 0, 0.0)

    def put_lease(self, name: str, holder: str, token: int, until: float) -> None:
        """Write a lease; only inside a transaction."""
        self._db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (name, holder, token, until))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside."""
        with self._transaction("IMMEDIATE"):
            yield

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
