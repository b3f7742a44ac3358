"""The admin plane: routes, adapters, rollouts and metrics over HTTP, on a port of its own. `/docs` has its OpenAPI page.

FastAPI, because nothing here is on a request's path. Errors have OpenAI's shape, as the data plane's.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from graduand import __version__
from graduand.gateway.adapters import adapter, admission, residency
from graduand.gateway.admin import allowance, monitors, pages
from graduand.gateway.admin import rollouts as api
from graduand.gateway.admin import state as state_api
from graduand.gateway.admin.requests import NewRollout, Plan, Simulation, Verb
from graduand.gateway.config.read import adapters_folder, basis_points, budgets_folder
from graduand.gateway.control import moves, verdicts
from graduand.gateway.control.store.open import rollouts_in
from graduand.gateway.control.store.rollouts import NoRollout
from graduand.gateway.errors import AdapterError, ConfigError, GraduandError, RequestError, did_you_mean
from graduand.gateway.fleet import artifacts
from graduand.gateway.logs import feedback
from graduand.gateway.logs.target import TargetError
from graduand.gateway.model.openai import error_body
from graduand.gateway.model.routes import MODES, Replica, Route, Settings, Upstream
from graduand.gateway.state import places
from graduand.gateway.state.documents import documents_in
from graduand.gateway.state.open import open_state
from graduand.gateway.state.places import Cell
from graduand.gateway.state.store import Conflict, Registered, StateError, StateStore
from graduand.monitoring import verdict
from graduand.monitoring.checks import written
from graduand.monitoring.metrics import Metrics, Totals, exposition
from graduand.rollout.spec.names import check_name
from graduand.rollout.transitions import IllegalEvent, StaleVersion

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RouteChange(_Body):
    """What to change of a route. Without `version` the change is made whatever the version is."""

    mode: str | None = Field(None, examples=["canary"])
    weight: float | None = Field(None, description="percent of units for the student, 0 to 100 in steps of 0.01")
    version: int | None = Field(None, description="the version that the change is based on; 409 if it is not current")
    adapter: str | None = Field(None, description="another adapter for the student arm")
    from_file: bool = Field(False, description="first undo every change made at run time")
    why: str = Field("", max_length=1000)


class NewAdapter(_Body):
    """An adapter to load: a folder that every replica of the upstream can read, or where to fetch it from."""

    name: str
    path: str = Field(description="a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or hub:OWNER/NAME[@REVISION]")
    upstream: str
    digest: str = Field("", description="the beginning of its digest; needed for what is fetched, here or in its name")


class Problem(BaseModel):
    """What is wrong: `message` says it in words, `code` is for programs, `param` is the field that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error, in OpenAI's shape."""

    error: Problem


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "what was asked for makes no sense"},
    404: {"model": ErrorBody, "description": "there is no such thing"},
    405: {"model": ErrorBody, "description": "a name with a slash in it made this another path"},
    409: {"model": ErrorBody, "description": "not now, or not at this version"},
    422: {"model": ErrorBody, "description": "the request does not have the form described here"},
    502: {"model": ErrorBody, "description": "an upstream cannot be reached"},
}


