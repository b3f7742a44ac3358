"""The columns of a Parquet part, and a record's way into a row and back, with nothing lost.

The schema is part of the log's contract: a column may be added, never changed. What a record has that no column can hold
exactly (a field of a newer version, a value of another type) goes into `extra` as JSON and comes back from there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

Json = dict[str, Any]


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


TEXT, WHOLE, REAL, YES_NO = pa.string(), pa.int64(), pa.float64(), pa.bool_()

LOG = pa.schema(
    {
        "schema_version": WHOLE, "id": TEXT, "parent_id": TEXT, "role": TEXT, "time": REAL, "route": TEXT,
        "endpoint": TEXT, "arm": TEXT, "assigned_arm": TEXT, "arm_probability": REAL, "unit_bucket": WHOLE,
        "unit_hash": WHOLE, "rollout": TEXT, "route_version": WHOLE, "copy_wanted": YES_NO, "reason": TEXT,
        "fallback_reason": TEXT, "adapter": TEXT, "adapter_digest": TEXT, "base_model": TEXT, "teacher_model": TEXT,
        "served_model": TEXT, "status": WHOLE, "prompt_sha256": TEXT, "request_json": TEXT, "response_json": TEXT,
        "stream": YES_NO, "completed": YES_NO, "client_disconnected": YES_NO, "bytes_released_before_verdict": WHOLE,
        "timings": _struct(queue_ms=REAL, overhead_ms=REAL, ttft_ms=REAL, total_ms=REAL),
        "usage": _struct(prompt_tokens=WHOLE, completion_tokens=WHOLE, kind=TEXT),
        "cost": REAL,
        "attempts": pa.list_(_struct(upstream=TEXT, arm=TEXT, replica=TEXT, outcome=TEXT, ms=REAL)),
        "verdicts": pa.list_(
            _struct(name=TEXT, version=TEXT, score=REAL, label=TEXT, latency_ms=REAL, action=TEXT)
        ),
        "drift": _struct(novelty_p=REAL, e_value=REAL),
        "redaction": _struct(policy=TEXT, spans=pa.list_(_struct(kind=TEXT, where=TEXT, count=WHOLE))),
        "error": TEXT, "client": WHOLE, "sampling_prob": REAL, "extra": TEXT,
    }
)  # fmt: skip

FEEDBACK = pa.schema(
    {
        "schema_version": WHOLE, "feedback_id": TEXT, "id": TEXT, "time": REAL, "score": REAL, "label": TEXT,
        "correction": TEXT, "comment": TEXT, "who": TEXT, "extra": TEXT,
    }
)  # fmt: skip

TABLES = {"log": LOG, "feedback": FEEDBACK}


def table(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Records as rows of `schema`, in their order."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    kinds = [(name, schema.field(name).type, columns[name]) for name in schema.names if name != "extra"]
    names = frozenset(schema.names)
    for record in records:
        extra = {name: value for name, value in record.items() if name not in names or name == "extra"}
        for name, kind, column in kinds:
            value = record.get(name)
            if value is not None and not _fits(value, kind):
                extra[name] = value
                value = None
            column.append(value)
        columns["extra"].append(orjson.dumps(extra).decode() if extra else None)
    return pa.table([pa.array(columns[name], schema.field(name).type) for name in schema.names], schema=schema)


def record_of(row: Json) -> Json:
    """A row as a record again: `extra` is put back where it came from."""
    extra = row.pop("extra", None)
    return {**row, **orjson.loads(extra)} if extra else row


def _fits(value: Any, kind: pa.DataType) -> bool:
    """Whether `kind` holds `value` and gives it back as it was, but for nulls in place of what a struct has not."""
    if value is None:
        return True
    if kind == TEXT:
        return isinstance(value, str)
    if kind == YES_NO:
        return isinstance(value, bool)
    if kind == WHOLE:
        return type(value) is int and -(2**63) <= value < 2**63
    if kind == REAL:
        return type(value) is float or (type(value) is int and abs(value) <= 2**53)
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(one is not None and _fits(one, kind.value_type) for one in value)
    known = {field.name: field.type for field in kind}
    return isinstance(value, dict) and all(name in known and _fits(one, known[name]) for name, one in value.items())
