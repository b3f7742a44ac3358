"""Pairs from a request log, compared again: what `graduand rollout simulate --logs` and `curve` draw from."""

from dataclasses import dataclass, field, replace

import numpy as np

from graduand.gateway.errors import ConfigError
from graduand.gateway.logs.reading import Reader, Source
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routing import CONFIDENT, STUDENT
from graduand.rollout.answers import tasks
from graduand.rollout.answers.compare import compare
from graduand.rollout.hybrid.scorer import vector_of
from graduand.rollout.simulate.habits import Blocks, Habits, Request, habits
from graduand.rollout.simulate.policy import Scenario
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


def scenario(source: Source, spec: Spec, described: Scenario) -> tuple[Scenario, Habits | None]:
    """The student of the log's pairs on the log's own traffic, and what that is like; with too few requests the described
    traffic."""
    logged = outcomes(source, spec)
    played = replace(described, agreement=logged.agreed, vectors=logged.vectors)
    asked = requests(source, spec.route, None if spec.task is None else tasks.read(spec.task))
    known = habits(asked)
    if known is None:
        return played, None
    played = replace(played, blocks=Blocks(asked), alike=known.alike or 0.0, swing=known.swing or 0.0)
    if not any(step.kind == "hybrid" for step in spec.steps):
        # A user's answers stay together; drawn one by one they would be independent.
        played = replace(played, agreement=float(np.mean(logged.agreed)), vectors=())
    return played, known


def requests(source: Source, route: str, task: tasks.Task | None) -> list[Request]:
    """What clients asked on a route, in the log's order of time, and of pairs whether both agreed."""
    served: dict[str, Request] = {}
    answers: dict[str, Record] = {}
    for record in filter(None, map(reader.record_of, Reader(source))):
        if record["route"] != route or record["role"] not in ("served", "shadow", "audit"):
            continue
        if record["role"] == "served":
            served[record["id"]] = Request(record["time"], record["unit"])
            answers[record["id"]] = record
            continue
        other = answers.pop(record["parent_id"] or "", None)
        if task is not None and other is not None and not record["error"]:
            teacher, student = (record, other) if other["arm"] == STUDENT else (other, record)
            agreed = compare(task, reader.answer(teacher), reader.answer(student)).agreed
            served[other["id"]] = replace(served[other["id"]], agreed=agreed)
    return sorted(served.values(), key=lambda one: one.at)


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