class Configuration:
    """The settings in force; replaced whole on reload. `metrics` are this process's own; without them it counts nothing."""

    def __init__(self, settings: Settings, totals: Totals, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.totals = totals
        self.metrics = metrics


def app(configuration: Configuration) -> FastAPI:
    """The admin application."""
    application = FastAPI(title="Graduand admin plane", version=__version__, responses=ERRORS)
    _errors(application)

    def store() -> Iterator[StateStore]:
        opened = open_state(configuration.settings)
        try:
            yield opened
        finally:
            opened.close()

    def shown(route: Route) -> dict[str, Any]:
        folder, now = budgets_folder(configuration.settings), time.time()
        return {**show(route), **allowance.shown(folder, route, now)}

    store_here = Annotated[StateStore, Depends(store)]
    who_here = Annotated[str, Header(alias="x-graduand-who")]

    @application.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @application.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(configuration.totals), media_type=CONTENT_TYPE)

    @application.get("/v1/routes")
    def list_routes(state: store_here) -> dict[str, Any]:
        table = state.table(configuration.settings.routes)
        return {
            "version": table.version,
            "routes": [_with_verdicts(shown(route), state) for route in table.routes.values()],
        }

    @application.get("/v1/routes/{name:path}")
    def get_route(name: str, state: store_here) -> dict[str, Any]:
        return _with_verdicts(shown(state.table(_known(name, configuration.settings)).routes[name]), state)

    @application.patch("/v1/routes/{name:path}")
    def change_route(name: str, change: RouteChange, state: store_here, who: who_here = "api") -> dict[str, Any]:
        known = _known(name, configuration.settings)
        _check(known[name], change)
        rollouts, documents = rollouts_in(state), documents_in(state)

        def taken_over() -> None:
            moves.taken_over(rollouts, name, who, time.time())
            verdicts.overruled(rollouts, documents, name, who, time.time())

        state.change_route(
            known[name], who=who, why=change.why, version=change.version, mode=change.mode, adapter=change.adapter,
            weight_bp=None if change.weight is None else basis_points(change.weight), reset=change.from_file,
            inside=taken_over,
        )  # fmt: skip
        return _with_verdicts(shown(state.table(known).routes[name]), state)

    @application.get("/v1/adapters")
    def list_adapters(state: store_here) -> dict[str, Any]:
        managed = places.read(documents_in(state))
        return {
            "adapters": [
                _placed(one, configuration.settings, managed.get((one.upstream, one.name))) for one in state.adapters()
            ]
        }

    @application.post("/v1/adapters", status_code=201)
    def add_adapter(new: NewAdapter, state: store_here, who: who_here = "api") -> dict[str, Any]:
        upstream = _upstream(new.upstream, configuration.settings)
        digest = new.digest or new.name.partition("@")[2]
        path = artifacts.local(
            new.path, digest, configuration.settings.artifacts, adapters_folder(configuration.settings)
        )  # fmt: skip
        name = residency.resolve_name(new.name, path)
        files = adapter.read(path)
        admission.require(files)
        if upstream.slots is not None:  # where it has a place is the fleet manager's to find
            state.add_adapter(name, new.upstream, str(path.resolve()), who=who, base=files.base_model)
            return {"name": name, "upstream": new.upstream, "replicas": []}
        residency.load(upstream, name, path)
        verdicts = residency.verify(upstream, name)
        failed = [verdict for verdict in verdicts if not verdict.applied]
        if failed:
            residency.unload(upstream, name)
            raise AdapterError(f"{name} was unloaded again: on {failed[0].replica}, {failed[0].problem}")
        state.add_adapter(name, new.upstream, str(path.resolve()), who=who, base=files.base_model)
        return {"name": name, "upstream": new.upstream, "replicas": [_shown(verdict) for verdict in verdicts]}

    @application.get("/v1/adapters/{name}/verify")
    def verify_adapter(name: str, state: store_here) -> dict[str, Any]:
        found = [one for one in state.adapters() if one.name == name]
        if not found:
            raise _no_adapter(name, state)
        verdicts = [
            _shown(verdict)
            for one in found
            for verdict in residency.verify(_upstream(one.upstream, configuration.settings), name)
        ]
        return {"name": name, "applied": all(verdict["applied"] for verdict in verdicts), "replicas": verdicts}

    @application.delete("/v1/adapters/{name}")
    def remove_adapter(name: str, state: store_here, who: who_here = "api") -> dict[str, Any]:
        found = [one for one in state.adapters() if one.name == name]
        if not found:
            raise _no_adapter(name, state)
        for route in state.table(configuration.settings.routes).routes.values():
            kept = route.incumbent is not None and route.incumbent.adapter == name
            if kept or (route.student is not None and route.student.adapter == name and route.mode != "teacher"):
                raise RequestError(
                    409, f"route {route.name!r} uses {name} in mode {route.mode}; set its mode to teacher first",
                    code="adapter_in_use",
                )  # fmt: skip
        managed = places.read(documents_in(state))
        for one in found:
            if (one.upstream, name) not in managed:  # else the fleet manager drains it first
                residency.unload(_upstream(one.upstream, configuration.settings), name)
            state.remove_adapter(name, one.upstream, who=who)
        return {"removed": name}

    application.include_router(api.router(lambda: configuration.settings))
    application.include_router(feedback.router(lambda: configuration.settings, configuration.metrics))
    application.include_router(monitors.router(lambda: configuration.settings))
    application.include_router(pages.router)
    application.include_router(state_api.router(lambda: configuration.settings))

    @application.get("/v1/events")
    def events(state: store_here, limit: Annotated[int, Field(ge=1, le=1000)] = 100) -> dict[str, Any]:
        return {"events": state.events(limit)}

    return application


def show(route: Route) -> dict[str, Any]:
    """A route as the admin API shows it; `weight` and `shadow_sample` in percent."""
    student = route.student
    return {
        "name": route.name,
        "mode": route.mode,
        "weight": route.weight_bp / 100,
        "version": route.version,
        "teacher": {"upstream": route.teacher.upstream, "model": route.teacher.model},
        "student": None if student is None else {"upstream": student.upstream, "adapter": student.adapter},
        "unit": str(route.unit),
        "shadow_sample": route.shadow_bp / 100,
        "on_student_failure": route.on_student_failure,
        "release": route.release,
        "gates": {one.gate.name: one.action for one in written.of_route(route.gates, route.task)},
        "incumbent": None if route.incumbent is None else route.incumbent.adapter,
        "rollout": route.rollout or None,
        "limit": None if route.limit_bp is None else route.limit_bp / 100,
        "threshold": None if route.threshold is None else route.threshold["threshold"],
    }


def _with_verdicts(shown: dict[str, Any], state: StateStore) -> dict[str, Any]:
    """A route with what alarms have brought about."""
    return {
        **shown,
        "verdicts": [verdict.sentence(one) for one in verdicts.standing(documents_in(state), shown["name"])],
    }


def _known(name: str, settings: Settings) -> dict[str, Route]:
    if name not in settings.routes:
        hint = did_you_mean(name, settings.routes) or f" There are: {', '.join(settings.routes)}."
        raise RequestError(404, f"there is no route {name!r}.{hint}", param="route", code="route_not_found")
    return settings.routes


