"""What was changed at run time: routes' modes and weights, registered adapters, and who did it. Kept in SQLite.

Invariants: a change is a compare-and-swap on the route's version, in one transaction with its audit event; `version` of
the whole store grows with every change, so a reader sees with one small query whether there is anything new. What stands
here wins over the configuration file.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.errors import GraduandError
from gateway.routes import Route, RouteTable

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL);
INSERT INTO meta SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM meta);
CREATE TABLE IF NOT EXISTS routes (
    name TEXT PRIMARY KEY, mode TEXT, weight_bp INTEGER, adapter TEXT, version INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS adapters (
    name TEXT NOT NULL, upstream TEXT NOT NULL, path TEXT NOT NULL, added_at REAL NOT NULL, PRIMARY KEY (name, upstream)
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, subject TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL
);
"""


BUSY_S = 5.0


class StateError(GraduandError, RuntimeError):
    """The state store cannot be used."""


class Conflict(GraduandError, ValueError):
    """Somebody else changed the route first; `current` is its version now."""

    def __init__(self, route: str, given: int, current: int) -> None:
        super().__init__(f"route {route!r} is at version {current}, not {given}: read it again and repeat the change")
        self.current = current


@dataclass(frozen=True, slots=True)
class Override:
    """What was changed of a route since the file was written; None is 'as in the file'."""

    version: int
    mode: str | None = None
    weight_bp: int | None = None
    adapter: str | None = None

    def applied(self, route: Route) -> Route:
        """The route as it is served."""
        student = route.student
        if student is not None and self.adapter is not None:
            student = replace(student, adapter=self.adapter)
        # The file may have lost its student since the change: then the teacher answers.
        mode = route.mode if self.mode is None or student is None else self.mode
        return replace(
            route,
            mode=mode,
            weight_bp=route.weight_bp if self.weight_bp is None else self.weight_bp,
            student=student,
            version=self.version,
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """An adapter that was put on an upstream by `adapters add`."""

    name: str
    upstream: str
    path: str
    added_at: float


class SqliteStore:
    """The store in one file; several processes on one machine may use it at once. Not for sharing between threads."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
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

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def version(self) -> int:
        """The store's version: it grows with every change."""
        return int(self._db.execute("SELECT version FROM meta").fetchone()[0])

    def table(self, routes: Mapping[str, Route]) -> RouteTable:
        """The configured `routes` with what was changed at run time applied."""
        with self._transaction("DEFERRED"):
            version, overrides = self.version(), self._overrides()
        return RouteTable(
            version,
            {name: overrides[name].applied(route) if name in overrides else route for name, route in routes.items()},
        )

    def change_route(
        self, route: Route, *, who: str, why: str = "", version: int | None = None, mode: str | None = None,
        weight_bp: int | None = None, adapter: str | None = None, reset: bool = False,
    ) -> int:  # fmt: skip
        """Change a configured route at run time and return its new version.

        `route` is the route of the file. Raises Conflict if `version` is given and is not the present one. `reset` makes
        the route as the file has it before the rest is applied.
        """
        with self._transaction():
            old = self._overrides().get(route.name, Override(route.version))
            if version is not None and version != old.version:
                raise Conflict(route.name, version, old.version)
            kept = Override(old.version) if reset else old
            new = Override(
                old.version + 1,
                kept.mode if mode is None else mode,
                kept.weight_bp if weight_bp is None else weight_bp,
                kept.adapter if adapter is None else adapter,
            )
            self._db.execute(
                "INSERT OR REPLACE INTO routes VALUES (?, ?, ?, ?, ?)",
                (route.name, new.mode, new.weight_bp, new.adapter, new.version),
            )
            what = {
                "mode": mode,
                "weight_bp": weight_bp,
                "adapter": adapter,
                "reset": reset or None,
                "why": why or None,
            }
            self._changed(f"route/{route.name}", who, {key: value for key, value in what.items() if value is not None})
        return new.version

    def adapters(self) -> list[Registered]:
        """The registered adapters."""
        rows = self._db.execute("SELECT name, upstream, path, added_at FROM adapters ORDER BY name, upstream")
        return [Registered(*row) for row in rows]

    def add_adapter(self, name: str, upstream: str, path: str, *, who: str) -> None:
        """Register an adapter; again is no error."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO adapters VALUES (?, ?, ?, ?)", (name, upstream, path, time.time()))
            self._changed(f"adapter/{name}", who, {"add": path, "upstream": upstream})

    def remove_adapter(self, name: str, upstream: str, *, who: str) -> None:
        """Forget an adapter."""
        with self._transaction():
            self._db.execute("DELETE FROM adapters WHERE name = ? AND upstream = ?", (name, upstream))
            self._changed(f"adapter/{name}", who, {"remove": True, "upstream": upstream})

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest changes, newest first."""
        rows = self._db.execute("SELECT time, subject, who, what FROM events ORDER BY id DESC LIMIT ?", (limit,))
        return [{"time": at, "subject": subject, "who": who, **json.loads(what)} for at, subject, who, what in rows]

    def _overrides(self) -> dict[str, Override]:
        rows = self._db.execute("SELECT name, version, mode, weight_bp, adapter FROM routes")
        return {name: Override(*rest) for name, *rest in rows}

    def _changed(self, subject: str, who: str, what: dict[str, Any]) -> None:
        self._db.execute("UPDATE meta SET version = version + 1")
        self._db.execute(
            "INSERT INTO events (time, subject, who, what) VALUES (?, ?, ?, ?)",
            (time.time(), subject, who, json.dumps(what)),
        )

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
