"""The admin plane's routes: how they are served now, and changes of mode, weight and adapter."""

import time
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from graduand.gateway.admin import allowance
from graduand.gateway.admin.calls import Body, SettingsHere, StateHere, WhoHere
from graduand.gateway.config.read import budgets_folder
from graduand.gateway.control import moves, verdicts
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.errors import RequestError, did_you_mean
from graduand.gateway.model.keys import basis_points
from graduand.gateway.model.routes import MODES, Route, Settings, known_mode
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.store import StateStore
from graduand.monitoring import verdict
from graduand.monitoring.checks import written
from graduand.rollout.spec.names import check_name

router = APIRouter(tags=["routes"])


class RouteChange(Body):
    """What to change of a route. Without `version` the change is made whatever the version is."""

    mode: str | None = Field(None, examples=["canary"])
    weight: float | None = Field(None, description="percent of units for the student, 0 to 100 in steps of 0.01")
    version: int | None = Field(None, description="the version that the change is based on; 409 if it is not current")
    adapter: str | None = Field(None, description="another adapter for the student arm")
    from_file: bool = Field(False, description="first undo every change made at run time")
    why: str = Field("", max_length=1000)


@router.get("/v1/routes")
def list_routes(state: StateHere, settings: SettingsHere) -> dict[str, Any]:
    table = state.table(settings.routes)
    return {
        "version": table.version,
        "routes": [_shown(route, state, settings) for route in table.routes.values()],
    }


@router.get("/v1/routes/{name:path}")
def get_route(name: str, state: StateHere, settings: SettingsHere) -> dict[str, Any]:
    return _shown(state.table(_known(name, settings)).routes[name], state, settings)


@router.patch("/v1/routes/{name:path}")
def change_route(
    name: str, change: RouteChange, state: StateHere, settings: SettingsHere, who: WhoHere = "api"
) -> dict[str, Any]:
    known = _known(name, settings)
    _check(known[name], change)
    rollouts, documents = Rollouts(state), Documents(state)

    def taken_over() -> None:
        moves.taken_over(rollouts, name, who, time.time())
        verdicts.overruled(rollouts, documents, name, who, time.time())

    state.change_route(
        known[name], who=who, why=change.why, version=change.version, mode=known_mode(change.mode), adapter=change.adapter,
        weight_bp=None if change.weight is None else basis_points(change.weight), reset=change.from_file,
        inside=taken_over,
    )  # fmt: skip
    return _shown(state.table(known).routes[name], state, settings)


def _shown(route: Route, state: StateStore, settings: Settings) -> dict[str, Any]:
    """A route with what its copies have used of their day, and what alarms have brought about."""
    return {
        **show(route),
        **allowance.shown(budgets_folder(settings), route, time.time()),
        "verdicts": [verdict.sentence(one) for one in verdicts.standing(Documents(state), route.name)],
    }


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
        "checks": {one.name: one.action for one in written.of_route(route.checks, route.task)},
        "incumbent": None if route.incumbent is None else route.incumbent.adapter,
        "rollout": route.rollout or None,
        "limit": None if route.limit_bp is None else route.limit_bp / 100,
        "threshold": None if route.threshold is None else route.threshold["threshold"],
    }


def _known(name: str, settings: Settings) -> dict[str, Route]:
    if name not in settings.routes:
        hint = did_you_mean(name, settings.routes) or f" There are: {', '.join(settings.routes)}."
        raise RequestError(404, f"there is no route {name!r}.{hint}", param="route", code="route_not_found")
    return settings.routes


def _check(route: Route, change: RouteChange) -> None:
    if change.mode is not None and known_mode(change.mode) is None:
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
