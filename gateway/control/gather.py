"""Feeds log records to the rollouts they belong to, inside the caller's transaction.

A pair is complete when the served record and its copy have both been read, in whatever order; what comes first waits as a
pointer into its segment. Where another student stays in service, both students and the teacher answer: then three records
belong together. Records of an earlier attempt teach nothing, those of an earlier step only about harm. A request that was
drawn to be compared and has no outcome (no copy came, nobody answered it) is a missing one, never none.
"""

from collections.abc import Mapping
from dataclasses import replace

from graduand.gateway.control import facts, journal, judging, outcomes, pairing, thresholds
from graduand.gateway.control.judging import Case
from graduand.gateway.control.outcomes import Lesson
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.logs.tail import Line, Segments
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routing import CONFIDENT, DEFERRED, STUDENT
from graduand.rollout.answers import tasks
from graduand.rollout.hybrid.scorer import vector_of
from graduand.rollout.ledger import Answered
from graduand.rollout.state import Phase

COPIES = ("shadow", "audit")  # to a student, to the teacher


class Gatherer:
    """One batch of records, for the rollouts that are alive."""

    def __init__(self, store: Rollouts, segments: Segments, rows: Mapping[str, Row]) -> None:
        self._store = store
        self._segments = segments
        self._rows = rows
        self._tasks = {name: tasks.read(row.task) for name, row in rows.items()}

    def take(self, line: Line, record: Record) -> None:
        """Learn from one record."""
        row = self._rows.get(record["rollout"] or "")
        if row is None or record["route_version"] < row.attempt_version:
            return
        if not self._store.write_seen(record["id"], record["time"]):
            row.count("seen before")
            return
        journal.read(row, line.data)
        if record["role"] == "served":
            both = record["copy_wanted"] and reader.comparable(record)
            self._served(row, record, both=both)
            if both and _as_meant(row, record):
                self._part(row, record["id"], line, record)
            elif both and reader.by_student(record) and record["fallback_reason"]:
                self._fell_back(row, record)
            if _deferred(row, record):
                self._deferral(row, record["id"], line, record)
        elif record["role"] in COPIES and record["parent_id"] is not None:
            self._part(row, record["parent_id"], line, record)
        elif record["role"] == "deferred" and record["parent_id"] is not None and not row.incumbent:
            self._deferral(row, record["parent_id"], line, record)

    def overdue(self, line: Line) -> None:
        """A served request whose copies never came: its outcome is missing."""
        served = self._read(line)
        row = None if served is None else self._rows.get(served["rollout"] or "")
        if served is None or row is None or served["route_version"] < row.attempt_version:
            return
        row.count("copies that never came")
        pair = pairing.missing(row, served, "no copy came")
        outcomes.learn(self._store, row, pair.answers, pair.found, how="missing")

    def _served(self, row: Row, record: Record, *, both: bool) -> None:
        in_shadow = row.ledger.phase is Phase.SHADOW
        if record["route_version"] < row.entry_version:
            return
        drawn = pairing.path(row, record) if both else None
        if in_shadow:
            journal.served(row, record["id"], Answered(record["time"], by_student=False, drawn=drawn))
            return
        unit, cause, student = record["unit_hash"], reader.failure(record), pairing.by_student(row, record)
        arm = pairing.arm(row, record) if self._store.write_unit(row, unit) else None
        answered = Answered(record["time"], student, reader.times_s(record), drawn)
        journal.served(row, record["id"], answered, unit, arm)
        if student:
            row.count("requests for the student")
        if cause:
            base = "incumbent" if row.incumbent else "teacher"
            row.count(f"{'student' if student else base} failed: {cause}")
        if student and cause in reader.ABSENT:
            row.count(f"absent: {cause}")

    def _fell_back(self, row: Row, served: Record) -> None:
        """The student was to answer and failed, so the teacher did."""
        pair = pairing.fell_back(row, served)
        if isinstance(pair, str):
            row.count(pair)
            return
        outcomes.learn(self._store, row, pair.answers, pair.found, how="fell back")

    def _part(self, row: Row, pair_id: str, line: Line, record: Record) -> None:
        """One record of a pair: compare all of them if it is the last, else let it wait for the others."""
        role, store = record["role"], self._store
        lines = {role: line}
        for other in COPIES if role == "served" else ("served", *COPIES):
            waiting = store.take_waiting(pair_id, other) if other != role else None
            if waiting is not None:
                lines[other] = waiting
        records: dict[str, Record | None] = {role: record}
        if "served" in lines and role != "served":
            records["served"] = self._read(lines["served"])
        served = records.get("served")
        if "served" in lines and served is None:
            row.count("copies whose request is gone from the log")
        elif served is None or not all(one in lines for one in _copies_of(row, served)):
            for one, part in lines.items():
                store.write_waiting(pair_id, one, part, record["time"])
        else:
            copies = {one: records.get(one) or self._read(lines[one]) for one in _copies_of(row, served)}
            self._compared(row, served, {one: copy for one, copy in copies.items() if copy is not None})

    def _deferral(self, row: Row, pair_id: str, line: Line, record: Record) -> None:
        """What the student said and was not sure enough of, and the teacher's answer in its place: a pair that teaches the
        threshold and no gate, since it was never to be served."""
        ours, other = ("deferred", "answered") if record["role"] == "deferred" else ("answered", "deferred")
        waiting = self._store.take_waiting(pair_id, other)
        if waiting is None:
            self._store.write_waiting(pair_id, ours, line, record["time"])
            return
        found = self._read(waiting)
        if found is None:
            row.count("copies whose request is gone from the log")
            return
        student, served = (record, found) if ours == "deferred" else (found, record)
        lesson = self._lesson(row, served, student)
        compared = pairing.compared(self._tasks[row.id], reader.answer(served), student)
        if lesson is not None:
            outcomes.teach(self._store, row, max(served["time"], student["time"]), lesson, compared)

    def _read(self, line: Line) -> Record | None:
        """A record that waited: whole, or to be read again where it stands."""
        data = line.data or self._segments.line(line.place)
        return None if data is None else reader.parsed(data)

    def _compared(self, row: Row, served: Record, copies: dict[str, Record]) -> None:
        """Compare the records of one request that belong together, or leave them to a judge."""
        said = pairing.sides(row, served, copies)
        if isinstance(said, str):
            row.count(said)
            return
        teacher, student = said.teacher, said.student
        told = (
            facts.served(row, teacher["served_model"]), facts.asked(row, reader.system(reader.request(served))),
        )  # fmt: skip
        row.renewal = "; ".join(one for one in (row.renewal, *told) if one)
        task = self._tasks[row.id]
        pair = pairing.paired(row, task, served, said)
        if pair.found.unscored.startswith("not answered"):
            row.count(f"copies not answered: {teacher['error'] or student['error']}")
            outcomes.learn(self._store, row, pair.answers, pair.found, how="missing")
            return
        answers = replace(pair.answers, lesson=self._lesson(row, served, student))
        if pair.to_judge(task):
            conversation = reader.conversation(reader.request(served))
            case = Case(conversation, answers, pair.found.unparsed, pair.incumbent_agreed)
            judging.take_in(self._store, row, task, case)
        else:
            duel = outcomes.duel(pair.found.agreed, pair.incumbent_agreed)
            outcomes.learn(self._store, row, answers, pair.found, duel=duel)

    def _lesson(self, row: Row, served: Record, student: Record) -> Lesson | None:
        """What this pair may teach the confidence threshold. Shadow copies are drawn whatever the student's confidence, so
        they weigh alike; on a hybrid route what was released is there as often as it is audited, and what was deferred
        always. A canary's audits teach nothing: there the student answers whether it is sure or not, and for others."""
        released = student["role"] == "served" and student["reason"] == CONFIDENT
        if not row.wants_threshold or not (released or student["role"] in ("shadow", "deferred")):
            return None
        # A deferred request's own record says with which probability it would have been audited, had it gone out.
        drawn_p = served["sampled_p"] or 0.0
        p, floor = (1.0, drawn_p) if student["role"] == "deferred" else (drawn_p or 1.0, drawn_p or 1.0)
        unit = served["unit_hash"] if served["unit"] is None else served["unit"]
        # A judge is not asked about what was deferred, so audits alone would speak for looser cuts as well.
        alone = released and self._tasks[row.id].kind == "text"
        vector = None if alone or not floor else self._vector(row, student)
        return Lesson(unit, vector, p, floor or 1.0, released)

    def _vector(self, row: Row, student: Record) -> tuple[float, ...] | None:
        if not thresholds.sampling(self._store, row):
            return None
        vector = vector_of(reader.response(student))
        if vector is None:
            row.count("pairs without log probabilities")
        return None if vector is None else tuple(vector)


def _deferred(row: Row, served: Record) -> bool:
    """Whether the student was asked, was not sure enough, and the teacher's answer was completed."""
    asked = served["reason"] == DEFERRED and served["assigned_arm"] == STUDENT and served["arm"] != STUDENT
    return bool(asked and served["completed"] and row.wants_threshold and not row.incumbent)


def _as_meant(row: Row, record: Record) -> bool:
    """Whether who was to answer has; what an incumbent deferred or had held back counts as the teacher's."""
    set_aside = record["reason"] == DEFERRED or reader.held_back(record)
    return bool(record["arm"] == record["assigned_arm"] or (row.incumbent and set_aside))


def _copies_of(row: Row, served: Record) -> tuple[str, ...]:
    """The roles of the copies that a served request has."""
    if served["arm"] != STUDENT:
        return ("shadow",)
    return COPIES if row.incumbent else ("audit",)
