"""The admin plane's feedback: what people say of answers is stored before it is acknowledged."""

import logging
import threading
import time
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from graduand.gateway.admin.calls import ConfigurationHere, WhoHere
from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.errors import RequestError
from graduand.gateway.logs import places
from graduand.gateway.logs.feedback import FeedbackLog, NewFeedback, NotStored
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.hashes import StateError
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics

# Clocks of two machines differ.
AHEAD_S = 60.0

router = APIRouter(tags=["feedback"])
logger = logging.getLogger("graduand")


class Desk:
    """This process's feedback log, opened by the first statement, and its counts. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log: FeedbackLog | None = None

    def log(self, settings: Settings) -> FeedbackLog:
        """The log, which closes its old segments by itself from now on."""
        with self._lock:
            if self._log is None:
                self._log = FeedbackLog(places.spool(settings), settings.record)
                threading.Thread(target=_tidy, args=(self._log,), name="feedback", daemon=True).start()
            return self._log

    def count(self, metrics: Metrics | None, outcome: str) -> None:
        """Count one statement."""
        if metrics is not None:
            with self._lock:  # handlers run in threads
                metrics.add(m.FEEDBACK, ("", outcome))


def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


@router.post("/v1/feedback", status_code=201)
def give(
    new: NewFeedback, response: Response, configuration: ConfigurationHere,
    desk: Annotated[Desk, Depends(_desk)], who: WhoHere = "api",
    key: Annotated[str, Header(alias="idempotency-key", max_length=200)] = "",
) -> dict[str, Any]:  # fmt: skip
    """Store a statement about one answer; the same one again is stored once."""
    metrics = configuration.metrics
    problem = _problem(new.id)
    if problem is not None:
        desk.count(metrics, "refused")
        raise problem
    try:
        row, fresh = desk.log(configuration.settings).add(new, who, key)
    except OSError as error:
        desk.count(metrics, "failed")
        raise NotStored(f"the feedback was not stored: {error.strerror or error}; give it again later") from error
    desk.count(metrics, "stored" if fresh else "repeated")
    _tell(configuration.settings, row)
    if not fresh:
        response.status_code = 200
    return {"feedback_id": row["feedback_id"], "id": row["id"], "stored": fresh}


def _tell(settings: Settings, row: dict[str, Any]) -> None:
    """Let live rollouts that learn from outcomes know. The statement is stored already; what they do not hear of is a missing
    outcome, which counts as a bad one."""
    try:
        store = open_rollouts(settings)
        try:
            if store.listening() is not None:
                with store.transaction():
                    store.write_statement(row["id"], row["time"], row["score"], row["label"])
        finally:
            store.close()
    except StateError as error:
        logger.error("no rollout will know of the feedback about %s: %s", row["id"], error)


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
