"""Carries out what alarms call for, inside the leader's transaction: hold the rollout, limit the student's share.

Invariant: what is done follows from the verdicts that stand, at every look, so being killed anywhere costs nothing and
doing it twice changes nothing. A person's word wins: whoever resumes the rollout or sets the route by hand ends the
verdict with it. Every change is an audited event with its reason.
"""

from collections.abc import Mapping
from dataclasses import replace

from graduand.gateway.control import moves
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Route
from graduand.gateway.state.documents import Documents, key_of
from graduand.monitoring import verdict as hysteresis
from graduand.monitoring.verdict import Alarm, DriftVerdict, verdict_from_json
from graduand.rollout.state import STEPPING, Event, Hold, Phase

ALARM, DRIFT, VERDICT = "alarm", "drift", "verdict"
ACTOR = "monitor"
NOBODY = "none"  # the adapter of a route without a student
# Served requests under a limit say nothing about a step's own share: none is of a version like this.
NEVER = (1 << 53) - 1  # the largest that JSON holds exactly

Done = list[tuple[str, str, str]]


def alarmed(documents: Documents) -> bool:
    """Whether there is an alarm that nobody has acted on."""
    return documents.any(ALARM)


def standing(documents: Documents, route: str | None = None) -> list[DriftVerdict]:
    """The verdicts that stand, of one route or all."""
    found = [verdict_from_json(data) for data in documents.all(VERDICT).values() if data["active"]]
    return [one for one in found if route in (None, one.route)]


def act(store: Rollouts, documents: Documents, routes: Mapping[str, Route], now: float) -> Done:
    """Do what alarms and verdicts call for; returns (route, monitor, outcome) of each thing done."""
    done = _take_alarms(store, documents, routes)
    table = store.state.table_inside(routes)
    for verdict in standing(documents):
        route = table.get(verdict.route)
        if route is None:
            _write(documents, hysteresis.ended(verdict, now, "the configuration"))
            continue
        done += _uphold(store, documents, routes, route, verdict, now)
    for name in {data["route"] for data in documents.all(VERDICT).values()} & routes.keys():
        _limit(store, documents, routes[name])
    return done


def _take_alarms(store: Rollouts, documents: Documents, routes: Mapping[str, Route]) -> Done:
    done = []
    for key, data in sorted(documents.all(ALARM).items(), key=lambda item: item[1]["at"]):
        documents.drop(ALARM, key)
        alarm = Alarm(**data)
        route = routes.get(alarm.route)
        monitor = None if route is None else route.monitors.on.get(alarm.monitor)
        if monitor is None:
            done.append((alarm.route, alarm.monitor, "ignored"))
            continue
        old = documents.all(VERDICT).get(key_of(alarm.route, alarm.monitor))
        before = None if old is None else verdict_from_json(old)
        after = hysteresis.raised(
            before, alarm, action=monitor.action, limit_bp=monitor.limit_bp, auto=monitor.auto,
            clean_requests=monitor.clean_requests, min_time_s=monitor.min_time_s,
        )  # fmt: skip
        if after is before:  # told twice
            continue
        _write(documents, after)
        if after.alarms == 1:  # a lasting drift raises one after the other: each would give all workers a new table
            _audit(store, after, "alarm")
        done.append((alarm.route, alarm.monitor, "repeated" if after.alarms > 1 else after.action))
    return done


def _uphold(
    store: Rollouts, documents: Documents, routes: Mapping[str, Route], route: Route, verdict: DriftVerdict, now: float
) -> Done:
    at = documents.all(DRIFT).get(key_of(verdict.route, verdict.adapter, verdict.monitor))
    n = verdict.n_at if at is None else int(at["n"])
    verdict = hysteresis.counted(verdict, n)
    why = _moot(route, verdict) or hysteresis.clean(verdict, n, now)
    if why:
        release(store, documents, routes, verdict, now, who=ACTOR, why=why)
        return [(verdict.route, verdict.monitor, "released")]
    if verdict.action != "flag":
        held = _hold(store, routes, verdict, now)
        if held is None:
            release(store, documents, routes, verdict, now, who=ACTOR, why="a person moved the rollout on")
            return [(verdict.route, verdict.monitor, "overruled")]
        verdict = held
    _write(documents, verdict)
    return []


