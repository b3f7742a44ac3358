"""Samples as Arrow tables: what a worker needs of a row to read it, ask about it or look for its like.

Invariant: `samples(table(rows))` are the rows as far as SCHEMA goes; whose they are and what teachers said stays behind.
"""

from collections.abc import Sequence

import pyarrow as pa

from graduand.training.data.samples import Sample

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "prompt": pa.string(),
        "completion": pa.string(),
        "gold": pa.string(),
    }
)


def table(rows: Sequence[Sample]) -> pa.Table:
    """A line for each sample."""
    return pa.Table.from_pylist([{name: getattr(row, name) for name in SCHEMA.names} for row in rows], SCHEMA)


def samples(batch: pa.Table) -> list[Sample]:
    """A sample for each line."""
    return [
        Sample(**{**line, "messages": None if line["messages"] is None else tuple(line["messages"])})
        for line in batch.select(SCHEMA.names).to_pylist()
    ]
