"""Pairs from a request log, compared again: what `graduand rollout simulate --logs` draws from."""

from typing import Any

from gateway.control import facts
from gateway.errors import ConfigError
from gateway.logs.reading import Reader, Source
from gateway.routing import STUDENT
from rollout import tasks
from rollout.compare import compare
from rollout.spec import Spec


def outcomes(source: Source, spec: Spec) -> list[bool]:
    """Whether student and teacher agreed, pair by pair; pairs that nobody can score are left out."""
    if spec.task is None:
        raise ConfigError("the log can be compared only by a task; add task: to the rollout")
    task = tasks.read(spec.task)
    served: dict[str, dict[str, Any]] = {}
    found = []
    for record in Reader(source):
        if record.get("route") != spec.route or record.get("role") not in ("served", "shadow", "audit"):
            continue
        if record["role"] == "served":
            served[record["id"]] = record
            continue
        other = served.pop(record["parent_id"], None)
        if other is not None and not record["error"] and record["request_json"] is not None:
            teacher, student = (record, other) if other["arm"] == STUDENT else (other, record)
            agreed = compare(task, facts.answer(teacher), facts.answer(student)).agreed
            found += [] if agreed is None else [agreed]
    if not found:
        raise ConfigError(f"the log at {source.url} holds no pairs of route {spec.route!r} that can be compared")
    return found
