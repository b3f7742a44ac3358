"""The admin plane's review: the next request that a person is to label, and the label; blind, counted once.

A label is in the log and in the store before it is acknowledged.
"""

import threading
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from graduand.gateway.admin.calls import Body, RolloutsHere, SettingsHere, WhoHere
from graduand.gateway.control import labels
from graduand.gateway.control.labels import NAMES, Verdict
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.errors import RequestError
from graduand.gateway.logs import places
from graduand.gateway.logs.feedback import NotStored
from graduand.gateway.logs.labels import LabelLog
from graduand.gateway.model.routes import Settings
from graduand.rollout.labelling import Draw

Json = dict[str, Any]

router = APIRouter(prefix="/v1/review", tags=["review"])


class NewLabel(Body):
    """What a person says of the answers to one request."""

    id: str = Field(min_length=1, max_length=200, description="of the request, as `next` gave it")
    verdict: Verdict = Field(description="which of the answers are right; skip: cannot tell, which counts as wrong")


class LabelDesk:
    """This process's log of labels, opened by the first. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log: LabelLog | None = None

    def log(self, settings: Settings) -> LabelLog:
        """The log, which closes its old segments by itself from now on."""
        with self._lock:
            if self._log is None:
                self._log = LabelLog(places.spool(settings), settings.record, "admin")
                threading.Thread(target=_tidy, args=(self._log,), name="labels", daemon=True).start()
            return self._log


def _desk(request: Request) -> LabelDesk:
    found: LabelDesk = request.app.state.labels
    return found


@router.get("")
def waiting(state: RolloutsHere) -> Json:
    """The rollouts that learn from labels, and how many requests wait for one."""
    rows = [(row, labels.status(state, row)) for row in state.live()]
    return {"rollouts": [_line(row, shown) for row, shown in rows if shown is not None]}


@router.get("/next")
def following(state: RolloutsHere, rollout: str = "", who: WhoHere = "api") -> Json:
    """The next request to label, of one rollout or of any; `question` is null when none waits."""
    rows = [state.find(rollout)] if rollout else state.live()
    for row in rows:
        found = labels.next_for(state, row, who)
        if found is not None:
            answers = [{"name": name, "text": text} for name, text in zip(NAMES, found.answers, strict=False)]
            question = {"id": found.record, "conversation": found.conversation, "answers": answers}
            return {"question": question, "rollout": row.id, "waiting": len(labels.wait(state, row))}
    return {"question": None, "rollout": rollout or None, "waiting": 0}


@router.post("/labels", status_code=201)
def label(
    new: NewLabel, response: Response, state: RolloutsHere, settings: SettingsHere,
    desk: Annotated[LabelDesk, Depends(_desk)], who: WhoHere = "api",
) -> Json:  # fmt: skip
    """Store a label; the same one again is stored once, and another of the same request is refused."""
    try:
        with state.transaction():
            row, number, fresh = _given(state, desk.log(settings), new, who)
    except OSError as error:
        raise NotStored(f"the label was not stored: {error.strerror or error}; give it again later") from error
    if not fresh:
        response.status_code = 200
    return {"label_id": number, "id": new.id, "rollout": row.id, "stored": fresh}


def _given(state: Rollouts, log: LabelLog, new: NewLabel, who: str) -> tuple[Row, str, bool]:
    """The rollout that asked, the label's id, and whether it is new."""
    for row in state.live():
        known = state.label(row, new.id)
        draw = _draw(row, new.id)
        if known is not None:
            return row, _same(known, new), False
        if draw is None:
            continue
        source = labels.labels_of(row)
        if source is not None and source.within_s is not None:
            raise RequestError(
                409, f"rollout {row.id} learns from outcomes, not from people's labels: send them to /v1/feedback",
                param="id", code="outcomes_only",
            )  # fmt: skip
        question = labels.question(state, row, new.id)
        if question is None:
            break
        if len(question.answers) < len(NAMES) and new.verdict == NAMES[1]:
            raise RequestError(400, "there is one answer only, A", param="verdict", code="no_such_answer")
        return row, labels.give(state, log, row, draw, question.label(new.verdict, who, time.time()), new.verdict), True
    raise RequestError(
        404, f"nobody is asked about {new.id!r}, or not any longer; GET /v1/review/next says what is", param="id",
        code="not_asked",
    )  # fmt: skip


def _same(known: Json, new: NewLabel) -> str:
    """The id of the label that is there; raise RequestError if it says something else."""
    if known.get("verdict") != new.verdict:
        raise RequestError(
            409,
            f"{new.id!r} has a label already, and another one; the first counts",
            param="id",
            code="labelled_already",
        )
    return str(known["label_id"])


def _draw(row: Row, record: str) -> Draw | None:
    labelling = row.ledger.labelling
    asked = [] if labelling is None else labelling.asked
    return next((draw for draw in asked if draw.guess.record == record), None)


def _line(row: Row, shown: Json) -> Json:
    step = row.state.current
    return {"rollout": row.id, "route": row.state.spec.route, "step": None if step is None else step.name, **shown}


def _tidy(log: LabelLog) -> None:
    while True:
        time.sleep(1.0)
        log.tidy()
