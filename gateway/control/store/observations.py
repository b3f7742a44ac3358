"""What was observed of a rollout beside its ledger: units and their firsts, its course, disagreements, samples to learn from."""

import json
from collections.abc import Mapping
from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.gateway.state.hashes import COUNT, Hashes
from graduand.rollout.hybrid.pairs import Pair, pair_from_dict
from graduand.rollout.state import Phase

DISAGREEMENTS_KEPT = 200

Json = dict[str, Any]


class Observations:
    """By rollout. Methods that write say so by their name and are called inside a transaction only."""

    _hashes: Hashes

    def write_unit(self, row: Row, unit: int) -> bool:
        """Note a unit; whether it is its first appearance in this entry."""
        new = self._hashes.get(units_of(row), str(unit)) is None
        if new:
            self._hashes.set(units_of(row), str(unit), "")
        return new

    def write_once(self, row: Row, what: str, unit: int) -> bool:
        """Note that something happened to a unit; whether it is the first time on the present basis of its evidence."""
        key, name = once_of(row, row.state.basis), f"{what}/{unit}"
        new = self._hashes.get(key, name) is None
        if new:
            self._hashes.set(key, name, "")
        return new

    def write_forget_once(self, row: Row) -> None:
        """Drop what happened to units on earlier bases; of a rollout that can never go on, on every one."""
        over = row.state.phase is Phase.SUPERSEDED
        for basis in range(1, row.state.basis + over):
            self._hashes.drop(once_of(row, basis))

    def write_forget_units(self, row: Row) -> None:
        """Drop the units of earlier entries."""
        for entry in range(row.state.entry):
            self._hashes.drop(f"units:{row.id}:{entry}")

    def write_point(self, row: Row, at: float, point: Mapping[str, Any]) -> None:
        """One point of a rollout's course, for the page."""
        self._hashes.append(_course(row.id), json.dumps([at, point]))
        self._hashes.set("course:last", row.id, at)

    def last_point(self, rollout_id: str) -> float:
        """When the newest point was taken; 0 without any."""
        return float(self._hashes.get("course:last", rollout_id) or 0)

    def course(self, rollout_id: str, most: int = 500) -> list[Json]:
        """Points in order of time, at most so many of them; the newest always."""
        numbered = self._hashes.all(_course(rollout_id))
        points = [(*json.loads(one), int(number)) for number, one in numbered.items() if number != COUNT]
        found = [{"at": at, **point} for at, point, _ in sorted(points, key=lambda one: (float(one[0]), one[2]))]
        stride = max(1, -(-len(found) // most))
        return found[::-1][::stride][::-1]

    def write_disagreement(self, row: Row, at: float, record: str, seen: Mapping[str, Any]) -> None:
        """Keep a disagreement to be looked at; only the latest are kept."""
        key = f"disagreements:{row.id}"
        number = self._hashes.append(key, json.dumps([at, record, seen]))
        self._hashes.unset(key, [str(number - DISAGREEMENTS_KEPT)])

    def disagreements(self, rollout_id: str, limit: int = 20) -> list[Json]:
        """The latest disagreements, newest first."""
        found = (json.loads(one) for one in reversed(self._hashes.latest(f"disagreements:{rollout_id}", limit)))
        return [{"at": at, "record": record, **seen} for at, record, seen in found]

    def write_sample(self, row: Row, pair: Pair) -> None:
        """One pair to learn a threshold from."""
        self._hashes.append(samples_of(row), json.dumps(pair.to_dict()))

    def samples(self, row: Row, most: int) -> list[Pair]:
        """The latest samples of this attempt, oldest first."""
        return [pair_from_dict(json.loads(one)) for one in self._hashes.latest(samples_of(row), most)]

    def sample_count(self, row: Row) -> int:
        """How many samples this attempt has."""
        return self._hashes.number(samples_of(row), COUNT)

    def write_forget_samples(self, row: Row) -> None:
        """Drop what was sampled: a threshold that has expired is learnt again from fresh pairs."""
        for attempt in range(row.state.attempt + 1):
            self._hashes.drop(f"pairs:{row.id}:{attempt}")


def units_of(row: Row) -> str:
    """The hash with the units of this entry."""
    return f"units:{row.id}:{row.state.entry}"


def samples_of(row: Row) -> str:
    """The list of this attempt's samples."""
    return f"pairs:{row.id}:{row.state.attempt}"


def once_of(row: Row, basis: int) -> str:
    """The hash with what happened to units for the first time on a basis."""
    return f"once:{row.id}:{basis}"


def _course(rollout_id: str) -> str:
    return f"course:{rollout_id}"
