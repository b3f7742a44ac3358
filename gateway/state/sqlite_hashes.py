"""Hashes in one table of a SQLite file. See gateway.state.hashes for what each method promises."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from graduand.gateway.state.hashes import BufferedHashes, StateError

SCHEMA = """
CREATE TABLE IF NOT EXISTS hashes (key TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, field))
WITHOUT ROWID
"""
BUSY_S = 5.0
ASKED_AT_ONCE = 500  # the oldest versions take 999 values a statement


class SqliteHashes(BufferedHashes):
    """Several processes on one machine may use the file at once."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._under_way = False
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
        return self._under_way

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside; waits for others that write."""
        assert not self.changing, "a transaction is under way already"
        self._do("BEGIN IMMEDIATE")
        self._under_way = True
        try:
            yield
            self._write()
            self._do("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has ended it by itself
                self.db.execute("ROLLBACK")
            raise
        finally:
            self._under_way = False
            self._forget()

    def _fetch(self, key: str, fields: list[str]) -> list[bytes | None]:
        found: dict[str, bytes] = {}
        for start in range(0, len(fields), ASKED_AT_ONCE):
            some = fields[start : start + ASKED_AT_ONCE]
            places = ", ".join("?" * len(some))
            found.update(
                self._do(f"SELECT field, value FROM hashes WHERE key = ? AND field IN ({places})", (key, *some))
            )
        return [found.get(field) for field in fields]

    def _fetch_all(self, key: str) -> dict[str, bytes]:
        return dict(self._do("SELECT field, value FROM hashes WHERE key = ?", (key,)))

    def _write(self) -> None:
        dropped = [(key,) for key in self._dropped]
        gone, new = [], []
        for key, fields in self._changed.items():
            for field, value in fields.items():
                if value is None:
                    gone.append((key, field))
                else:
                    new.append((key, field, value))
        try:
            self.db.executemany("DELETE FROM hashes WHERE key = ?", dropped)
            self.db.executemany("DELETE FROM hashes WHERE key = ? AND field = ?", gone)
            self.db.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", new)
        except sqlite3.Error as error:
            raise StateError(f"SQLite: {error}") from error

    def _do(self, statement: str, values: tuple[str, ...] = ()) -> list[Any]:
        try:
            return self.db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StateError(f"SQLite: {error}") from error
