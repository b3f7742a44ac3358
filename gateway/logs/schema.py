"""The columns of a Parquet part, and a record's way into a row and back, with nothing lost.

The schema is part of the log's contract: a column may be added, never changed. What a record has that no column can hold
exactly (a field of a newer version, a value of another type) goes into `extra` as JSON and comes back from there.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa

Json = dict[str, Any]


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


TEXT, WHOLE, REAL, YES_NO = pa.string(), pa.int64(), pa.float64(), pa.bool_()
PLAIN: dict[pa.DataType, set[type]] = {TEXT: {str}, WHOLE: {int}, REAL: {float, int}, YES_NO: {bool}}

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
        "attempts": pa.list_(_struct(upstream=TEXT, arm=TEXT, replica=TEXT, outcome=TEXT, ms=REAL, model=TEXT, span_id=TEXT,
                                     ended_at=REAL)),
        "verdicts": pa.list_(
            _struct(name=TEXT, version=TEXT, score=REAL, label=TEXT, latency_ms=REAL, action=TEXT)
        ),
        "drift": _struct(novelty_p=REAL, e_value=REAL),
        "redaction": _struct(policy=TEXT, spans=pa.list_(_struct(kind=TEXT, where=TEXT, count=WHOLE))),
        "error": TEXT, "client": WHOLE, "sampling_prob": REAL, "trace_id": TEXT, "span_id": TEXT,
        "parent_span_id": TEXT, "trace_sampled": YES_NO,
        "unit": WHOLE, "unit_missing": YES_NO, "session": TEXT, "sampled_p": REAL, "path": TEXT, "extra": TEXT,
    }
)  # fmt: skip

FEEDBACK = pa.schema(
    {
        "schema_version": WHOLE, "feedback_id": TEXT, "id": TEXT, "time": REAL, "score": REAL, "label": TEXT,
        "correction": TEXT, "comment": TEXT, "who": TEXT, "extra": TEXT,
    }
)  # fmt: skip

DRIFT = pa.schema(
    {
        "schema_version": WHOLE, "id": TEXT, "time": REAL, "route": TEXT, "adapter": TEXT, "novelty_p": REAL,
        "e_value": REAL, "evaluated_at": REAL, "extra": TEXT,
    }
)  # fmt: skip

TABLES = {"log": LOG, "feedback": FEEDBACK, "drift": DRIFT}


def table(records: Sequence[Json], schema: pa.Schema) -> pa.Table:
    """Records as rows of `schema`, in their order."""
    names = frozenset(schema.names) - {"extra"}
    extra: list[Json] = [
        {} if record.keys() <= names else {name: value for name, value in record.items() if name not in names}
        for record in records
    ]
    columns = [
        _column(field, [record.get(field.name) for record in records], extra)
        for field in schema
        if field.name != "extra"
    ]
    rest = pa.array([orjson.dumps(one).decode() if one else None for one in extra], TEXT)
    return pa.table([*columns, rest], schema=schema)


def _column(field: pa.Field, values: list[Any], extra: list[Json]) -> pa.Array:
    """One column; what does not fit goes to `extra`. Nearly always all of it fits, which is found at C's speed."""
    if not _all_fit(values, field.type):
        for place, value in enumerate(values):
            if not _all_fit([value], field.type):
                extra[place][field.name] = value
                values[place] = None
    return pa.array(values, field.type)


def record_of(row: Json) -> Json:
    """A row as a record again: `extra` is put back where it came from."""
    extra = row.pop("extra", None)
    return {**row, **orjson.loads(extra)} if extra else row


def _all_fit(values: Sequence[Any], kind: pa.DataType) -> bool:
    """Whether `kind` holds the values and gives them back as they were, but for nulls in place of what a struct has not."""
    found = set(map(type, values)) - {type(None)}
    if kind in PLAIN:
        return found <= PLAIN[kind] and (int not in found or _in_range(values, 2**53 if kind == REAL else 2**63 - 1))
    there = [value for value in values if value is not None]
    if pa.types.is_list(kind):
        inside = list(chain.from_iterable(there)) if found <= {list} else [None]
        return None not in inside and _all_fit(inside, kind.value_type)
    if not found <= {dict}:
        return False
    kinds = {field.name: field.type for field in kind}
    known = set().union(*there) <= kinds.keys()
    return known and all(_all_fit([one.get(name) for one in there], inner) for name, inner in kinds.items())


def _in_range(values: Sequence[Any], most: int) -> bool:
    numbers = [value for value in values if type(value) is int]
    return -most <= min(numbers) and max(numbers) <= most
