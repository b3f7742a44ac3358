"""The student in service while a rollout tries another one: who it is, and how its route is given back to it.

Invariant: the route change that made it serve is kept whole in the rollout's row, so that going back restores it as it was,
with its own rollout, salt and threshold. Nothing is written here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Route
from graduand.gateway.state.store import Override
from graduand.rollout.spec.spec import Spec


def problem(spec: Spec, served: Route) -> str:
    """Why a rollout that keeps the student in service cannot; empty if it can, or does not."""
    if not spec.keeps_incumbent:
        return ""
    now = served.student_in_service
    if now is None:
        return (
            f"gate incumbent: route {served.name!r} is in mode {served.mode}, so no student is in service to compare "
            "with; take the gate out"
        )
    if now.adapter == spec.student:
        return f"gate incumbent: {spec.student} itself is in service on route {served.name!r}; name another student"
    return ""


def served(store: Rollouts, name: str, routes: Mapping[str, Route]) -> Route | None:
    """A configured route as it is served now."""
    route = routes.get(name)
    return None if route is None else store.state.override(route).applied(route)


def found(store: Rollouts, spec: Spec, routes: Mapping[str, Route]) -> dict[str, Any] | None:
    """The student in service on the rollout's route, as a row keeps it; None if none is or none is to be kept."""
    now = served(store, spec.route, routes)
    if now is None or now.student is None or not spec.keeps_incumbent or problem(spec, now):
        return None
    before = asdict(store.state.override(routes[spec.route]))
    return {"adapter": now.student.adapter, "mode": now.mode, "threshold": now.threshold, "before": before}


def carried(row: Row) -> str | None:
    """The incumbent as a route change carries it to the data plane."""
    if row.incumbent is None:
        return None
    return json.dumps({key: row.incumbent[key] for key in ("adapter", "mode", "threshold")})


def restored(row: Row, version: int) -> Override:
    """The route change that gives the route back to the incumbent."""
    assert row.incumbent is not None
    return Override(**{**row.incumbent["before"], "version": version})


def sleeping(row: Row, rows: Mapping[str, Row]) -> Row | None:
    """The rollout that moves `row`'s route while `row`'s promoted student is its incumbent."""
    for other in rows.values():
        if other.incumbent is not None and other.incumbent["before"]["rollout"] == row.id:
            return other
    return None
