"""What people say of answers: an append-only table of its own, joined to the log by the answered request's id.

A statement is acknowledged after its bytes are on the disk (fsync); segments are sealed and shipped as the log's are.
The same statement again, or another with the same idempotency key, has the same `feedback_id`, and readers count it once.
"""

import hashlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from graduand.gateway.errors import GraduandError
from graduand.gateway.logs import places
from graduand.gateway.logs.segment import redactor_of
from graduand.gateway.logs.synced import SyncedRows
from graduand.gateway.model import fields
from graduand.gateway.model.recording import RecordPolicy

SCHEMA_VERSION = 1
REMEMBERED = 10_000
TEXT = 100_000


class NewFeedback(BaseModel):
    """A statement about one answer; at least one of score, label, correction and comment."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: uuid.UUID = Field(description="the answer's x-graduand-id")
    score: float | None = Field(None, ge=-1e9, le=1e9, examples=[1])
    label: str | None = Field(None, min_length=1, max_length=1000, examples=["thumbs_up"])
    correction: str | None = Field(None, min_length=1, max_length=TEXT, description="the answer as it should have been")
    comment: str | None = Field(None, min_length=1, max_length=TEXT)
    who: str | None = Field(None, max_length=200, description="who says so; default: the x-graduand-who header")

    @model_validator(mode="after")
    def _says_something(self) -> "NewFeedback":
        if self.score is None and self.label is None and self.correction is None and self.comment is None:
            raise ValueError("it says nothing: give score, label, correction or comment")
        return self


class FeedbackLog:
    """Appends statements to segments below SPOOL/feedback. For any thread."""

    def __init__(self, spool: Path, policy: RecordPolicy, clock: Callable[[], float] = time.time) -> None:
        self._rows = SyncedRows(spool, places.FEEDBACK, "admin", policy.seal_s)
        self._redactor = redactor_of(policy)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, None] = OrderedDict()

    def add(self, new: NewFeedback, who: str, key: str = "") -> tuple[dict[str, Any], bool]:
        """Store a statement; return it as stored, and whether it is new. Raise OSError if the disk does not take it."""
        said = {**new.model_dump(mode="json"), "who": new.who or who}
        if self._redactor is not None:
            texts = fields.named(fields.FeedbackRow, "quoting")
            said = {name: self._redactor.text(one) if name in texts and one else one for name, one in said.items()}
        # Of what may be read only: the hash of a short text can be guessed.
        content = orjson.dumps([said["id"], key or said])
        number = hashlib.sha256(content).hexdigest()[:32]
        row = {"schema_version": SCHEMA_VERSION, "feedback_id": number, **said, "time": self._clock()}
        with self._lock:
            if row["feedback_id"] in self._known:
                return row, False
            self._rows.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            self._known[row["feedback_id"]] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return row, True

    def tidy(self) -> None:
        """Close a segment that is old, so that it is shipped."""
        with self._lock:
            self._rows.tidy()


class NotStored(GraduandError, OSError):
    """A statement could not be written."""
