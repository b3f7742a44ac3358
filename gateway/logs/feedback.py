"""What people say of answers: an append-only table of its own, joined to the log by the answered request's id.

A statement is acknowledged after its bytes are on the disk (fsync); segments are sealed and shipped as the log's are.
The same statement again, or another with the same idempotency key, has the same `feedback_id`, and readers count it once.
"""

import hashlib
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from graduand.gateway.errors import GraduandError, RequestError
from graduand.gateway.logs import places
from graduand.gateway.logs.segment import SegmentFile
from graduand.gateway.model.recording import RecordPolicy
from graduand.gateway.model.routes import Settings
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics

SCHEMA_VERSION = 1
REMEMBERED = 10_000
# Clocks of two machines differ.
AHEAD_S = 60.0
TEXT = 100_000
TEXTS = ("label", "correction", "comment", "who")


class NewFeedback(BaseModel):
    """A statement about one answer; at least one of score, label, correction and comment."""

    model_config = ConfigDict(extra="forbid")

    id: uuid.UUID = Field(description="the answer's x-graduand-id")
    score: float | None = Field(None, ge=-1e9, le=1e9, allow_inf_nan=False, examples=[1])
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
        folder = spool / places.FEEDBACK / places.SEGMENTS
        self._file = SegmentFile(folder, f"admin-{os.getpid()}", policy.seal_s)
        self._redactor = _redactor(policy)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, None] = OrderedDict()

    def add(self, new: NewFeedback, who: str, key: str = "") -> tuple[dict[str, Any], bool]:
        """Store a statement; return it as stored, and whether it is new. Raise OSError if the disk does not take it."""
        said = {**new.model_dump(mode="json"), "who": new.who or who}
        if self._redactor is not None:
            said = {name: self._redactor.text(one) if name in TEXTS and one else one for name, one in said.items()}
        # Of what may be read only: the hash of a short text can be guessed.
        content = orjson.dumps([said["id"], key or said])
        number = hashlib.sha256(content).hexdigest()[:32]
        row = {"schema_version": SCHEMA_VERSION, "feedback_id": number, **said, "time": self._clock()}
        with self._lock:
            if row["feedback_id"] in self._known:
                return row, False
            self._write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            self._known[row["feedback_id"]] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return row, True

    def tidy(self) -> None:
        """Close a segment that is old, so that it is shipped."""
        with self._lock:
            self._file.roll()

    def _write(self, line: bytes) -> None:
        done = 0
        try:
            while done < len(line):
                done += self._file.write(memoryview(line)[done:])
            self._file.sync()
        except OSError:
            self._file.close()  # half a line may stand at its end: the next one goes to a new file
            raise
        self._file.roll()


def router(settings: Callable[[], Settings], metrics: Metrics | None) -> APIRouter:
    """`POST /v1/feedback`."""
    feedback = APIRouter(tags=["feedback"])
    opened: list[FeedbackLog] = []
    lock = threading.Lock()

    def log() -> FeedbackLog:
        with lock:
            if not opened:
                opened.append(FeedbackLog(places.spool(settings()), settings().record))
                threading.Thread(target=_tidy, args=(opened[0],), name="feedback", daemon=True).start()
        return opened[0]

    def count(outcome: str) -> None:
        if metrics is not None:
            with lock:  # handlers run in threads
                metrics.add(m.FEEDBACK, ("", outcome))

    @feedback.post("/v1/feedback", status_code=201)
    def give(
        new: NewFeedback, response: Response, who: Annotated[str, Header(alias="x-graduand-who")] = "api",
        key: Annotated[str, Header(alias="idempotency-key", max_length=200)] = "",
    ) -> dict[str, Any]:  # fmt: skip
        problem = _problem(new.id)
        if problem is not None:
            count("refused")
            raise problem
        try:
            row, fresh = log().add(new, who, key)
        except OSError as error:
            count("failed")
            raise NotStored(f"the feedback was not stored: {error.strerror or error}; give it again later") from error
        count("stored" if fresh else "repeated")
        if not fresh:
            response.status_code = 200
        return {"feedback_id": row["feedback_id"], "id": row["id"], "stored": fresh}

    return feedback


class NotStored(GraduandError, OSError):
    """A statement could not be written."""


def _problem(number: uuid.UUID) -> RequestError | None:
    """Why no answer can have this id. Whether one has it only the log knows, which may be elsewhere by now."""
    if number.version != 7:
        return RequestError(
            404, f"there is no answer {number}: ids of answers are UUIDs of version 7, from the header x-graduand-id",
            param="id", code="answer_not_found",
        )  # fmt: skip
    if (number.int >> 80) / 1000 > time.time() + AHEAD_S:
        return RequestError(
            404, f"there is no answer {number}: its time is in the future", param="id", code="answer_not_found"
        )
    return None


def _tidy(log: FeedbackLog) -> None:
    while True:
        time.sleep(1.0)
        log.tidy()


def _redactor(policy: RecordPolicy) -> Any:
    if not policy.redacts:
        return None
    from graduand.gateway.logs.redaction import Redactor

    return Redactor(policy)
