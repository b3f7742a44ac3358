"""A closed segment as Parquet parts: one for each day, hour and route in it.

Invariant: a part's key is made from the records in it and nothing else, so sealing the same segment again, after a crash
or by another version, gives the same keys, and create-only uploads make every record land once. A line that was cut by
a crash is left out (the journal has it); a whole line that is no record is handed back, to be put aside.
"""

import hashlib
import io
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from graduand.gateway.logs import places

ROW_GROUP_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file to be: its key and its records' lines."""

    key: str
    table: str
    lines: tuple[bytes, ...]

    def encoded(self) -> bytes:
        """The Parquet file, compressed with zstd."""
        import pyarrow.parquet as pq

        from graduand.gateway.logs import schema

        rows = schema.table([orjson.loads(line) for line in self.lines], schema.of(self.table))
        out = io.BytesIO()
        pq.write_table(rows, out, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        return out.getvalue()


@dataclass(slots=True)
class Sealed:
    """What a segment holds."""

    parts: list[Part] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)
    records: int = 0


def seal(segment: Path, table: str) -> Sealed:
    """Cut a closed segment of `table` (log, feedback, labels or drift) into parts, in the order of their keys."""
    sealed = Sealed()
    groups: dict[str, list[bytes]] = defaultdict(list)
    begins: dict[str, float] = {}
    with segment.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            found = _place(line, table)
            if found is None:
                sealed.damaged.append(line)
                continue
            folder, at = found
            groups[folder].append(line)
            begins.setdefault(folder, at)
            sealed.records += 1
    for folder, lines in sorted(groups.items()):
        sealed.parts.append(Part(_key(folder, begins[folder], lines), table, tuple(lines)))
    return sealed


def evidence_part(lines: tuple[bytes, ...]) -> Part:
    """The part of a batch of a rollout's evidence. It stands in the folder of its first line: the lines' order is their
    number, and their name begins with that."""
    first = orjson.loads(lines[0])
    digest = hashlib.sha256(b"".join(lines)).hexdigest()[:32]
    name = f"{quote(first['rollout'], safe='')}-{first['number']:012d}-{digest}.parquet"
    return Part(f"{folder_of(first, places.EVIDENCE)}/{name}", places.EVIDENCE, lines)


def folder_of(record: dict[str, Any], table: str) -> str:
    """The folder of a record's part: `dt=YYYY-MM-DD/hour=HH/route=NAME`, in UTC; other tables have no route."""
    hour = time.strftime("dt=%Y-%m-%d/hour=%H", time.gmtime(record["time"]))
    return f"{hour}/route={quote(record['route'], safe=':')}" if table == "log" else f"{table}/{hour}"


def parts_in_order(keys: Iterator[str], table: str) -> list[str]:
    """The keys of one table's parts, oldest first."""
    prefix = "dt=" if table == "log" else f"{table}/dt="
    return sorted((key for key in keys if key.startswith(prefix) and key.endswith(".parquet")), key=_by_time)


def _by_time(key: str) -> tuple[str, str, str]:
    *folders, name = key.split("/")
    day, hour = (next((one for one in folders if one.startswith(start)), "") for start in ("dt=", "hour="))
    return day, hour, name


def _key(folder: str, at: float, lines: list[bytes]) -> str:
    digest = hashlib.sha256(b"".join(lines)).hexdigest()[:32]
    # The time within the hour comes first, so that names sort as records do.
    return f"{folder}/{at % 3600:010.4f}-{digest}.parquet"


def _place(line: bytes, table: str) -> tuple[str, float] | None:
    try:
        record = orjson.loads(line)
        return folder_of(record, table), float(record["time"])
    except (ValueError, LookupError, TypeError, OverflowError, OSError):
        return None
