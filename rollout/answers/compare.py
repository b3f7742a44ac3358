"""Does the student's answer agree with the teacher's? By task; free text is left to a judge (`judge`).

Invariants: an unreadable student answer is a disagreement and marked so; an unreadable teacher answer leaves nothing to
agree with and is unscored. Neither is ever given a default label.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graduand.rollout.answers.answers import Label, Unparsed, parse_label, parse_object
from graduand.rollout.answers.similarity import overlap
from graduand.rollout.answers.tasks import NORMALISERS, Task, text

MISSING = object()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of one pair."""

    agreed: bool | None  # None: unscored
    fields: Mapping[str, bool] = field(default_factory=dict)
    unparsed: str = ""  # why the student's answer could not be read
    off_schema: bool = False  # it could, but does not fit the task's schema
    unscored: str = ""  # why there is no outcome
    similarity: float | None = None  # for drift only: no gate may use it
    teacher: str = ""  # the label, where the task has one
    student: str = ""


def compare(task: Task, teacher: str, student: str) -> Comparison:
    """Compare two raw answers."""
    if task.kind == "label":
        return _labels(task, teacher, student)
    if task.kind == "json":
        return _objects(task, teacher, student)
    if not teacher.strip():
        return Comparison(None, unscored="teacher: empty")
    if not student.strip():
        return Comparison(False, unparsed="empty")
    return Comparison(None, unscored="free text is scored by a judge", similarity=overlap(teacher, student))


def _labels(task: Task, teacher: str, student: str) -> Comparison:
    one, other = (parse_label(raw, task.labels, task.field) for raw in (teacher, student))
    if isinstance(one, Unparsed):
        return Comparison(None, unscored=f"teacher: {one.reason}")
    if isinstance(other, Unparsed):
        return Comparison(False, unparsed=other.reason, teacher=one.value)
    return Comparison(one == other, teacher=one.value, student=other.value)


def _objects(task: Task, teacher: str, student: str) -> Comparison:
    one, other = parse_object(teacher), parse_object(student)
    if isinstance(one, Unparsed):
        return Comparison(None, unscored=f"teacher: {one.reason}")
    if task.schema is not None and (misfit := task.schema.misfit(one)):
        return Comparison(None, unscored=f"teacher: off schema, {misfit}")
    declared = task.fields or dict.fromkeys(one, "text")
    if isinstance(other, Unparsed):
        return Comparison(False, dict.fromkeys(declared, False), unparsed=other.reason)
    if task.schema is not None and (misfit := task.schema.misfit(other)):
        return Comparison(False, dict.fromkeys(declared, False), unparsed=f"off schema, {misfit}", off_schema=True)
    fields = {name: _same(name, how, one, other) for name, how in declared.items()}
    return Comparison(all(fields.values()), fields)


def _same(name: str, how: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    values = (_dig(one, name), _dig(other, name))
    if MISSING in values or None in values:
        return values[0] is values[1]  # both missing or both null; a null is not a missing field
    alike = NORMALISERS[how]
    if how != "set" and any(isinstance(value, dict | list) for value in values):
        return bool(_deep(values[0]) == _deep(values[1]))
    return alike(values[0]) == alike(values[1])


def _dig(value: Any, name: str) -> Any:
    if isinstance(value, dict) and name in value:
        return value[name]
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def _deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _deep(item) for key, item in value.items()}
    return [_deep(item) for item in value] if isinstance(value, list) else text(value)


def label_of(task: Task, raw: str) -> Label | Unparsed:
    """The label of one raw answer of a label task."""
    return parse_label(raw, task.labels, task.field)
