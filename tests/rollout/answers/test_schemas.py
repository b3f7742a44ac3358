"""JSON Schema in comparison: what does not fit is a disagreement of its own kind, and a bad schema is refused at once."""

import json
import time
from typing import Any

import pytest

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.schemas import Schema
from graduand.rollout.answers.tasks import read

ORDER = {
    "type": "object",
    "required": ["category", "total"],
    "additionalProperties": False,
    "properties": {
        "category": {"enum": ["refund", "order"]},
        "total": {"type": "number", "minimum": 0},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}},
}
TASK = read({"kind": "json", "fields": {"category": "text", "total": "number"}, "schema": ORDER})
TEACHER = {"category": "refund", "total": 12.5}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"total": "12.5"}, "at total: "),  # its normalised value is the teacher's; a program could not use it
        ({"total": -1}, "at total: "),
        ({"category": "Refund"}, "at category: "),
        ({"why": "because"}, "why"),
        ({"lines": [{"sku": "a"}, {"name": "b"}]}, "at lines.1: "),
    ],
)
def test_what_does_not_fit_is_a_disagreement_and_marked(change: dict[str, Any], place: str) -> None:
    found = compare(TASK, json.dumps(TEACHER), json.dumps({**TEACHER, **change}))
    assert (found.agreed, found.off_schema, dict(found.fields)) == (False, True, {"category": False, "total": False})
    assert found.unparsed.startswith("off schema, ")
    assert place in found.unparsed


def test_what_fits_is_compared_by_its_fields() -> None:
    same, other = compare(TASK, json.dumps(TEACHER), '{"total": 12.50, "category": "refund"}'), {**TEACHER, "total": 1}
    assert (same.agreed, same.off_schema) == (True, False)
    found = compare(TASK, json.dumps(TEACHER), json.dumps(other))
    assert (found.agreed, found.off_schema, found.unparsed) == (False, False, "")


def test_what_is_no_object_is_unreadable_and_not_off_schema() -> None:
    found = compare(TASK, json.dumps(TEACHER), "I cannot help with that.")
    assert (found.agreed, found.off_schema, found.unparsed) == (False, False, "no complete object in it")


def test_a_teacher_off_schema_leaves_nothing_to_agree_with() -> None:
    found = compare(TASK, '{"category": "refund"}', '{"category": "refund"}')
    assert found.agreed is None
    assert found.unscored.startswith("teacher: off schema")


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"kind": "json", "schema": {"type": "strin"}}, "strin"),
        ({"kind": "json", "schema": {"$ref": "#/$defs/none"}}, "does not exist"),
        ({"kind": "json", "schema": {"properties": {"a": {"pattern": "("}}}}, "regex"),
        ({"kind": "json", "schema": {"$ref": "http://127.0.0.1:9/x.json"}}, "nothing is fetched"),
        ({"kind": "json", "schema": {"$ref": "file:///etc/hostname"}}, "nothing is fetched"),
        ({"kind": "label", "labels": ["a", "b"], "schema": ORDER}, "use kind: json"),
        ({"kind": "json", "schema": "order.json"}, "dictionary"),
        ({"kind": "json", "shema": {}}, "Did you mean 'schema'"),
    ],
)
def test_a_bad_schema_is_refused(task: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match="task") as caught:
        read(task)
    assert says in str(caught.value)


def test_hostile_answers_are_bounded() -> None:
    """Python literals that no JSON has, depth, and a pattern that explodes: all simply do not fit, and soon."""
    schema = Schema({"properties": {"a": {"type": "string", "pattern": "^(?=a)(a|aa)+(?<!b)$"}}})
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(5000):
        inner["a"] = inner = {}
    began = time.process_time()
    for value in ({"a": {1}}, {"a": b"x"}, {1: 2}, deep, {"a": "a" * 100_000 + "!"}, {"a": float("nan")}):
        misfit = schema.misfit(value)
        assert misfit
        assert len(misfit) < 400
    assert time.process_time() - began < 10
