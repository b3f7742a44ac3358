"""What the monitor must not lose: how far it has read the log, and what its detectors have seen until there.

One SQLite file beside the log's segments, since both belong to this machine. Invariant: offsets, detectors and alarms
that were not delivered yet are written in one transaction, so no record is counted twice or left out, wherever the process is
killed; and only the process that opened the file last may write.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.gateway.errors import GraduandError
from graduand.monitoring.drift.prompts import Prompt
from graduand.monitoring.drift.spreads import HOUR_S, Seen

FILE = "monitor.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (holder TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tail (file TEXT PRIMARY KEY, read_to INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS panels (key TEXT PRIMARY KEY, state TEXT NOT NULL);
DROP TABLE IF EXISTS gathered;
CREATE TABLE IF NOT EXISTS heard (id TEXT PRIMARY KEY, route TEXT NOT NULL, text TEXT NOT NULL, system TEXT NOT NULL,
  at REAL NOT NULL, hour INTEGER NOT NULL, unit TEXT);
CREATE TABLE IF NOT EXISTS untold (id TEXT PRIMARY KEY, alarm TEXT NOT NULL);
"""
BUSY_S = 5.0


# No hour gives more than its share, so that a reference of a week knows all of its hours.
HEAR = """
INSERT OR IGNORE INTO heard SELECT :id, :route, :text, :system, :at, :hour, :unit
WHERE (SELECT count(*) FROM heard WHERE route = :route AND hour = :hour) < :most
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """One prompt for a route's reference set, of which an hour gives `most` at most."""

    id: str
    route: str
    prompt: Prompt
    at: float
    unit: str | None
    most: int

    @property
    def row(self) -> dict[str, str | float | None]:
        """Its row."""
        return {
            "id": self.id, "route": self.route, "text": self.prompt.text, "system": self.prompt.system, "at": self.at,
            "hour": int(self.at // HOUR_S), "unit": self.unit, "most": self.most,
        }  # fmt: skip


class Replaced(GraduandError, RuntimeError):
    """Another monitor has opened the file: this one must end."""


class MonitorStore:
    """The monitor's own file in the log's folder."""

    def __init__(self, folder: Path, holder: str, now: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._holder = holder
        self._db = sqlite3.connect(folder / FILE, timeout=BUSY_S, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(SCHEMA)
        self._db.execute("BEGIN IMMEDIATE")
        if self._db.execute("SELECT 1 FROM meta").fetchone() is None:
            self._db.execute("INSERT INTO meta VALUES (?, ?)", (holder, now))
        self._db.execute("UPDATE meta SET holder = ?", (holder,))
        self._db.execute("COMMIT")
        self.since = float(self._db.execute("SELECT since FROM meta").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def offsets(self) -> dict[str, int]:
        """By segment, up to where it was read."""
        return dict(self._db.execute("SELECT file, read_to FROM tail"))

    def panel(self, key: str) -> dict[str, Any] | None:
        """A panel's state."""
        found = self._db.execute("SELECT state FROM panels WHERE key = ?", (key,)).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def undelivered(self) -> dict[str, dict[str, Any]]:
        """Alarms that the controller does not have yet, by id."""
        return {
            key: json.loads(alarm) for key, alarm in self._db.execute("SELECT id, alarm FROM untold ORDER BY rowid")
        }

    def commit(
        self, offsets: Mapping[str, int], panels: Mapping[str, Mapping[str, Any]],
        alarms: Mapping[str, Mapping[str, Any]], gone: Iterable[str] = (), gathered: Iterable[Heard] = (),
    ) -> None:  # fmt: skip
        """All of what one look has taught, or nothing; raise Replaced if another monitor has taken over."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if self._db.execute("SELECT holder FROM meta").fetchone()[0] != self._holder:
                raise Replaced("another monitor reads this log now; this one ends")
            self._db.executemany("INSERT OR REPLACE INTO tail VALUES (?, ?)", offsets.items())
            self._db.executemany("DELETE FROM tail WHERE file = ?", [(name,) for name in gone])
            states = [(key, json.dumps(state)) for key, state in panels.items()]
            self._db.executemany("INSERT OR REPLACE INTO panels VALUES (?, ?)", states)
            new = [(key, json.dumps(alarm)) for key, alarm in alarms.items()]
            self._db.executemany("INSERT OR IGNORE INTO untold VALUES (?, ?)", new)
            self._db.executemany(HEAR, [one.row for one in gathered])
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def gathered(self, route: str, most: int) -> list[tuple[Prompt, Seen]]:
        """The first prompts gathered for a reference set, `most` of them, and when and by whom they were asked."""
        rows = "SELECT text, system, at, unit FROM heard WHERE route = ? ORDER BY rowid LIMIT ?"
        found = self._db.execute(rows, (route, most))
        return [(Prompt(text, system), Seen(at, unit)) for text, system, at, unit in found]

    def gathered_over(self, route: str) -> float:
        """Seconds from the first of them to the last."""
        rows = "SELECT coalesce(max(at) - min(at), 0) FROM heard WHERE route = ?"
        return float(self._db.execute(rows, (route,)).fetchone()[0])

    def count_gathered(self, route: str) -> int:
        """How many there are."""
        return int(self._db.execute("SELECT count(*) FROM heard WHERE route = ?", (route,)).fetchone()[0])

    def forget_gathered(self, route: str) -> None:
        """The reference set is made: no text is kept."""
        self._db.execute("DELETE FROM heard WHERE route = ?", (route,))

    def delivered(self, ids: Iterable[str]) -> None:
        """The controller has these alarms."""
        self._db.executemany("DELETE FROM untold WHERE id = ?", [(one,) for one in ids])


def read_to(folder: Path) -> dict[str, int] | None:
    """For whoever deletes segments: up to where the monitor has read each; None if no monitor ever ran here."""
    if not (folder / FILE).exists():
        return None
    db = sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True, timeout=BUSY_S)
    try:
        return dict(db.execute("SELECT file, read_to FROM tail"))
    finally:
        db.close()
