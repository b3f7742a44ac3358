"""Rollouts in Redis, beside the routes: see gateway.control.store.rollouts for what each method promises.

Every table is a hash. Evidence of all replicas comes through one stream (gateway.control.store.stream); the leader takes it
from there and stores how far it has read in the transaction of what it has learnt.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graduand.gateway.control.store.redis_judging import RedisJudging
from graduand.gateway.control.store.rollouts import DISAGREEMENTS_KEPT, Json
from graduand.gateway.control.store.rows import AT_REST, COLUMNS, Row, from_columns, to_columns
from graduand.gateway.control.store.stream import EVIDENCE, Evidence
from graduand.gateway.logs.tail import Batch, Line, Place
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.store import StateError
from graduand.rollout.hybrid.pairs import Pair, pair_from_dict
from graduand.rollout.state import Event, event_from_dict

# A record's id is looked for among those of its own quarter of an hour only: a record that comes twice has one time.
SEEN_S = 900
ROLES = ("served", "shadow", "audit", "deferred", "answered")
# Ids are forgotten by Redis itself.
SEEN_KEPT_S = 3600


class RedisRollouts(RedisJudging):
    """Rollouts in one Redis database; not for sharing between threads."""

    def __init__(self, state: RedisStore) -> None:
        self.state: RedisStore = state
        super().__init__(state.hashes)
        self._evidence = Evidence(state)

    # Rollouts and their events.

    def row(self, rollout_id: str) -> Row | None:
        """One rollout."""
        return next(iter(self._rows([rollout_id])), None)

    def rows(self, route: str | None = None, limit: int = 100) -> list[Row]:
        """Rollouts, newest first."""
        index = [(number, name) for name, (of, number) in self._index().items() if route in (None, of)]
        return self._rows([name for _, name in sorted(index, reverse=True)[:limit]])

    def live(self) -> list[Row]:
        """Rollouts about which something may have to be decided."""
        return self._rows(sorted(self._hashes.all("rollouts:live")))

    def number(self, route: str) -> int:
        """How many rollouts this route has had."""
        return sum(of == route for of, _ in self._index().values())

    def write_row(self, row: Row) -> None:
        """Store a rollout as it is now."""
        hashes = self._hashes
        if hashes.get("rollouts:index", row.id) is None:
            number = hashes.next("meta", "rollouts")
            hashes.set("rollouts:index", row.id, json.dumps([row.state.spec.route, number]))
        hashes.set("rollouts", row.id, json.dumps(dict(zip(COLUMNS, to_columns(row), strict=True))))
        if row.state.phase in AT_REST:
            hashes.unset("rollouts:live", [row.id])
            # Memory that nobody asks for again: another attempt begins with neither.
            hashes.drop(_units(row))
            hashes.drop(_samples(row))
        else:
            hashes.set("rollouts:live", row.id, row.started_at)

    def write_event(self, row: Row, event: Event) -> None:
        """Store what happened; a second event at the same version is impossible."""
        key, version = f"events:{row.id}", str(row.state.version)
        if self._hashes.get(key, version) is not None:
            raise StateError(f"rollout {row.id} has an event at version {version} already: nothing was changed")
        self._hashes.set(key, version, json.dumps([row.state.phase.value, row.token, event.to_dict()]))

    def events(self, rollout_id: str) -> list[tuple[int, str, Event]]:
        """Version and phase that each event led to, in order."""
        return [(version, phase, event_from_dict(one)) for version, (phase, _, one) in self._events(rollout_id)]

    def tokens(self, rollout_id: str) -> list[int]:
        """The fencing token under which each event was written, in order."""
        return [token for _, (_, token, _) in self._events(rollout_id)]

    def told(self, rollout_id: str, hook: int) -> int:
        """Up to which version a webhook was told."""
        return self._hashes.number("told", f"{rollout_id}/{hook}")

    def write_told(self, rollout_id: str, hook: int, version: int) -> None:
        """A webhook was told up to this version."""
        self._hashes.set("told", f"{rollout_id}/{hook}", version)

    # Evidence.

    def write_unit(self, row: Row, unit: int) -> bool:
        """Note a unit; whether it is its first appearance in this entry."""
        new = self._hashes.get(_units(row), str(unit)) is None
        if new:
            self._hashes.set(_units(row), str(unit), "")
        return new

    def write_once(self, row: Row, what: str, unit: int) -> bool:
        """Note that something happened to a unit; whether it is the first time on the present basis of its evidence."""
        new = self._hashes.get(_once(row, row.state.basis), f"{what}/{unit}") is None
        if new:
            self._hashes.set(_once(row, row.state.basis), f"{what}/{unit}", "")
        return new

    def write_forget_once(self, row: Row) -> None:
        """Drop what happened to units on earlier bases."""
        for basis in range(1, row.state.basis):
            self._hashes.drop(_once(row, basis))

    def write_forget_units(self, row: Row) -> None:
        """Drop the units of earlier entries."""
        for entry in range(row.state.entry):
            self._hashes.drop(f"units:{row.id}:{entry}")

    def write_point(self, row: Row, at: float, point: Mapping[str, Any]) -> None:
        """One point of a rollout's course, for the page."""
        number = self._hashes.next(f"course:{row.id}", "count")
        self._hashes.set(f"course:{row.id}", str(number), json.dumps([at, point]))
        self._hashes.set("course:last", row.id, at)

    def last_point(self, rollout_id: str) -> float:
        """When the newest point was taken; 0 without any."""
        return float(self._hashes.get("course:last", rollout_id) or 0)

    def points(self, rollout_id: str) -> list[Json]:
        """All points of a course in order of time."""
        found = self._hashes.all(f"course:{rollout_id}")
        points = (json.loads(one) for number, one in found.items() if number != "count")
        return [{"at": at, **point} for at, point in sorted(points, key=lambda one: float(one[0]))]

    def write_disagreement(self, row: Row, at: float, record: str, seen: Mapping[str, Any]) -> None:
        """Keep a disagreement to be looked at; only the latest are kept."""
        key = f"disagreements:{row.id}"
        number = self._hashes.next(key, "count")
        self._hashes.set(key, str(number), json.dumps([at, record, seen]))
        self._hashes.unset(key, [str(number - DISAGREEMENTS_KEPT)])

    def disagreements(self, rollout_id: str, limit: int = 20) -> list[Json]:
        """The latest disagreements, newest first."""
        found = (json.loads(one) for one in reversed(self._latest(f"disagreements:{rollout_id}", limit)))
        return [{"at": at, "record": record, **seen} for at, record, seen in found]

    def write_sample(self, row: Row, pair: Pair) -> None:
        """One pair to learn a threshold from."""
        number = self._hashes.next(_samples(row), "count")
        self._hashes.set(_samples(row), str(number), json.dumps(pair.to_dict()))

    def samples(self, row: Row, most: int) -> list[Pair]:
        """The latest samples of this attempt, oldest first."""
        return [pair_from_dict(json.loads(one)) for one in self._latest(_samples(row), most)]

    def sample_count(self, row: Row) -> int:
        """How many samples this attempt has."""
        return self._hashes.number(_samples(row), "count")

    def write_forget_samples(self, row: Row) -> None:
        """Drop what was sampled: a threshold that has expired is learnt again from fresh pairs."""
        for attempt in range(row.state.attempt + 1):
            self._hashes.drop(f"pairs:{row.id}:{attempt}")

    # The log.

    def share(self, folder: Path) -> bool:
        """Put what this replica's log has for live rollouts into the stream; whether there is more."""
        return self._evidence.share(folder)

    def read(self, folder: Path, since: float) -> Batch:
        """What is in the stream behind what was learnt already."""
        return self._evidence.read(self.offsets().get(EVIDENCE, 0))

    def expect(self, records: list[Json], rows: Mapping[str, Row]) -> None:
        """Fetch what is known of these records at once: whether they were seen, their units, their other halves."""
        wanted: dict[str, list[str]] = {}
        for record in records:
            row = rows.get(record["rollout"])
            if row is not None and isinstance(record.get("time"), float | int):
                wanted.setdefault(_seen(record["time"]), []).append(record["id"])
                wanted.setdefault(_units(row), []).append(str(record.get("unit_hash")))
                pair = str(record.get("parent_id") or record["id"])
                wanted.setdefault("waiting", []).extend(_half(pair, role) for role in ROLES)
        for key, fields in wanted.items():
            self._hashes.many(key, sorted(set(fields)))

    def offsets(self) -> dict[str, int]:
        """How far the stream was read."""
        return {name: int(value) for name, value in self._hashes.all("read").items()}

    def read_to(self) -> dict[str, int]:
        """By segment of this replica, up to where its records were put into the stream: they are not read again."""
        return self._evidence.read_to()

    def write_offsets(self, offsets: Mapping[str, int]) -> None:
        """Read up to here: what stands before it in the stream is not needed any more."""
        for name, end in offsets.items():
            self._hashes.set("read", name, end)
            self._evidence.forget(end)

    def write_seen(self, record_id: str, time: float) -> bool:
        """Note a record's id; whether it is new."""
        if self._hashes.get(_seen(time), record_id) is not None:
            return False
        self._hashes.set(_seen(time), record_id, "")
        self._hashes.expire(_seen(time), SEEN_KEPT_S)
        return True

    def write_waiting(self, record_id: str, role: str, line: Line, time: float) -> None:
        """Part of a pair, whole: its segment is on some replica's disk."""
        self._hashes.set("waiting", _half(record_id, role), line.data)
        self._hashes.set("waiting:since", _half(record_id, role), time)

    def take_waiting(self, record_id: str, role: str) -> Line | None:
        """The waiting part, no longer waiting."""
        half = _half(record_id, role)
        found = self._hashes.get("waiting", half)
        if found is None:
            return None
        self._hashes.unset("waiting", [half])
        self._hashes.unset("waiting:since", [half])
        return Line(Place("waiting", 0, len(found)), found)

    def overdue(self, before: float) -> list[Line]:
        """The served requests that have waited for their copies since before then."""
        since = self._hashes.all("waiting:since")
        halves = [half for half, at in since.items() if half.startswith("served ") and float(at) < before]
        found = self._hashes.many("waiting", halves) if halves else []
        return [Line(Place("waiting", 0, len(one)), one) for one in found if one is not None]

    def write_forgotten(self, halves_before: float, ids_before: float) -> int:
        """Give up halves that waited too long; how many. Ids go by themselves."""
        since = self._hashes.all("waiting:since")
        old = [half for half, at in since.items() if float(at) < halves_before]
        self._hashes.unset("waiting", old)
        self._hashes.unset("waiting:since", old)
        return len(old)

    def _rows(self, names: list[str]) -> list[Row]:
        found = [json.loads(one) for one in self._hashes.many("rollouts", names) if one is not None]
        # A row that was written before a column existed has none of what it says.
        return [from_columns(tuple(one.get(name, "null") for name in COLUMNS)) for one in found]

    def _index(self) -> dict[str, tuple[str, int]]:
        """By rollout its route and its number among all."""
        return {name: tuple(json.loads(one)) for name, one in self._hashes.all("rollouts:index").items()}

    def _events(self, rollout_id: str) -> list[tuple[int, Any]]:
        found = self._hashes.all(f"events:{rollout_id}")
        return sorted((int(version), json.loads(one)) for version, one in found.items())

    def _latest(self, key: str, most: int) -> list[bytes]:
        """The newest of numbered fields, oldest first."""
        newest = self._hashes.number(key, "count")
        found = self._hashes.many(key, [str(number) for number in range(max(1, newest - most + 1), newest + 1)])
        return [one for one in found if one is not None]


def _units(row: Row) -> str:
    return f"units:{row.id}:{row.state.entry}"


def _once(row: Row, basis: int) -> str:
    return f"once:{row.id}:{basis}"


def _samples(row: Row) -> str:
    return f"pairs:{row.id}:{row.state.attempt}"


def _seen(time: float) -> str:
    return f"seen:{int(time // SEEN_S)}"


def _half(record_id: str, role: str) -> str:
    return f"{role} {record_id}"
