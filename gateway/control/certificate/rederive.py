"""What a line of evidence should say, by the records it is about: read by the functions by which the rollout learnt. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from graduand.gateway.control import judging, outcomes, pairing
from graduand.gateway.control.judging import Case
from graduand.gateway.control.pairing import Paired
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.rollout import ledger
from graduand.rollout.answers import tasks
from graduand.rollout.certificate import replaying
from graduand.rollout.ledger import Pair
from graduand.rollout.state import State

Json = dict[str, Any]
NOT_READ = "its records are not what this version writes"
# What a judge decides about when it is asked: how many of the pairs it sees is not in the records.
OF_THE_JUDGE = ("p",)


@dataclass(slots=True)
class Context:
    """What a rollout was like when it learnt from a line: the route's version at which its step began, the student's share,
    and the adapter of the student in service."""

    entry_version: int = 0
    weight_bp: int = 0
    incumbent: str | None = None

    def to_dict(self) -> Json:
        """Plain data."""
        return asdict(self)


class Deriver:
    """Reads records as the rollout did: by its specification and its task, and by what it was like at the time."""

    def __init__(self, state: State, task: Mapping[str, Any]) -> None:
        self._row = Row(state, ledger.start(state), task, 0.0)
        self._task = tasks.read(task)

    def served(self, context: Context, body: Json, record: Json) -> str:
        """Why a line about a served request cannot be right; empty if it is."""
        found, row = _record(record), self._at(context)
        if found is None:
            return NOT_READ
        arm = None if body["arm"] is None else pairing.arm(row, found)
        said = (found["time"], pairing.by_student(row, found), arm, f"{found['unit_hash']:x}")
        if said != (body["at"], body["student"], body["arm"], body["unit"]):
            return "the record says something else"
        times = {name: None if math.isinf(one) else one for name, one in reader.times_s(found).items()}
        return "" if not body["times"] or times == body["times"] else "the record has other times"

    def pair(self, context: Context, body: Json, records: Sequence[Json], verdicts: Mapping[str, str | None]) -> str:
        """Why a pair cannot have this outcome; empty if it follows from its records and what a judge said."""
        found = [one for data in records if (one := _record(data)) is not None]
        if len(found) != len(records) or not found:
            return NOT_READ
        again = self._again(self._at(context), body, found, verdicts, context.entry_version)
        if isinstance(again, str):
            return again
        known = replaying.pair_to_dict(again)
        left_out = OF_THE_JUDGE if body["how"] in ("judged", "missing") else ()
        if body["how"] == "judged" and context.incumbent is not None:
            left_out = (*left_out, "path")  # it was drawn when the student's share was another one
        different = [name for name in known if name in body and name not in left_out and known[name] != body[name]]
        return f"{', '.join(different)} should be {[known[name] for name in different]}" if different else ""

    def _at(self, context: Context) -> Row:
        """The rollout as far as the reading of records depends on it."""
        self._row.ledger.weight_bp = context.weight_bp
        self._row.incumbent = None if context.incumbent is None else {"adapter": context.incumbent}
        return self._row

    def _again(
        self, row: Row, body: Json, records: list[Record], verdicts: Mapping[str, str | None], entry_version: int
    ) -> Pair | str:  # fmt: skip
        how, served, copies = body["how"], records[0], {one["role"]: one for one in records[1:]}
        if served["role"] != "served" or any(one["parent_id"] != served["id"] for one in copies.values()):
            return "its records do not belong together"
        if how == "fell back":
            fell = pairing.fell_back(row, served)
            return fell if isinstance(fell, str) else _learnt(fell, entry_version)
        said = pairing.sides(row, served, copies)
        if isinstance(said, str):
            return said if how != "missing" or copies else _learnt(pairing.missing(row, served, ""), entry_version)
        one = pairing.paired(row, self._task, served, said)
        if how == "missing":
            return _learnt(Paired(one.answers, outcomes.NONE), entry_version)
        if one.found.unscored.startswith("not answered") or one.to_judge(self._task) != (how == "judged"):
            return f"it was not to be {how}"
        if how == "compared":
            return _learnt(one, entry_version)
        closed = judging.closed(Case("", one.answers, one.found.unparsed, one.incumbent_agreed), verdicts)
        return outcomes.pair_of(one.answers, closed.found, closed.duel, closed.judged.score, entry_version)


def _learnt(one: Paired, entry_version: int) -> Pair:
    duel = outcomes.duel(one.found.agreed, one.incumbent_agreed)
    return outcomes.pair_of(one.answers, one.found, duel, None, entry_version)


def _record(data: Json) -> Record | None:
    """A row or a line as a record: what is null is what it has not."""
    return reader.record_of({name: value for name, value in data.items() if value is not None})
