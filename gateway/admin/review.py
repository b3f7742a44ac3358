"""The admin plane's review: the next request that a person is to label, and the label; blind, counted once.

A label is in the log and in the store before it is acknowledged.
"""

import math
import threading
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from graduand.gateway.admin.calls import Body, RolloutsHere, SettingsHere, WhoHere
from graduand.gateway.control import labels
from graduand.gateway.control.labels import NAMES, Label, Question, Verdict
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


class Population(Body):
    """What labels were drawn from, as the queue says it."""

    rollout: str
    basis: int
    step: str


class DrawnLabel(Body):
    """A label in a file, with the probability with which its request was drawn; without a verdict it is still to come."""

    id: str = Field(min_length=1, max_length=200)
    probability: float = Field(gt=0, le=1)
    verdict: Verdict | None = None


class LabelFile(Body):
    """A file of labels, which says how they were drawn."""

    population: Population
    labels: list[DrawnLabel] = Field(max_length=10_000)


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
            return {"question": _shown(found), "rollout": row.id, "waiting": len(labels.wait(state, row))}
    return {"question": None, "rollout": rollout or None, "waiting": 0}


@router.get("/export")
def export(state: RolloutsHere, rollout: str = "") -> Json:
    """All requests that wait for a label, to be labelled elsewhere: how they were drawn, and what there is to see."""
    rows = [state.find(rollout)] if rollout else state.live()
    row = next((one for one in rows if labels.wait(state, one)), None)
    if row is None:
        raise RequestError(404, "no request waits for a label", param="rollout", code="nothing_waits")
    waits = [(draw.probability, labels.question(state, row, draw.guess.record)) for draw in labels.wait(state, row)]
    return {
        "population": labels.population(row),
        "labels": [
            {**_shown(question), "probability": probability, "verdict": None}
            for probability, question in waits
            if question is not None
        ],
    }


@router.post("/labels", status_code=201)
def label(
    new: NewLabel, response: Response, state: RolloutsHere, settings: SettingsHere,
    desk: Annotated[LabelDesk, Depends(_desk)], who: WhoHere = "api",
) -> Json:  # fmt: skip
    """Store a label; the same one again is stored once, and another of the same request is refused."""
    try:
        with state.transaction():
            found = _found(state, state.live(), new.id, new.verdict, who, "review")
            number = _stored(state, desk.log(settings), found)
    except OSError as error:
        raise NotStored(f"the label was not stored: {error.strerror or error}; give it again later") from error
    if found.known:
        response.status_code = 200
    return {"label_id": number, "id": new.id, "rollout": found.row.id, "stored": not found.known}


@router.post("/import")
def take_in(
    file: LabelFile, state: RolloutsHere, settings: SettingsHere, desk: Annotated[LabelDesk, Depends(_desk)],
    who: WhoHere = "api",
) -> Json:  # fmt: skip
    """Store the labels of a file, all or none: only of the population that it names, and as the queue drew them."""
    try:
        with state.transaction():
            row = state.find(file.population.rollout)
            _check_drawn(state, row, file)
            found = [
                _found(state, [row], one.id, one.verdict, who, "file") for one in file.labels if one.verdict is not None
            ]
            for one in found:
                _stored(state, desk.log(settings), one)
    except OSError as error:
        raise NotStored(f"no label was stored: {error.strerror or error}; give them again later") from error
    known = sum(bool(one.known) for one in found)
    return {"rollout": row.id, "stored": len(found) - known, "known": known, "left": len(file.labels) - len(found)}


@dataclass(frozen=True, slots=True)
class _Found:
    """A label that may be stored: the rollout that asked, its draw, and what is said; or the id of the same one, if it is
    there already."""

    row: Row
    known: str
    draw: Draw | None = None
    label: Label | None = None
    verdict: str = ""


def _stored(state: Rollouts, log: LabelLog, found: _Found) -> str:
    """The label's id, once it is in the log and in the store."""
    if found.draw is None or found.label is None:
        return found.known
    return labels.give(state, log, found.row, found.draw, found.label, found.verdict)


def _check_drawn(state: Rollouts, row: Row, file: LabelFile) -> None:
    """Raise RequestError if the file's labels are of anything but the present draws of its population."""
    present, verdicts = labels.population(row), dict[str, str]()
    if file.population.model_dump() != present:
        raise RequestError(
            409, f"these labels are of {file.population.model_dump()}, and {row.id} asks about {present} now: they prove nothing "
            "about that", param="population", code="another_population",
        )  # fmt: skip
    for one in file.labels:
        draw = _draw(row, one.id)
        if draw is not None and not math.isclose(draw.probability, one.probability, rel_tol=1e-6):
            raise RequestError(
                409, f"{one.id!r} was drawn with probability {draw.probability:g}, and the file says {one.probability:g}: the "
                "queue drew something else", param="probability", code="another_probability",
            )  # fmt: skip
        known = state.label(row, one.id)
        if draw is None and known is None:
            raise _not_asked(one.id)
        if one.verdict is not None:
            _check_same(one.id, one.verdict, (known or {}).get("verdict", verdicts.setdefault(one.id, one.verdict)))


def _found(state: Rollouts, rows: list[Row], record: str, verdict: Verdict, who: str, source: str) -> _Found:
    """What to store of a verdict; raise RequestError if nobody asked, or if it was said otherwise."""
    for row in rows:
        known, draw = state.label(row, record), _draw(row, record)
        if known is not None:
            _check_same(record, verdict, known.get("verdict", ""))
            return _Found(row, str(known["label_id"]))
        if draw is None:
            continue
        asked, question = labels.labels_of(row), labels.question(state, row, record)
        if asked is not None and asked.within_s is not None:
            raise RequestError(
                409, f"rollout {row.id} learns from outcomes, not from people's labels: send them to /v1/feedback",
                param="id", code="outcomes_only",
            )  # fmt: skip
        if question is None:
            break
        if len(question.answers) < len(NAMES) and verdict == NAMES[1]:
            raise RequestError(400, "there is one answer only, A", param="verdict", code="no_such_answer")
        return _Found(row, "", draw, question.label(verdict, who, time.time(), source), verdict)
    raise _not_asked(record)


def _not_asked(record: str) -> RequestError:
    return RequestError(
        404, f"nobody is asked about {record!r}, or not any longer; GET /v1/review/next says what is", param="id",
        code="not_asked",
    )  # fmt: skip


def _check_same(record: str, verdict: str, known: str) -> None:
    """Raise RequestError if a label that is there says something else."""
    if known != verdict:
        raise RequestError(
            409,
            f"{record!r} has a label already, and another one; the first counts",
            param="id",
            code="labelled_already",
        )


def _draw(row: Row, record: str) -> Draw | None:
    labelling = row.ledger.labelling
    asked = [] if labelling is None else labelling.asked
    return next((draw for draw in asked if draw.guess.record == record), None)


def _shown(question: Question) -> Json:
    """What a person sees."""
    answers = [{"name": name, "text": text} for name, text in zip(NAMES, question.answers, strict=False)]
    return {"id": question.record, "conversation": question.conversation, "answers": answers}


def _line(row: Row, shown: Json) -> Json:
    step = row.state.current
    return {"rollout": row.id, "route": row.state.spec.route, "step": None if step is None else step.name, **shown}


def _tidy(log: LabelLog) -> None:
    while True:
        time.sleep(1.0)
        log.tidy()
