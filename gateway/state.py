"""What was changed at run time: routes' modes and weights, registered adapters, and who did it. Kept in SQLite.

Rollouts live in the same file (gateway.control.store), so that a decision and the route change that it means are one
transaction.

Invariants: a change is a compare-and-swap on the route's version, in one transaction with its audit event; `version` of
the whole store grows with every change, so a reader sees with one small query whether there is anything new. What stands
here wins over the configuration file.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.errors import GraduandError
from gateway.routes import Incumbent, Route, RouteTable, Student

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL);
INSERT INTO meta SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM meta);
CREATE TABLE IF NOT EXISTS routes (
    name TEXT PRIMARY KEY, mode TEXT, weight_bp INTEGER, adapter TEXT, version INTEGER NOT NULL,
    rollout TEXT, salt TEXT, audit_bp INTEGER, logprobs INTEGER, threshold TEXT, incumbent TEXT, limit_bp INTEGER
);
CREATE TABLE IF NOT EXISTS served (worker TEXT PRIMARY KEY, version INTEGER NOT NULL, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS adapters (
    name TEXT NOT NULL, upstream TEXT NOT NULL, path TEXT NOT NULL, added_at REAL NOT NULL, PRIMARY KEY (name, upstream)
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, subject TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL
);
"""


BUSY_S = 5.0
COLUMNS = "name, version, mode, weight_bp, adapter, rollout, salt, audit_bp, logprobs, threshold, incumbent, limit_bp"
# Columns that files written before they existed have not.
LATER_COLUMNS = {
    "rollout": "TEXT", "salt": "TEXT", "audit_bp": "INTEGER", "logprobs": "INTEGER", "threshold": "TEXT",
    "incumbent": "TEXT", "limit_bp": "INTEGER",
}  # fmt: skip


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
    rollout: str | None = None
    salt: str | None = None
    audit_bp: int | None = None
    logprobs: bool | None = None
    threshold: str | None = None  # as JSON: it is only carried here
    incumbent: str | None = None  # as JSON: the fields of an Incumbent
    limit_bp: int | None = None  # the most that the student gets while an alarm stands

    def applied(self, route: Route) -> Route:
        """The route as it is served."""
        student = route.student
        if student is not None and self.adapter is not None:
            student = replace(student, adapter=self.adapter)
        # The file may have lost its student since the change: then the teacher answers.
        mode = route.mode if self.mode is None or student is None else self.mode
        mode, weight_bp = self._limited(mode, route.weight_bp if self.weight_bp is None else self.weight_bp)
        return replace(
            route,
            mode=mode,
            weight_bp=weight_bp,
            student=student,
            rollout=self.rollout or route.rollout,
            salt=self.salt or route.salt,
            audit_bp=route.audit_bp if self.audit_bp is None else self.audit_bp,
            logprobs=route.logprobs if self.logprobs is None else bool(self.logprobs),
            threshold=self._threshold(student),
            incumbent=self._incumbent(student),
            limit_bp=self.limit_bp,
            version=self.version,
        )

    def _incumbent(self, student: Student | None) -> Incumbent | None:
        """The student that stands in for the teacher; not while an alarm gives the route to the teacher himself."""
        if not self.incumbent or student is None or self.limit_bp == 0:
            return None
        return Incumbent(**json.loads(self.incumbent))

    def _limited(self, mode: str, weight_bp: int) -> tuple[str, int]:
        """Mode and weight under the limit. What is to be taken from the student altogether is still copied to it, so
        that it can be seen to recover; so is a hybrid route's, whose share nobody sets."""
        if self.limit_bp is None or mode in ("teacher", "shadow"):
            return mode, weight_bp
        if self.limit_bp == 0 or mode == "hybrid":
            return "shadow", 0
        return "canary", min(10_000 if mode == "student" else weight_bp, self.limit_bp)

    def _threshold(self, student: Student | None) -> dict[str, Any] | None:
        """A threshold holds for the adapter that it was learnt with, and for no other."""
        stored: dict[str, Any] = json.loads(self.threshold) if self.threshold else {}
        fits = student is not None and bool(stored) and stored["threshold"]["adapter"] == student.adapter
        return stored if fits else None


@dataclass(frozen=True, slots=True)
class Registered:
    """An adapter that was put on an upstream by `adapters add`."""

    name: str
    upstream: str
    path: str
    added_at: float


