"""Hashes in one table of a SQLite file. See gateway.state.hashes for what each method promises."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from graduand.gateway.state.hashes import Hashes, StateError, Value, stored

SCHEMA = """
CREATE TABLE IF NOT EXISTS hashes (key TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, field))
WITHOUT ROWID
"""
BUSY_S = 5.0


class SqliteHashes(Hashes):
    """Several processes on one machine may use the file at once."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One request of the admin plane may be carried from thread to thread, but never used by two at once.
            self.db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._use_wal()
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.execute(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot use the state file {path}: {error}; check the folder's permissions") from error

    def _use_wal(self) -> None:
        # Only a new file needs it. Changing the journal's mode does not wait for other processes that are changing it in
        # the same moment, as a gateway's are when it starts for the first time.
        until = time.monotonic() + BUSY_S
        while True:
            try:
                if self.db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    self.db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    @property
    def changing(self) -> bool:
        """Whether a transaction is under way."""
        return self.db.in_transaction

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside; waits for others that write."""
        assert not self.changing, "a transaction is under way already"
        self._do("BEGIN IMMEDIATE")
        try:
            yield
            self._do("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has ended it by itself
                self.db.execute("ROLLBACK")
            raise

    def many(self, key: str, fields: list[str]) -> list[bytes | None]:
        """Several fields of one hash, in this order."""
        query = "SELECT value FROM hashes WHERE key = ? AND field = ?"
        found = [self._do(query, (key, field)) for field in fields]
        return [rows[0][0] if rows else None for rows in found]

    def all(self, key: str) -> dict[str, bytes]:
        """All fields of one hash."""
        return dict(self._do("SELECT field, value FROM hashes WHERE key = ?", (key,)))

    def set(self, key: str, field: str, value: Value) -> None:
        """Write a field."""
        self._change("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", (key, field, stored(value)))

    def unset(self, key: str, fields: Iterable[str]) -> None:
        """Remove fields."""
        for field in fields:
            self._change("DELETE FROM hashes WHERE key = ? AND field = ?", (key, field))

    def drop(self, key: str) -> None:
        """Remove a whole hash."""
        self._change("DELETE FROM hashes WHERE key = ?", (key,))

    def _change(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        assert self.changing, "only inside a transaction"
        self._do(statement, values)

    def _do(self, statement: str, values: tuple[str | bytes, ...] = ()) -> list[Any]:
        try:
            return self.db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StateError(f"SQLite: {error}") from error
