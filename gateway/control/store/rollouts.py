"""Rollouts, their events and evidence, and how far the log was read: in whatever the state store keeps its hashes.

Invariant: whatever belongs together is written inside one `transaction`, which a lost lease or a stale version undoes
as a whole. Methods that write say so by their name and are called inside a transaction only.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from graduand.gateway.control.store.awaiting import Awaiting
from graduand.gateway.control.store.evidence import EvidenceLines
from graduand.gateway.control.store.log import ROLES, Log, OwnSegments, SharedStream, half_of, seen_at
from graduand.gateway.control.store.observations import Observations, once_of, samples_of, units_of
from graduand.gateway.control.store.queue import JudgeQueue
from graduand.gateway.control.store.reviews import Reviews
from graduand.gateway.control.store.rows import Row, from_json, to_json
from graduand.gateway.errors import GraduandError
from graduand.gateway.model.fields import Record
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.store import StateStore
from graduand.rollout.state import Event, event_from_dict

# The lease of the one controller that decides.
LEASE, LEASE_S = "controller", 3.0
# By rollout that hears what is said of answers, its longest deadline.
LISTENING = "rollouts:listening"

Json = dict[str, Any]


class NoRollout(GraduandError, LookupError):
    """There is no such rollout."""


class Rollouts(Observations, JudgeQueue, Reviews, Awaiting, EvidenceLines, Log):
    """Rollouts in one state store; not for sharing between threads."""

    def __init__(self, state: StateStore) -> None:
        self.state = state
        self._hashes = state.hashes
        self._source = OwnSegments() if state.stream is None else SharedStream(state, state.stream)

    def close(self) -> None:
        """Let go of the store."""
        self.state.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of what is inside."""
        return self.state.transaction()

    def find(self, name: str) -> Row:
        """A rollout by its id, or the newest of a route; raise NoRollout."""
        found = self.row(name) or next(iter(self.rows(route=name)), None)
        if found is None:
            known = [row.id for row in self.rows()]
            raise NoRollout(f"there is no rollout {name!r}, nor one of a route of that name. There are: "
                            f"{', '.join(known[:20]) or 'none yet; start one with graduand rollout start'}")  # fmt: skip
        return found

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
        self.write_lines(row)
        hashes.set("rollouts", row.id, to_json(row))
        deadline_s = None if row.at_rest else row.state.spec.deadline_s
        if deadline_s is not None:
            hashes.set(LISTENING, row.id, deadline_s)
        elif hashes.get(LISTENING, row.id) is not None:
            hashes.unset(LISTENING, [row.id])
        if row.at_rest:
            hashes.unset("rollouts:live", [row.id])
            # Memory that nobody asks for again: another attempt begins with neither.
            hashes.drop(units_of(row))
            hashes.drop(samples_of(row))
        else:
            hashes.set("rollouts:live", row.id, row.started_at)

    def listening(self) -> float | None:
        """The longest deadline of the live rollouts that hear what is said of answers; None if none does."""
        return max((float(one) for one in self._hashes.all(LISTENING).values()), default=None)

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

    def notified(self, rollout_id: str, hook: int) -> int:
        """Up to which version a webhook was notified."""
        return self._hashes.number("told", f"{rollout_id}/{hook}")

    def write_notified(self, rollout_id: str, hook: int, version: int) -> None:
        """A webhook was notified up to this version."""
        self._hashes.set("told", f"{rollout_id}/{hook}", version)

    def expect(self, records: list[Record], rows: Mapping[str, Row]) -> None:
        """These records are about to be gathered: a store far away may fetch at once what it knows of them: whether they
        were seen, their units, their other halves."""
        wanted: dict[str, list[str]] = {}
        for record in records:
            row = rows.get(record["rollout"] or "")
            if row is not None:
                wanted.setdefault(seen_at(record["time"]), []).append(record["id"])
                wanted.setdefault(units_of(row), []).append(str(record["unit_hash"]))
                if record["unit"] is not None:
                    firsts = (f"unit {row.ledger.step}", f"path {row.state.entry}")
                    wanted.setdefault(once_of(row, row.state.basis), []).extend(
                        f"{one}/{record['unit']}" for one in firsts
                    )
                pair = record["parent_id"] or record["id"]
                wanted.setdefault("waiting", []).extend(half_of(pair, role) for role in ROLES)
        for key, fields in wanted.items():
            self._hashes.expect(key, fields)

    def _rows(self, names: list[str]) -> list[Row]:
        return [from_json(one) for one in self._hashes.many("rollouts", names) if one is not None]

    def _index(self) -> dict[str, tuple[str, int]]:
        """By rollout its route and its number among all."""
        return {name: tuple(json.loads(one)) for name, one in self._hashes.all("rollouts:index").items()}

    def _events(self, rollout_id: str) -> list[tuple[int, tuple[str, int, Json]]]:
        found = self._hashes.all(f"events:{rollout_id}")
        return sorted((int(version), json.loads(one)) for version, one in found.items())
