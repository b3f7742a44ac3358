"""Pairs from a request log, compared again: what `graduand rollout simulate --logs` and `curve` draw from."""

from dataclasses import dataclass, field

from graduand.gateway.errors import ConfigError
from graduand.gateway.logs.reading import Reader, Source
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routing import CONFIDENT, STUDENT
from graduand.rollout.answers import tasks
from graduand.rollout.answers.compare import compare
from graduand.rollout.hybrid.scorer import vector_of
from graduand.rollout.spec.spec import Spec


@dataclass(slots=True)
class Logged:
    """Pair by pair, whether student and teacher agreed, the student's confidence features if it gave any, and whose it was."""

    agreed: list[bool] = field(default_factory=list)
    vectors: list[list[float] | None] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    @property
    def confident(self) -> bool:
        """Whether there is anything to tell sure answers from unsure ones by."""
        return any(vector is not None for vector in self.vectors)


def outcomes(source: Source, spec: Spec) -> Logged:
    """The pairs that a rollout would learn from."""
    if spec.task is None:
        raise ConfigError("the log can be compared only by a task; add task: to the rollout")
    found = pairs(source, spec.route, tasks.read(spec.task))
    if any(step.kind == "hybrid" for step in spec.steps) and not found.confident:
        raise ConfigError(
            f"the pairs of route {spec.route!r} in {source.url} have no log probabilities, so the hybrid step cannot be played "
            "from them (they are asked for while a rollout with a hybrid step runs); leave the log out to play a described "
            "student"
        )
    return found


def pairs(source: Source, route: str, task: tasks.Task) -> Logged:
    """The pairs of a route, in the log's order; those that nobody can score are left out."""
    served: dict[str, Record] = {}
    found = Logged()
    for record in filter(None, map(reader.record_of, Reader(source))):
        if record["route"] != route or record["role"] not in ("served", "shadow", "audit"):
            continue
        if record["role"] == "served":
            # What a hybrid route let through is audited and what it held back is not: such pairs flatter the student.
            if record["reason"] != CONFIDENT:
                served[record["id"]] = record
            continue
        other = served.pop(record["parent_id"] or "", None)
        if other is not None and not record["error"] and record["request_json"] is not None:
            teacher, student = (record, other) if other["arm"] == STUDENT else (other, record)
            agreed = compare(task, reader.answer(teacher), reader.answer(student)).agreed
            if agreed is not None:
                found.agreed.append(agreed)
                found.vectors.append(vector_of(reader.response(student)))
                found.units.append(other["unit_hash"])
    if not found.agreed:
        raise ConfigError(f"the log at {source.url} holds no pairs of route {route!r} that can be compared")
    return found
