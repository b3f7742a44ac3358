"""The columns of a Parquet part, and a record's way into a row and back, with nothing lost.

The schema is part of the log's contract: a column may be added, never changed. What a record has that no column can hold
exactly (a field of a newer version, a value of another type) goes into `extra` as JSON and comes back from there.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, get_args, get_origin, is_typeddict

import orjson
import pyarrow as pa

from graduand.gateway.model import fields

Json = dict[str, Any]
TEXT, WHOLE, REAL, YES_NO = pa.string(), pa.int64(), pa.float64(), pa.bool_()
PLAIN: dict[pa.DataType, set[type]] = {TEXT: {str}, WHOLE: {int}, REAL: {float, int}, YES_NO: {bool}}
KINDS: dict[type, pa.DataType] = {str: TEXT, int: WHOLE, float: REAL, bool: YES_NO}
EXTRA = "extra"


def of(table: str) -> pa.Schema:
    """The columns of a table: one for each of its fields (`gateway.model.fields`), and `extra`."""
    return _columns(fields.TABLES[table])


@cache
def _columns(declared: type) -> pa.Schema:
    return pa.schema([*_fields(declared), pa.field(EXTRA, TEXT)])


def _fields(declared: type) -> list[pa.Field]:
    return [pa.field(one.name, _kind(one.type)) for one in fields.of(declared)]


def _kind(kind: Any) -> pa.DataType:
    if get_origin(kind) is list:
        return pa.list_(_kind(get_args(kind)[0]))
    return pa.struct(_fields(kind)) if is_typeddict(kind) else KINDS[kind]


def table(records: Sequence[Json], schema: pa.Schema) -> pa.Table:
    """Records as rows of `schema`, in their order."""
    names = frozenset(schema.names) - {EXTRA}
    extra: list[Json] = [
        {} if record.keys() <= names else {name: value for name, value in record.items() if name not in names}
        for record in records
    ]
    columns = [
        _column(field, [record.get(field.name) for record in records], extra) for field in schema if field.name != EXTRA
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
    extra = row.pop(EXTRA, None)
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