def _check(route: Route, change: RouteChange) -> None:
    if change.mode is not None and change.mode not in MODES:
        hint = did_you_mean(change.mode, MODES) or f" There are: {', '.join(MODES)}."
        raise RequestError(400, f"there is no mode {change.mode!r}.{hint}", param="mode", code="invalid_mode")
    if change.mode not in (None, "teacher") and route.student is None:
        raise RequestError(
            400, f"mode {change.mode} needs a student, and route {route.name!r} has none in the configuration file",
            param="mode", code="no_student",
        )  # fmt: skip
    if change.adapter is not None:
        check_name(change.adapter)
        if route.student is None:
            raise RequestError(400, f"route {route.name!r} has no student", param="adapter", code="no_student")
    if change.mode is None and change.weight is None and change.adapter is None and not change.from_file:
        raise RequestError(400, "nothing to change: give mode, weight, adapter or from_file", code="empty_change")


def _upstream(name: str, settings: Settings) -> Upstream:
    if name not in settings.upstreams:
        hint = did_you_mean(name, settings.upstreams) or f" There are: {', '.join(settings.upstreams)}."
        raise RequestError(404, f"there is no upstream {name!r}.{hint}", param="upstream", code="upstream_not_found")
    return settings.upstreams[name]


def _no_adapter(name: str, state: StateStore) -> RequestError:
    known = [one.name for one in state.adapters()]
    hint = did_you_mean(name, known) or (f" There are: {', '.join(known)}." if known else " None was added yet.")
    return RequestError(404, f"there is no adapter {name!r}.{hint}", param="name", code="adapter_not_found")


def _placed(one: Registered, settings: Settings, cells: Mapping[str, Cell] | None) -> dict[str, Any]:
    """An adapter and where it stands: as the fleet manager says, or, where it has none, as the replicas list it."""
    upstream = settings.upstreams.get(one.upstream)
    shown = {"name": one.name, "upstream": one.upstream, "path": one.path, "managed": cells is not None}
    if upstream is None:
        return {**shown, "replicas": []}
    if cells is None:
        return {**shown, "replicas": [_listing(upstream, replica, one.name) for replica in upstream.replicas]}
    found = [
        {"replica": url, "state": cell.state, "since": cell.since, "listed": cell.state in ("ready", "draining")}
        | ({"problem": cell.reason} if cell.reason else {})
        for url, cell in cells.items()
    ]
    return {**shown, "replicas": found}


def _listing(upstream: Upstream, replica: Replica, name: str) -> dict[str, Any]:
    try:
        there = name in residency.listed(upstream, replica)
    except GraduandError as error:
        return {"replica": replica.url, "listed": False, "state": "away", "problem": str(error)}
    return {"replica": replica.url, "listed": there, "state": "listed" if there else "missing"}


def _shown(verdict: residency.Verdict) -> dict[str, Any]:
    distance = verdict.distance
    finite = None if distance is None or distance == float("inf") else round(distance, 6)
    return {
        "replica": verdict.replica, "listed": verdict.listed, "applied": verdict.applied,
        "largest_logprob_difference": finite, "problem": verdict.problem,
    }  # fmt: skip


def _errors(application: FastAPI) -> None:
    def answer(status: int, message: str, code: str | None, param: str | None = None) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return Response(error_body(message, kind, param=param, code=code), status, media_type="application/json")

    statuses: dict[type[Exception], tuple[int, str]] = {
        Conflict: (409, "version_conflict"),
        feedback.NotStored: (503, "not_stored"),
        AdapterError: (400, "adapter_refused"),
        ConfigError: (400, "invalid_value"),
        IllegalEvent: (409, "not_possible_now"),
        StaleVersion: (409, "version_conflict"),
        NoRollout: (404, "rollout_not_found"),
        residency.UpstreamUnreachable: (502, "upstream_unreachable"),
        artifacts.NotFetched: (502, "not_fetched"),
        TargetError: (502, "not_fetched"),
        StateError: (503, "state_unavailable"),
        GraduandError: (500, "failed"),
    }

    def handler(status: int, code: str) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handle(_: Request, error: Exception) -> Response:
            return answer(status, str(error), code)

        return handle

    for kind, (status, code) in statuses.items():
        application.add_exception_handler(kind, handler(status, code))

    @application.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return answer(error.status, error.message, error.code, error.param)

    @application.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        message = f"{field}: {first['msg']}" if field else str(first["msg"])
        if first["type"] == "extra_forbidden":
            bodies: tuple[type[BaseModel], ...] = (
                RouteChange,
                NewAdapter,
                NewRollout,
                Verb,
                Plan,
                Simulation,
                feedback.NewFeedback,
            )
            known = {name for body in bodies for name in body.model_fields}
            message = f"unknown field {field!r}.{did_you_mean(field, known)}"
        return answer(422, message, "invalid_request", field or None)

    @application.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        hint = "; the API is described at /docs" if error.status_code == 404 else ""
        return answer(error.status_code, f"{error.detail}{hint}", "http_error")
