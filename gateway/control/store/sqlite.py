"""Rollouts in the SQLite state file, beside the routes: see gateway.control.store.rollouts for what each method promises."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graduand.gateway.control.store.rollouts import DISAGREEMENTS_KEPT, Rollouts
from graduand.gateway.control.store.rows import AT_REST, COLUMNS, Row, from_columns, to_columns
from graduand.gateway.control.store.schema import SCHEMA
from graduand.gateway.logs.tail import Line, Place
from graduand.gateway.state.sqlite import SqliteStore
from graduand.rollout.hybrid.pairs import Pair, pair_from_dict
from graduand.rollout.state import Event, event_from_dict

ALL_COLUMNS = ", ".join(COLUMNS)


class RolloutStore(Rollouts):
    """Rollouts in one state file; not for sharing between threads."""

    def __init__(self, where: Path | SqliteStore) -> None:
        self.state = where if isinstance(where, SqliteStore) else SqliteStore(where)
        self._db: sqlite3.Connection = self.state.db
        self._db.executescript(SCHEMA)
        self._add_later_columns()

    def _add_later_columns(self) -> None:
        there = {row[1] for row in self._db.execute("PRAGMA table_info(rollouts)")}
        for name in {"incumbent", "facts"} - there:
            # Another process may be adding it in this very moment.
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute(f"ALTER TABLE rollouts ADD COLUMN {name} TEXT NOT NULL DEFAULT 'null'")

    # Rollouts and their events.

    def row(self, rollout_id: str) -> Row | None:
        """One rollout."""
        found = self._db.execute(f"SELECT {ALL_COLUMNS} FROM rollouts WHERE id = ?", (rollout_id,)).fetchone()
        return from_columns(found) if found else None

    def rows(self, route: str | None = None, limit: int = 100) -> list[Row]:
        """Rollouts, newest first."""
        where, given = ("WHERE route = ?", (route,)) if route is not None else ("", ())
        query = f"SELECT {ALL_COLUMNS} FROM rollouts {where} ORDER BY created_at DESC, rowid DESC LIMIT {int(limit)}"
        return [from_columns(found) for found in self._db.execute(query, given)]

    def live(self) -> list[Row]:
        """Rollouts about which something may have to be decided."""
        resting = ", ".join(f"'{phase.value}'" for phase in sorted(AT_REST))
        query = f"SELECT {ALL_COLUMNS} FROM rollouts WHERE phase NOT IN ({resting})"
        return [from_columns(found) for found in self._db.execute(query)]

    def number(self, route: str) -> int:
        """How many rollouts this route has had."""
        return int(self._db.execute("SELECT COUNT(*) FROM rollouts WHERE route = ?", (route,)).fetchone()[0])

    def write_row(self, row: Row) -> None:
        """Store a rollout as it is now."""
        marks = ", ".join("?" * len(COLUMNS))
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
        self._db.execute(
            f"INSERT INTO rollouts ({ALL_COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {updates}",
            to_columns(row),
        )

    def write_event(self, row: Row, event: Event) -> None:
        """Store what happened; a second event at the same version is impossible."""
        text = json.dumps(event.to_dict())
        phase = row.state.phase.value
        self._db.execute(
            "INSERT INTO rollout_events VALUES (?, ?, ?, ?, ?)", (row.id, row.state.version, row.token, phase, text)
        )

    def events(self, rollout_id: str) -> list[tuple[int, str, Event]]:
        """Version and phase that each event led to, in order."""
        query = "SELECT version, phase, event FROM rollout_events WHERE rollout = ? ORDER BY version"
        found = self._db.execute(query, (rollout_id,))
        return [(version, phase, event_from_dict(json.loads(text))) for version, phase, text in found]

    def tokens(self, rollout_id: str) -> list[int]:
        """The fencing token under which each event was written, in order."""
        query = "SELECT token FROM rollout_events WHERE rollout = ? ORDER BY version"
        return [token for (token,) in self._db.execute(query, (rollout_id,))]

    def told(self, rollout_id: str, hook: int) -> int:
        """Up to which version a webhook was told."""
        query = "SELECT version FROM rollout_told WHERE rollout = ? AND hook = ?"
        found = self._db.execute(query, (rollout_id, hook)).fetchone()
        return int(found[0]) if found else 0

    def write_told(self, rollout_id: str, hook: int, version: int) -> None:
        """A webhook was told up to this version."""
        self._db.execute("INSERT OR REPLACE INTO rollout_told VALUES (?, ?, ?)", (rollout_id, hook, version))

    # Evidence.

    def write_unit(self, row: Row, unit: int) -> bool:
        """Note a unit; whether it is its first appearance in this entry."""
        done = self._db.execute(
            "INSERT OR IGNORE INTO rollout_units (rollout, entry, unit) VALUES (?, ?, ?)",
            (row.id, row.state.entry, unit),
        )
        return done.rowcount > 0

    def write_once(self, row: Row, what: str, unit: int) -> bool:
        """Note that something happened to a unit; whether it is the first time on the present basis of its evidence."""
        done = self._db.execute(
            "INSERT OR IGNORE INTO rollout_once VALUES (?, ?, ?, ?)", (row.id, row.state.basis, what, unit)
        )
        return done.rowcount > 0

    def write_forget_once(self, row: Row) -> None:
        """Drop what happened to units on earlier bases."""
        self._db.execute("DELETE FROM rollout_once WHERE rollout = ? AND basis < ?", (row.id, row.state.basis))

    def write_forget_units(self, row: Row) -> None:
        """Drop the units of earlier entries."""
        self._db.execute("DELETE FROM rollout_units WHERE rollout = ? AND entry < ?", (row.id, row.state.entry))

    def write_point(self, row: Row, at: float, point: Mapping[str, Any]) -> None:
        """One point of a rollout's course, for the page."""
        self._db.execute("INSERT INTO rollout_course VALUES (?, ?, ?)", (row.id, at, json.dumps(point)))

    def last_point(self, rollout_id: str) -> float:
        """When the newest point was taken; 0 without any."""
        found = self._db.execute("SELECT MAX(at) FROM rollout_course WHERE rollout = ?", (rollout_id,)).fetchone()
        return float(found[0] or 0.0)

    def points(self, rollout_id: str) -> list[dict[str, Any]]:
        """All points of a course in order of time."""
        query = "SELECT at, point FROM rollout_course WHERE rollout = ? ORDER BY at"
        return [{"at": at, **json.loads(point)} for at, point in self._db.execute(query, (rollout_id,))]

    def write_disagreement(self, row: Row, at: float, record: str, seen: Mapping[str, Any]) -> None:
        """Keep a disagreement to be looked at; only the latest are kept."""
        self._db.execute(
            "INSERT INTO rollout_disagreements (rollout, at, record, seen) VALUES (?, ?, ?, ?)",
            (row.id, at, record, json.dumps(seen)),
        )
        self._db.execute(
            "DELETE FROM rollout_disagreements WHERE rollout = ?1 AND number <= (SELECT number FROM rollout_disagreements"
            " WHERE rollout = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            (row.id, DISAGREEMENTS_KEPT),
        )

    def disagreements(self, rollout_id: str, limit: int = 20) -> list[dict[str, Any]]:
        """The latest disagreements, newest first."""
        query = "SELECT at, record, seen FROM rollout_disagreements WHERE rollout = ? ORDER BY number DESC LIMIT ?"
        found = self._db.execute(query, (rollout_id, limit))
        return [{"at": at, "record": record, **json.loads(seen)} for at, record, seen in found]

    def write_sample(self, row: Row, pair: Pair) -> None:
        """One pair to learn a threshold from."""
        sample = json.dumps(pair.to_dict())
        attempt = row.state.attempt
        self._db.execute(
            "INSERT INTO rollout_pairs (rollout, attempt, sample) VALUES (?, ?, ?)", (row.id, attempt, sample)
        )

    def samples(self, row: Row, most: int) -> list[Pair]:
        """The latest samples of this attempt, oldest first."""
        query = "SELECT sample FROM rollout_pairs WHERE rollout = ? AND attempt = ? ORDER BY number DESC LIMIT ?"
        found = self._db.execute(query, (row.id, row.state.attempt, most)).fetchall()
        return [pair_from_dict(json.loads(text)) for (text,) in reversed(found)]

    def sample_count(self, row: Row) -> int:
        """How many samples this attempt has."""
        query = "SELECT COUNT(*) FROM rollout_pairs WHERE rollout = ? AND attempt = ?"
        return int(self._db.execute(query, (row.id, row.state.attempt)).fetchone()[0])

    def write_forget_samples(self, row: Row) -> None:
        """Drop what was sampled: a threshold that has expired is learnt again from fresh pairs."""
        self._db.execute("DELETE FROM rollout_pairs WHERE rollout = ?", (row.id,))

    # Pairs that wait for a judge.

    def write_judging(self, row: Row, day: int, wanted: list[int], data: Mapping[str, Any]) -> None:
        """Let a pair wait for the answers to the `wanted` questions, and count it for its day."""
        self._db.execute(
            "INSERT INTO rollout_judging (rollout, wanted, verdicts, data) VALUES (?, ?, '{}', ?)",
            (row.id, json.dumps(wanted), json.dumps(data)),
        )
        self._db.execute(
            "INSERT INTO rollout_judged VALUES (?, ?, 1) ON CONFLICT (rollout, day) DO UPDATE SET pairs = pairs + 1",
            (row.id, day),
        )

    def judging(self, rollout_id: str, most: int) -> list[tuple[int, list[int], dict[str, str | None]]]:
        """The oldest waiting pairs: number, the questions to ask, and the verdicts so far by question."""
        query = "SELECT number, wanted, verdicts FROM rollout_judging WHERE rollout = ? ORDER BY number LIMIT ?"
        found = self._db.execute(query, (rollout_id, most))
        return [(number, json.loads(wanted), json.loads(verdicts)) for number, wanted, verdicts in found]

    def judging_case(self, number: int) -> dict[str, Any]:
        """What a waiting pair is about."""
        query = "SELECT data FROM rollout_judging WHERE number = ?"
        data: dict[str, Any] = json.loads(self._db.execute(query, (number,)).fetchone()[0])
        return data

    def judging_count(self, rollout_id: str) -> int:
        """How many pairs wait."""
        query = "SELECT COUNT(*) FROM rollout_judging WHERE rollout = ?"
        return int(self._db.execute(query, (rollout_id,)).fetchone()[0])

    def judged_on(self, rollout_id: str, day: int) -> int:
        """How many pairs of this day (since 1970, UTC) were taken in."""
        query = "SELECT pairs FROM rollout_judged WHERE rollout = ? AND day = ?"
        found = self._db.execute(query, (rollout_id, day)).fetchone()
        return int(found[0]) if found else 0

    def write_verdict(self, number: int, question: int, text: str | None) -> None:
        """Keep the first verdict on a question; nothing if the pair waits no longer."""
        found = self._db.execute("SELECT verdicts FROM rollout_judging WHERE number = ?", (number,)).fetchone()
        if found is not None:
            verdicts = {str(question): text, **json.loads(found[0])}
            self._db.execute("UPDATE rollout_judging SET verdicts = ? WHERE number = ?", (json.dumps(verdicts), number))

    def write_judged(self, number: int) -> None:
        """A pair waits no longer."""
        self._db.execute("DELETE FROM rollout_judging WHERE number = ?", (number,))

    def write_forget_judging(self, row: Row) -> None:
        """Drop all waiting pairs of a rollout: nothing is to be learnt from them any more."""
        self._db.execute("DELETE FROM rollout_judging WHERE rollout = ?", (row.id,))

    # The log.

    def offsets(self) -> dict[str, int]:
        """By segment, up to where it was read."""
        return dict(self._db.execute("SELECT file, read_to FROM tail"))

    def write_offsets(self, offsets: Mapping[str, int]) -> None:
        """Read up to here."""
        self._db.executemany("INSERT OR REPLACE INTO tail VALUES (?, ?)", offsets.items())

    def write_seen(self, record_id: str, time: float) -> bool:
        """Note a record's id; whether it is new."""
        done = self._db.execute("INSERT OR IGNORE INTO tail_seen VALUES (?, ?)", (record_id, time))
        return done.rowcount > 0

    def write_waiting(self, record_id: str, role: str, line: Line, time: float) -> None:
        """Part of a pair: where to find it when the others come."""
        place = line.place
        row = (record_id, role, place.file, place.offset, place.length, time)
        self._db.execute("INSERT OR REPLACE INTO tail_waiting VALUES (?, ?, ?, ?, ?, ?)", row)

    def take_waiting(self, record_id: str, role: str) -> Line | None:
        """The waiting part, no longer waiting: where it stands."""
        query = "DELETE FROM tail_waiting WHERE id = ? AND role = ? RETURNING file, at, length"
        found = self._db.execute(query, (record_id, role)).fetchone()
        return Line(Place(*found), b"") if found else None

    def waiting_files(self, since: float) -> set[str]:
        """The segments with halves that have been waiting since then at the longest."""
        return {
            name for (name,) in self._db.execute("SELECT DISTINCT file FROM tail_waiting WHERE time >= ?", (since,))
        }

    def overdue(self, before: float) -> list[Line]:
        """The served requests that have waited for their copies since before then."""
        query = "SELECT file, at, length FROM tail_waiting WHERE role = 'served' AND time < ?"
        return [Line(Place(*found), b"") for found in self._db.execute(query, (before,))]

    def write_forgotten(self, halves_before: float, ids_before: float) -> int:
        """Give up halves that waited too long, and forget old ids; how many halves."""
        given_up = self._db.execute("DELETE FROM tail_waiting WHERE time < ?", (halves_before,)).rowcount
        self._db.execute("DELETE FROM tail_seen WHERE time < ?", (ids_before,))
        return given_up

    def write_gone(self, files: Iterable[str]) -> None:
        """Forget segments that are there no longer."""
        self._db.executemany("DELETE FROM tail WHERE file = ?", [(name,) for name in files])