def _moot(route: Route, verdict: DriftVerdict) -> str:
    adapter = NOBODY if route.student is None else route.student.adapter
    if adapter != verdict.adapter:
        return f"the route's adapter is {adapter} now"
    return "" if verdict.monitor in route.monitors.on else "the monitor was turned off"


def _hold(store: Rollouts, routes: Mapping[str, Route], verdict: DriftVerdict, now: float) -> DriftVerdict | None:
    """The verdict with the rollout that it holds; None if a person has let that one go on."""
    row = _moving(store, verdict.route)
    if row is None:
        return replace(verdict, held="")
    if row.state.phase in STEPPING:
        if verdict.held == row.id:
            return None
        event = Event("hold", now, row.state.version, actor=ACTOR, reason=verdict.why, data={"hold": Hold.DRIFT.value})
        moves.carry_out(store, row, event, routes)
    return replace(verdict, held=row.id) if row.state.hold is Hold.DRIFT or verdict.held == row.id else verdict


def _moving(store: Rollouts, route: str) -> Row | None:
    rows = [row for row in store.rows(route=route) if not row.at_rest and row.state.phase is not Phase.PROMOTED]
    return rows[0] if rows else None


def release(
    store: Rollouts, documents: Documents, routes: Mapping[str, Route], verdict: DriftVerdict, now: float, *, who: str,
    why: str,
) -> None:  # fmt: skip
    """End a verdict; a rollout that only it holds goes on."""
    after = hysteresis.ended(verdict, now, f"{who}: {why}")
    _write(documents, after)
    _audit(store, replace(after, why=f"{verdict.monitor}: {why}"), "released", who)
    others = any(one.held == verdict.held for one in standing(documents, verdict.route))
    row = _moving(store, verdict.route)
    if verdict.held and not others and row is not None and row.id == verdict.held and row.state.hold is Hold.DRIFT:
        reason = f"{verdict.monitor} released: {why}"
        moves.carry_out(store, row, Event("resume", now, row.state.version, actor=who, reason=reason), routes)


def overruled(store: Rollouts, documents: Documents, route: str, who: str, now: float) -> None:
    """A person is setting the route by hand: verdicts on it end; the caller's change clears the limit."""
    for verdict in standing(documents, route):
        if verdict.action != "flag":
            _write(documents, hysteresis.ended(verdict, now, f"{who}: the route was set by hand"))
            _audit(store, replace(verdict, why=f"{verdict.monitor}: the route was set by hand"), "released", who)


def _limit(store: Rollouts, documents: Documents, route: Route) -> None:
    """Give the route the least share that a standing verdict leaves, or its own back."""
    stands = [one for one in standing(documents, route.name) if one.limit_bp is not None]
    limit = min((one.limit_bp for one in stands if one.limit_bp is not None), default=None)
    old = store.state.override(route)
    if old.limit_bp == limit:
        return
    store.state.put(route.name, replace(old, version=old.version + 1, limit_bp=limit))
    why = "; ".join(one.why for one in stands) or "no alarm stands any more"
    store.state.changed(f"route/{route.name}", ACTOR, {"limit_bp": limit, "why": why})
    row = _moving(store, route.name)
    if row is not None:
        row.entry_version = old.version + 1 if limit is None else NEVER
        store.write_row(row)


def _write(documents: Documents, verdict: DriftVerdict) -> None:
    key, data = key_of(verdict.route, verdict.monitor), verdict.to_json()
    if documents.all(VERDICT).get(key) != data:
        documents.write(VERDICT, key, data)


def _audit(store: Rollouts, verdict: DriftVerdict, what: str, who: str = ACTOR) -> None:
    change = {"drift": what, "monitor": verdict.monitor, "adapter": verdict.adapter, "action": verdict.action}
    store.state.changed(f"route/{verdict.route}", who, {**change, "why": verdict.why})
