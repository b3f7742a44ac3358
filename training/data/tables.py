"""Samples from tables: CSV, or JSON lines whose keys are anybody's.

Invariant: every record is a sample or is counted under the reason why it is none.
"""

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.gateway.errors import did_you_mean
from graduand.rollout.answers.answers import Unparsed
from graduand.training.data.collapse import Collapse, collapse
from graduand.training.data.rows import DataError, json_lines
from graduand.training.data.samples import Sample


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what; None where no column does."""

    text: str
    id: str | None = None
    system: str | None = None  # a text, not a column: what every chat begins with
    completion: str | None = None
    gold: Collapse | None = None
    user: str | None = None
    conversation: str | None = None

    def named(self) -> list[str]:
        """The columns that must be there."""
        gold = [] if self.gold is None else self.gold.any or [self.gold.column or ""]
        single = (self.text, self.id, self.completion, self.user, self.conversation)
        return [name for name in single if name is not None] + gold


def csv_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a CSV file with a head line (RFC 4180)."""
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            for record in reader:
                if None in record or None in record.values():
                    raise DataError(f"{path}, line {reader.line_num}: not as many fields as the head line has")
                yield record
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def json_records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    for number, value in json_lines(path):
        if not isinstance(value, dict):
            raise DataError(f"{path}, line {number} is no JSON object")
        yield value


def samples_of(
    records: Iterable[Mapping[str, Any]], columns: Columns, source: str
) -> tuple[list[Sample], Counter[str]]:
    """The records' samples, and how many were left out for which reason."""
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for number, record in enumerate(records, 1):
        if number == 1:
            _check_columns(record, columns, source)
        sample = _sample(record, columns, source, number)
        if isinstance(sample, Unparsed):
            left_out[sample.reason] += 1
        else:
            samples.append(sample)
    _check_ids(samples, source)
    return samples, left_out


def _check_columns(record: Mapping[str, Any], columns: Columns, source: str) -> None:
    for name in columns.named():
        if name not in record:
            raise DataError(f"{source} has no column {name!r}; it has {', '.join(record)}.{did_you_mean(name, record)}")


def _sample(record: Mapping[str, Any], columns: Columns, source: str, number: int) -> Sample | Unparsed:
    text = record.get(columns.text)
    if not isinstance(text, str) or not text.strip():
        return Unparsed("no text")
    gold = None if columns.gold is None else collapse(columns.gold, record)
    if isinstance(gold, Unparsed):
        return gold
    system = [{"role": "system", "content": columns.system}] if columns.system else []
    return Sample(
        id=_value(record, columns.id) or f"{source}:{number}",
        messages=(*system, {"role": "user", "content": text}),
        completion=_value(record, columns.completion),
        gold=None if gold is None else gold.value,
        user=_value(record, columns.user),
        conversation=_value(record, columns.conversation),
        source=source,
    )


def _value(record: Mapping[str, Any], column: str | None) -> str | None:
    value = None if column is None else record.get(column)
    return str(value) if value not in (None, "") else None


def _check_ids(samples: list[Sample], source: str) -> None:
    often = [identity for identity, count in Counter(sample.id for sample in samples).items() if count > 1]
    if often:
        raise DataError(f"{source}: {len(often)} ids are used more than once, such as {often[0]!r}; give each its own")
