"""Reads a log back: all records of its parts and of the segments that are not shipped yet, each once.

A record may be in a segment and already in a part. Segments are opened before parts are listed, so nothing is missed
while a shipper works; what a segment has is then left out of the parts. Imported by training/ too: nothing of the server
may be imported here.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from graduand.gateway.address import local_path
from graduand.gateway.errors import GraduandError
from graduand.gateway.logs import places

Json = dict[str, Any]
BATCH_ROWS = 1024
# What a row of each table is known by. Rows of `drift` with the same id say the same request again: the last one counts.
KEYS = {"log": "id", "feedback": "feedback_id", "labels": "label_id", "drift": "id", "evidence": "id"}


class LogDamaged(GraduandError, ValueError):
    """A whole line or a part is not what this version writes."""


@dataclass(frozen=True, slots=True)
class Source:
    """A log: its target's address and, where this machine has it, the spool."""

    url: str
    spool: Path | None

    @staticmethod
    def of(text: str) -> "Source":
        """From an address (`s3://…`, `gs://…`, `file:///…`) or a folder, which then holds both."""
        if "://" not in text:
            return Source(f"file://{Path(text).resolve()}", Path(text))
        return Source(text, local_path(text) if places.is_local(text) else None)


class Reader:
    """One reading of a table. `cut` counts lines that a crash cut off."""

    def __init__(self, source: Source, table: str = "log") -> None:
        self._source = source
        self._table = table
        self.cut = 0

    def __iter__(self) -> Iterator[Json]:
        """Every record once: parts by their time, then segments by their names. Raises LogDamaged, TargetError."""
        with ExitStack() as stack:
            files = [(path, stack.enter_context(file)) for path, file in self._segments()]
            parts = part_keys(self._source, self._table)
            known = (
                {_key(record, self._table) for path, file in files for record in self._lines(path, file)}
                if parts
                else ()
            )
            self.cut = 0
            for key in parts:
                for record in _rows(self._source, key, _part(self._source, key)):
                    if _key(record, self._table) not in known:
                        yield record
            for path, file in files:
                yield from self._lines(path, file)

    def files(self, order: Callable[[str], str] | None = None) -> Iterator["File"]:
        """Every file by itself with all that it holds, parts first; a record may be in a segment and in a part. With `order`
        only the parts to whose key it says something, by what it says."""
        with ExitStack() as stack:
            files = [(path, stack.enter_context(file)) for path, file in self._segments()]
            keys = part_keys(self._source, self._table)
            for key in keys if order is None else sorted(filter(order, keys), key=order):
                data = _part(self._source, key)
                yield File(key, hashlib.sha256(data).hexdigest(), _rows(self._source, key, data))
            for path, file in files:
                yield File(path.name, None, self._lines(path, file))

    def waiting(self) -> Iterator[Json]:
        """The records of the segments only."""
        for path, file in self._segments():
            with file:
                yield from self._lines(path, file)

    def _segments(self) -> Iterator[tuple[Path, IO[bytes]]]:
        for path in segment_paths(self._source, self._table):
            try:
                yield path, path.open("rb")
            except FileNotFoundError:  # shipped since the folder was listed: its part is there
                continue

    def _lines(self, path: Path, file: IO[bytes]) -> Iterator[Json]:
        file.seek(0)
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    self.cut += 1
                    continue
                raise LogDamaged(f"{path}, line {number} is not JSON ({error}); move this segment away") from error
            if not isinstance(record, dict):
                raise LogDamaged(f"{path}, line {number} is no record; give the gateway's own log")
            yield record


@dataclass(frozen=True, slots=True)
class File:
    """One file of a log: its key or name, the hash of a part's bytes (None: it is a segment), and its records."""

    name: str
    sha256: str | None
    records: Iterator[Json]


def _part(source: Source, key: str) -> bytes:
    from graduand.gateway.logs.target import Target

    return Target(source.url).get(key)


def _rows(source: Source, key: str, data: bytes) -> Iterator[Json]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from graduand.gateway.logs import schema

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        for batch in file.iter_batches(BATCH_ROWS):
            yield from map(schema.record_of, batch.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LogDamaged(f"{key} at {source.url} is no part of a log: {error}; move it away") from error


def segment_paths(source: Source, table: str) -> list[Path]:
    """The segments of a table that are on this machine, oldest first."""
    if source.spool is None:
        return []
    if table != "log":
        return sorted((source.spool / table).rglob("*.jsonl"))
    others = {source.spool / name for name in (*places.BESIDE, places.EVIDENCE)}
    return [path for path in sorted(source.spool.rglob("*.jsonl")) if others.isdisjoint(path.parents)]


def part_keys(source: Source, table: str) -> list[str]:
    """The keys of a table's parts, oldest first."""
    if places.is_local(source.url) and not local_path(source.url).is_dir():
        return []
    from graduand.gateway.logs import seal
    from graduand.gateway.logs.target import Target

    return seal.parts_in_order(Target(source.url).listed(), table)


def _key(record: Json, table: str) -> Any:
    return record.get(KEYS[table])
