"""Gold labels: an append-only table of its own, joined to the log by the id of the request that was drawn.

A label is on the disk before a rollout may learn from it, so that what was proved can be worked out again from the log alone.
The same label of the same request has the same `label_id`, and readers count it once.
"""

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.logs import places
from graduand.gateway.logs.segment import redactor_of
from graduand.gateway.logs.synced import SyncedRows
from graduand.gateway.model.recording import RecordPolicy

SCHEMA_VERSION = 1
# What makes two labels the same.
CONTENT = ("id", "rollout", "basis", "step", "correct", "teacher_correct", "source", "who")


def label_id(row: Mapping[str, Any]) -> str:
    """The same for the same label of the same request."""
    return hashlib.sha256(orjson.dumps([row[name] for name in CONTENT])).hexdigest()[:32]


class LabelLog:
    """Appends labels to segments below SPOOL/labels; opened by the first one. For any thread."""

    def __init__(self, spool: Path, policy: RecordPolicy, writer: str) -> None:
        self._spool = spool
        self._policy = policy
        self._writer = writer
        self._redactor = redactor_of(policy)
        self._lock = threading.Lock()
        self._rows: SyncedRows | None = None

    def add(self, row: Mapping[str, Any]) -> str:
        """Store the fields of a label but for its version and its id; return that. OSError if the disk does not take it."""
        if self._redactor is not None:
            row = {**row, "who": self._redactor.text(row["who"])}
        number = label_id(row)
        line = orjson.dumps(
            {"schema_version": SCHEMA_VERSION, "label_id": number, **row}, option=orjson.OPT_APPEND_NEWLINE
        )
        with self._lock:
            if self._rows is None:
                self._rows = SyncedRows(self._spool, places.LABELS, self._writer, self._policy.seal_s)
            self._rows.append(line)
        return number

    def tidy(self) -> None:
        """Close a segment that is old, so that it is shipped."""
        with self._lock:
            if self._rows is not None:
                self._rows.tidy()

    def close(self) -> None:
        """Let go of the segment."""
        with self._lock:
            if self._rows is not None:
                self._rows.close()
