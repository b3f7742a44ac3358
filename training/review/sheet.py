"""The review as a CSV file: disputed rows out, a person's corrections in.

Invariant: what comes back is a known label for a known row, or an error that names the line; an empty correction says
nothing. Cells that a spreadsheet would run as a formula are written with an apostrophe before them.
"""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graduand.gateway.errors import did_you_mean
from graduand.rollout.answers.spelling import find
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.rows import DataError
from graduand.training.review.disputes import Dispute

COLUMNS = ("id", "text", "says", "why", "correction", "note")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person says about a row."""

    label: str
    note: str


def written(disputes: Sequence[Dispute]) -> str:
    """The sheet, with an empty column for corrections."""
    out = io.StringIO()
    sheet = csv.writer(out, lineterminator="\n")
    sheet.writerow(COLUMNS)
    for each in disputes:
        says = ", ".join(f"{voice}: {label}" for voice, label in each.voices.items())
        sheet.writerow([each.sample.id, *map(_plain, (each.sample.text, says, each.why)), "", ""])
    return out.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def read(path: Path, task: Task, known: Collection[str]) -> dict[str, Correction]:
    """The corrections of a sheet by the rows' ids; `known` are the ids that there are."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _corrections(csv.DictReader(file), path, task, known)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the corrections {path}: {error}") from error


def _corrections(lines: "csv.DictReader[str]", path: Path, task: Task, known: Collection[str]) -> dict[str, Correction]:
    missing = {"id", "correction"} - set(lines.fieldnames or ())
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(sorted(missing))}; keep the sheet's first line")
    found: dict[str, Correction] = {}
    for line in lines:
        identity, said = line["id"], (line["correction"] or "").strip()
        if not said:
            continue
        where = f"{path}, line {lines.line_num}"
        if identity not in known:
            raise DataError(f"{where}: there is no row {identity!r} in the data; keep the column id as it is")
        label = find(task.labels, said)
        if label is None:
            names = labels.names(task)
            raise DataError(f"{where}: {said!r} is none of the labels {', '.join(names)}.{did_you_mean(said, names)}")
        if identity in found and found[identity].label != label:
            raise DataError(
                f"{where}: row {identity!r} was corrected twice, to {found[identity].label!r} and {label!r}"
            )
        found[identity] = Correction(label, line.get("note") or "")
    if not found:
        raise DataError(f"{path} holds no correction; fill in the column 'correction'")
    return found


def shown(corrections: Mapping[str, Correction]) -> list[str]:
    """The corrections as lines for a report."""
    return [
        f"{identity}: {each.label}{f' ({each.note})' if each.note else ''}" for identity, each in corrections.items()
    ]
