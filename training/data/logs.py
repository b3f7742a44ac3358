"""Rows from the gateway's request log: the teacher's answers to one route.

Invariant: every record is either a row or counted under the reason why it is not; nothing is left out in silence. Reads
Parquet parts and the segments that are not shipped yet, in the order of time, each record once (gateway.logs.reading).
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.gateway.logs.reading import LogDamaged, Reader, Source
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.training.data.rows import DataError, Row, parse_row

OTHER_ROUTE = "another route"
CUT = "cut off by a crash"
NO_RECORD = "no record as this version writes them"
DUPLICATE = "same prompt as an earlier row"
OVER_LIMIT = "over the limit"


@dataclass(slots=True)
class Counts:
    """What became of the log's records."""

    records: int = 0
    rows: int = 0
    held_out: int = 0
    conflicting: int = 0  # of the duplicates: those that the teacher answered otherwise
    left_out: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "rows": self.rows,
            "held_out": self.held_out,
            "conflicting": self.conflicting,
            "left_out": dict(self.left_out),
        }

    def text(self) -> str:
        """A line for the rows and one for each reason."""
        lines = [f"{self.rows} rows, {self.held_out} held out, of {self.records} records; left out:"]
        lines += [f"  {count:6d}  {reason}" for reason, count in self.left_out.most_common()]
        if self.conflicting:
            lines.append(f"  ({self.conflicting} prompts came back with another answer: is the temperature 0?)")
        return "\n".join(lines if self.left_out else [lines[0].replace("; left out:", "; none left out")])


def records(log: str, counts: Counts) -> Iterator[Record]:
    """All records of the log at `log`, a folder or an address; what is none, and a last line that a crash cut off, is counted."""
    if "://" not in log and not Path(log).is_dir():
        raise DataError(f"{log} is no folder; give what 'logs' names in the gateway's configuration")
    reading = Reader(Source.of(log))
    try:
        for found in reading:
            counts.records += 1
            record = reader.record_of(found)
            if record is None:
                counts.left_out[NO_RECORD] += 1
            else:
                yield record
    except LogDamaged as error:
        raise DataError(str(error)) from error
    counts.records += reading.cut
    if reading.cut:
        counts.left_out[CUT] += reading.cut


def row_of(record: Record) -> Row | str:
    """The row that a record makes, or the reason why it makes none."""
    if record["arm"] != "teacher":
        return "answered by a student"
    if record["status"] != 200:
        return "status other than 200"
    if not record["completed"]:
        return "not completed"
    if record["request_json"] is None or record["response_json"] is None:
        return "payload not kept"
    request, answer = reader.request(record), reader.answered(record)
    if answer is None or answer.chat != ("messages" in request):
        return "no chat or text completion"
    if answer.finish != "stop":
        return "finish_reason other than stop"
    known: dict[str, Any] = {key: request[key] for key in ("messages", "prompt") if key in request}
    if owner := owner_of(record["unit_hash"], request):
        known["user"] = owner
    try:
        return parse_row({**known, "id": record["id"], "completion": answer.text}, "")
    except DataError as error:
        return f"cannot be trained: {error}"


def owner_of(unit_hash: int | None, request: dict[str, Any]) -> str | None:
    """Whose request it is, as a hash. What the client calls its user comes first: a rollout's unit is salted anew."""
    if isinstance(request.get("user"), str) and request["user"]:
        return hashlib.sha256(f"user/{request['user']}".encode()).hexdigest()[:16]
    return str(unit_hash) if unit_hash else None


def write_rows(log: str, route: str, out: Path, limit: int | None = None, holdout: float = 0.0) -> Counts:
    """Write the rows of `route` to `out`, and those held out beside it (`NAME.holdout.jsonl`)."""
    if not 0 <= holdout < 1:
        raise ConfigError(f"--holdout is a share from 0 up to, not including, 1; it is {holdout}")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit must be at least 1; it is {limit}")
    counts = Counts()
    learned: list[Row] = []
    held: list[Row] = []
    for row in _unique_rows(log, route, counts):
        if holdout and _share_of(row) < holdout:
            held.append(row)
        elif limit is None or len(learned) < limit:
            learned.append(row)
        else:
            counts.left_out[OVER_LIMIT] += 1
    if not learned:
        raise DataError(f"no record of route {route!r} makes a row: {counts.text()}")
    counts.rows, counts.held_out = len(learned), len(held)
    _write(out, learned)
    if holdout:
        _write(out.with_suffix(f".holdout{out.suffix}"), held)
    return counts


def _unique_rows(log: str, route: str, counts: Counts) -> Iterator[Row]:
    seen: dict[str, str] = {}
    routes: set[str] = set()
    for record in records(log, counts):
        routes.add(record["route"])
        row = row_of(record) if record["route"] == route else OTHER_ROUTE
        if isinstance(row, str):
            counts.left_out[row] += 1
            continue
        key = prompt_key(row)
        if key in seen:
            counts.left_out[DUPLICATE] += 1
            counts.conflicting += seen[key] != row.completion
            continue
        seen[key] = row.completion
        yield row
    if route not in routes:
        known = ", ".join(sorted(routes)) or "none"
        raise DataError(f"the log at {log} has no route {route!r}; it has {known}.{did_you_mean(route, routes)}")


def prompt_key(row: Row) -> str:
    """SHA-256 of the prompt: equal for equal prompts, whatever the id and the answer."""
    return hashlib.sha256(orjson.dumps([row.messages, row.prompt])).hexdigest()


def _share_of(row: Row) -> float:
    """A number in [0, 1) fixed by the prompt: a row stays held out, however the log grows."""
    return int(hashlib.sha256(f"holdout/{prompt_key(row)}".encode()).hexdigest()[:8], 16) / 2**32


def _write(path: Path, rows: Iterable[Row]) -> None:
    """Whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for row in rows:
                prompt = {"messages": row.messages} if row.messages is not None else {"prompt": row.prompt}
                owner = {} if row.user is None else {"user": row.user}
                file.write(orjson.dumps({"id": row.id, **prompt, "completion": row.completion, **owner}) + b"\n")
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write the rows: {error}") from error
