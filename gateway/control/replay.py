"""Pairs from a request log, compared again: what `graduand rollout simulate --logs` draws from."""

from pathlib import Path
from typing import Any

import orjson

from gateway.control import facts
from gateway.errors import ConfigError
from gateway.routing import STUDENT
from rollout import tasks
from rollout.compare import compare
from rollout.spec import Spec


def outcomes(folder: Path, spec: Spec) -> list[bool]:
    """Whether student and teacher agreed, pair by pair; pairs that nobody can score are left out."""
    if spec.task is None:
        raise ConfigError("the log can be compared only by a task; add task: to the rollout")
    task = tasks.read(spec.task)
    served: dict[str, dict[str, Any]] = {}
    found = []
    for path in sorted((folder / "segments").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            record = _record(line, spec.route)
            if record is None:
                continue
            if record["role"] == "served":
                served[record["id"]] = record
                continue
            other = served.pop(record["parent_id"], None)
            if other is not None and not record["error"]:
                teacher, student = (record, other) if other["arm"] == STUDENT else (other, record)
                agreed = compare(task, facts.answer(teacher), facts.answer(student)).agreed
                found += [] if agreed is None else [agreed]
    if not found:
        raise ConfigError(f"{folder} holds no pairs of route {spec.route!r} that can be compared")
    return found


def _record(line: bytes, route: str) -> dict[str, Any] | None:
    if b'"route":' + orjson.dumps(route) not in line:
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    known = isinstance(record, dict) and record.get("route") == route and record.get("role") in (
        "served", "shadow", "audit",
    )  # fmt: skip
    return record if known else None