class SqliteStore:
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
        there = {row[1] for row in self._db.execute("PRAGMA table_info(routes)")}
        for name in LATER_COLUMNS.keys() - there:
            # Another process may be adding it in this very moment.
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute(f"ALTER TABLE routes ADD COLUMN {name} {LATER_COLUMNS[name]}")

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for stores that keep more in the same file."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def version(self) -> int:
        """The store's version: it grows with every change."""
        return int(self._db.execute("SELECT version FROM meta").fetchone()[0])

    def table(self, routes: Mapping[str, Route]) -> RouteTable:
        """The configured `routes` with what was changed at run time applied."""
        with self.transaction("DEFERRED"):
            return RouteTable(self.version(), self.table_inside(routes))

    def table_inside(self, routes: Mapping[str, Route]) -> dict[str, Route]:
        """The routes as they are served, for a caller that is in a transaction already."""
        overrides = self._overrides()
        return {name: overrides[name].applied(route) if name in overrides else route for name, route in routes.items()}

    def change_route(
        self, route: Route, *, who: str, why: str = "", version: int | None = None, mode: str | None = None,
        weight_bp: int | None = None, adapter: str | None = None, reset: bool = False,
        inside: Callable[[], None] = lambda: None,
    ) -> int:  # fmt: skip
        """Change a configured route at run time and return its new version.

        `route` is the route of the file. Raises Conflict if `version` is given and is not the present one. `reset` makes
        the route as the file has it before the rest is applied. `inside` runs in the same transaction and may refuse.
        """
        with self.transaction():
            old = self.override(route)
            if version is not None and version != old.version:
                raise Conflict(route.name, version, old.version)
            inside()
            kept = Override(old.version) if reset else old
            # Set by hand, a route no longer belongs to a rollout: neither its id nor its salt stay, but what was learnt
            # and the audit do. What an alarm limited is given back: a person has decided.
            new = Override(
                old.version + 1,
                kept.mode if mode is None else mode,
                kept.weight_bp if weight_bp is None else weight_bp,
                kept.adapter if adapter is None else adapter,
                audit_bp=kept.audit_bp, logprobs=kept.logprobs, threshold=kept.threshold,
            )  # fmt: skip
            self.put(route.name, new)
            what = {
                "mode": mode,
                "weight_bp": weight_bp,
                "adapter": adapter,
                "reset": reset or None,
                "why": why or None,
            }
            self.changed(f"route/{route.name}", who, {key: value for key, value in what.items() if value is not None})
        return new.version

    def override(self, route: Route) -> Override:
        """What was changed of one route."""
        return self._overrides().get(route.name, Override(route.version))

    def put(self, name: str, new: Override) -> None:
        """Write what is changed of a route; only inside a transaction, together with `changed`."""
        row = (
            name, new.version, new.mode, new.weight_bp, new.adapter, new.rollout, new.salt, new.audit_bp, new.logprobs,
            new.threshold, new.incumbent, new.limit_bp,
        )  # fmt: skip
        marks = ", ".join("?" * len(row))
        self._db.execute(f"INSERT OR REPLACE INTO routes ({COLUMNS}) VALUES ({marks})", row)

    def serves(self, worker: str, version: int) -> None:
        """A worker says which version of the table it serves by."""
        row = (worker, version, time.time())
        self._db.execute("INSERT OR REPLACE INTO served (worker, version, time) VALUES (?, ?, ?)", row)

    def served(self) -> dict[str, int]:
        """By worker, the version of the table that it serves by."""
        return dict(self._db.execute("SELECT worker, version FROM served"))

    def adapters(self) -> list[Registered]:
        """The registered adapters."""
        rows = self._db.execute("SELECT name, upstream, path, added_at FROM adapters ORDER BY name, upstream")
        return [Registered(*row) for row in rows]

    def add_adapter(self, name: str, upstream: str, path: str, *, who: str) -> None:
        """Register an adapter; again is no error."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO adapters VALUES (?, ?, ?, ?)", (name, upstream, path, time.time()))
            self.changed(f"adapter/{name}", who, {"add": path, "upstream": upstream})

    def remove_adapter(self, name: str, upstream: str, *, who: str) -> None:
        """Forget an adapter."""
        with self.transaction():
            self._db.execute("DELETE FROM adapters WHERE name = ? AND upstream = ?", (name, upstream))
            self.changed(f"adapter/{name}", who, {"remove": True, "upstream": upstream})

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest changes, newest first."""
        rows = self._db.execute("SELECT time, subject, who, what FROM events ORDER BY id DESC LIMIT ?", (limit,))
        return [{"time": at, "subject": subject, "who": who, **json.loads(what)} for at, subject, who, what in rows]

    def _overrides(self) -> dict[str, Override]:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM routes")
        return {name: Override(*rest) for name, *rest in rows}

    def changed(self, subject: str, who: str, what: dict[str, Any]) -> None:
        """Note a change and who made it; only inside a transaction. Workers look for a new table after it."""
        self._db.execute("UPDATE meta SET version = version + 1")
        self._db.execute(
            "INSERT INTO events (time, subject, who, what) VALUES (?, ?, ?, ?)",
            (time.time(), subject, who, json.dumps(what)),
        )

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """All or nothing of what is inside."""
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
