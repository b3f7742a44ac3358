"""Feeds log records to the rollouts they belong to, inside the caller's transaction.

A pair is complete when the served record and its copy have both been read, in whatever order; the half that comes first
waits as a pointer into its segment. Records of an earlier attempt teach nothing, those of an earlier step only about
agreement.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.control import facts, tail, thresholds
from gateway.control.facts import Json
from gateway.control.rows import Row
from gateway.control.store import RolloutStore
from gateway.control.tail import Line
from gateway.routing import STUDENT
from rollout import slices, tasks
from rollout.assignment import Arm
from rollout.compare import Comparison, compare
from rollout.hybrid.scorer import vector_of
from rollout.ledger import Answered, Pair
from rollout.state import Phase

# Errors of one unit are not independent: at most one in so many seconds is evidence.
ERROR_WINDOW_S = 60.0
SHOWN = 4000


class Gatherer:
    """One batch of records, for the rollouts that are alive."""

    def __init__(self, store: RolloutStore, folder: Path, rows: Mapping[str, Row]) -> None:
        self._store = store
        self._folder = folder
        self._rows = rows
        self._tasks = {name: tasks.read(row.task) for name, row in rows.items()}

    def take(self, line: Line, record: Json) -> None:
        """Learn from one record."""
        row = self._rows.get(record["rollout"])
        if row is None or record["route_version"] < row.attempt_version:
            return
        if not self._store.write_seen(record["id"], record["time"]):
            row.count("seen before")
            return
        if record["role"] == "served":
            self._served(row, record)
            if record["copy_wanted"] and record["completed"] and record["arm"] == record["assigned_arm"]:
                self._half(row, record["id"], "served", line, record)
        elif record["role"] in ("shadow", "audit") and isinstance(record["parent_id"], str):
            self._half(row, record["parent_id"], "copy", line, record)

    def _served(self, row: Row, record: Json) -> None:
        if record["route_version"] < row.entry_version or row.ledger.phase is Phase.SHADOW:
            return
        store, unit, cause = self._store, record["unit_hash"], facts.failure(record)
        if store.write_unit(row, unit):
            row.ledger.unit(_arm(record))
        failed = bool(cause) and store.write_failure(row, unit, record["time"], ERROR_WINDOW_S)
        student = facts.by_student(record)
        row.ledger.answered(Answered(record["time"], student, failed, facts.times_s(record)))
        if student:
            row.count("requests for the student")
        if cause:
            row.count(f"{'student' if student else 'teacher'} failed: {cause}")
        if student and cause in facts.ABSENT:
            row.count(f"absent: {cause}")

    def _half(self, row: Row, pair_id: str, role: str, line: Line, record: Json) -> None:
        place = self._store.take_waiting(pair_id, "copy" if role == "served" else "served")
        if place is None:
            self._store.write_waiting(pair_id, role, line.place, record["time"])
            return
        data = tail.fetch(self._folder, place)
        other = None if data is None else facts.parsed(Line(place, data))
        if other is None:
            row.count("copies whose request is gone from the log")
        elif role == "served":
            self._pair(row, record, other)
        else:
            self._pair(row, other, record)

    def _pair(self, row: Row, served: Json, copy: Json) -> None:
        teacher, student = (copy, served) if served["arm"] == STUDENT else (served, copy)
        spec = row.state.spec
        if student["adapter"] != spec.student:
            row.count("pairs of another adapter")
            return
        if copy["error"] in facts.NOT_ASKED or (copy is teacher and copy["error"]):
            row.count(f"copies not answered: {copy['error']}")
            return
        if student["error"] in facts.NOBODYS:
            row.count(f"copies not comparable: {student['error']}")
            return
        self._compared(row, served, teacher, student, copy["role"])

    def _compared(self, row: Row, served: Json, teacher: Json, student: Json, copy_role: str) -> None:
        spec, asked, at = row.state.spec, facts.request(served), max(teacher["time"], student["time"])
        said, words = facts.prompt(asked), (facts.answer(teacher), facts.answer(student))
        if student["error"]:
            found = Comparison(False, unparsed=f"failed: {student['error']}")
        else:
            found = compare(self._tasks[row.id], *words)
        label = found.teacher
        parts = slices.named(spec.slices, said, label, facts.metadata(asked))
        row.ledger.pair(Pair(at, found.agreed, found.fields, slices=parts, unparsed=bool(found.unparsed)))
        if thresholds.sampling(row) and copy_role == "shadow" and found.agreed is not None:
            self._sample(row, student, disagreed=not found.agreed)
        if found.agreed is None:
            row.count(f"unscored: {found.unscored.partition(':')[0]}")
        if found.agreed is False:
            self._store.write_disagreement(row, at, served["id"], _shown(said, words, found, parts))

    def _sample(self, row: Row, student: Json, *, disagreed: bool) -> None:
        """Only pairs whose sampling does not depend on confidence may teach a threshold: the shadow's."""
        try:
            vector = vector_of(orjson.loads(student["response_json"] or "{}"))
        except orjson.JSONDecodeError:
            vector = None
        if vector is None:
            row.count("pairs without log probabilities")
        else:
            self._store.write_sample(row, vector, disagreed=disagreed)


def _arm(record: Json) -> Arm:
    if facts.by_student(record):
        return "treatment"
    return "control" if record["reason"] == "control" else "rest"


def _shown(prompt: str, words: tuple[str, str], found: Comparison, parts: tuple[str, ...]) -> dict[str, Any]:
    teacher, student = words
    fields = [name for name, same in found.fields.items() if not same]
    return {
        "prompt": prompt[:SHOWN], "teacher": teacher[:SHOWN], "student": student[:SHOWN], "slices": list(parts),
        "why": found.unparsed or (f"differs in {', '.join(fields[:10])}" if fields else ""),
    }  # fmt: skip
