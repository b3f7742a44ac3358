"""The admin plane's rollouts: start, look, explain, plan, simulate, and every verb, compare-and-swap and audited."""

import secrets
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query

from graduand.gateway.admin import allowance, views
from graduand.gateway.admin.calls import RolloutsHere, SettingsHere, WhoHere
from graduand.gateway.admin.requests import (
    NewRollout,
    Nothing,
    Plan,
    Simulation,
    Verb,
    advice,
    check_incumbent,
    startable,
)
from graduand.gateway.config.read import budgets_folder
from graduand.gateway.control import incumbents, labels, moves, verdicts
from graduand.gateway.control.certificate.issue import issue
from graduand.gateway.control.store.rollouts import LEASE, Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.control.study import planning
from graduand.gateway.errors import RequestError, did_you_mean
from graduand.gateway.logs import places
from graduand.gateway.logs.reading import Source
from graduand.gateway.model.routes import Route, Settings
from graduand.gateway.state.documents import Documents
from graduand.monitoring.verdict import sentence
from graduand.rollout.answers import tasks
from graduand.rollout.simulate.policy import Scenario
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Event
from graduand.rollout.transitions import VERBS

Json = dict[str, Any]
# What people may ask for; starting is a call of its own, and superseding follows from it.
ASKED = sorted(VERBS - {"start", "supersede"})


router = APIRouter(prefix="/v1/rollouts", tags=["rollouts"])


@router.get("")
def listing(state: RolloutsHere, route: str | None = None) -> Json:
    return {"rollouts": [views.line(row) for row in state.rows(route=route)]}


@router.post("", status_code=201)
def start(new: NewRollout, state: RolloutsHere, settings: SettingsHere, who: WhoHere = "api") -> Json:
    spec, task = startable(new.spec, settings)
    served = _served(state, spec.route, settings)
    with state.transaction():
        row = moves.begin(
            state, spec, task, salt=secrets.token_hex(8), at=time.time(), who=who, why=new.why, key=new.key,
            check=lambda: check_incumbent(spec, served),
        )  # fmt: skip
    return {**_status(state, row, settings), "warnings": advice(spec, task, served)}


@router.post("/plan")
def plan(wanted: Plan, state: RolloutsHere, settings: SettingsHere) -> Json:
    spec, task = startable(wanted.spec, settings)
    served = _served(state, spec.route, settings)
    check_incumbent(spec, served)
    seen = planning.traffic(Source(settings.logs, places.spool(settings)), spec.route)
    per_s = wanted.requests_per_s or (None if seen is None else seen.per_s)
    paid = planning.copies_a_day(settings.routes[spec.route].shadow_budget, seen)
    sampling = planning.sampling(spec, tasks.read(task), served.shadow_bp / 10_000, paid)
    known = planning.habits_of(Source(settings.logs, places.spool(settings)), spec.route)
    planned = planning.plan(spec, per_s, wanted.agreement, sampling, known)
    return {**planned, "warnings": advice(spec, task, served) + planned["warnings"]}


@router.post("/simulate")
def simulate(wanted: Simulation) -> Json:
    spec = specfile.read(wanted.spec)
    scenario = Scenario(
        wanted.agreement, separation=wanted.separation, error_rate=wanted.error_rate,
        error_ratio=wanted.error_ratio, requests_per_s=wanted.requests_per_s,
    )  # fmt: skip
    return {"runs": wanted.runs, "students": planning.simulate(spec, scenario, wanted.runs, wanted.seed)}


@router.get("/{name}")
def status(name: str, state: RolloutsHere, settings: SettingsHere) -> Json:
    return _status(state, state.find(name), settings)


@router.get("/{name}/explain")
def explain(name: str, state: RolloutsHere, settings: SettingsHere) -> Json:
    shown = _status(state, state.find(name), settings)
    wanted = ("id", "phase", "step", "hold", "note", "version", "reasons", "possible", "controller")
    return {key: shown[key] for key in wanted}


@router.get("/{name}/history")
def history(name: str, state: RolloutsHere) -> Json:
    row = state.find(name)
    return {"id": row.id, "events": views.history(state.events(row.id))}


@router.get("/{name}/spec")
def spec(name: str, state: RolloutsHere) -> Json:
    row = state.find(name)
    return {"id": row.id, "spec_hash": row.state.spec.digest, "spec": row.state.spec.to_dict(), "task": row.task}


@router.get("/{name}/course")
def course(name: str, state: RolloutsHere, points: Annotated[int, Query(ge=2, le=2000)] = 500) -> Json:
    row = state.find(name)
    return {"id": row.id, "points": state.course(row.id, points)}


@router.get("/{name}/disagreements")
def disagreements(name: str, state: RolloutsHere, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> Json:
    row = state.find(name)
    return {"id": row.id, "disagreements": state.disagreements(row.id, limit)}


@router.post("/{name}/certificate", status_code=201)
def certificate(name: str, wanted: Nothing, state: RolloutsHere, settings: SettingsHere) -> Json:
    return issue(state, name, settings.logs, state.state.now())


@router.post("/{name}/{verb}")
def act(
    name: str, verb: str, state: RolloutsHere, settings: SettingsHere, wanted: Verb, who: WhoHere = "api",
    key: Annotated[str, Header(alias="idempotency-key")] = "",
) -> Json:  # fmt: skip
    if verb not in ASKED:
        hint = did_you_mean(verb, ASKED) or f" There are: {', '.join(ASKED)}."
        raise RequestError(404, f"there is no verb {verb!r}.{hint}", param="verb", code="no_verb")
    with state.transaction():
        row = state.find(name)
        event = Event(
            verb, time.time(), row.state.version if wanted.version is None else wanted.version, actor=who,
            reason=wanted.why, key=wanted.key or key, data=_data(verb, wanted),
        )  # fmt: skip
        row = moves.carry_out(state, row, event, settings.routes)
    return _status(state, row, settings)


def _data(verb: str, wanted: Verb) -> Json:
    if verb == "retry":
        return {"salt": secrets.token_hex(8)}
    if verb == "promote" and wanted.full:
        return {"full": True}
    return {}


def _status(state: Rollouts, row: Row, settings: Settings) -> Json:
    now = time.time()
    _, _, until = state.state.lease(LEASE)
    applied, waiting = moves.applied(state, row, settings.workers), state.judging_count(row.id)
    route = settings.routes.get(row.state.spec.route)
    delays = () if route is None else allowance.delays(budgets_folder(settings), route, now)
    shown = views.status(
        row, now, applied=applied, leader=now < until, judging=waiting, delays=delays, labels=labels.status(state, row)
    )
    if not row.at_rest:
        shown["reasons"] += [sentence(one) for one in verdicts.standing(Documents(state.state), row.state.spec.route)]
    return shown


def _served(state: Rollouts, name: str, settings: Settings) -> Route:
    return incumbents.served(state, name, settings.routes) or settings.routes[name]
