"""Carries an event out: the new state, the event and the route change it means, inside the caller's transaction.

Invariant: the route does what `rollout.state.serving` says of the stored state, for every stored state from the first
step on. Going back, the weight is 0 in the same transaction as the decision; everything else is bookkeeping after it.
Where a rollout keeps the student in service, that one takes the teacher's place until the new one is promoted.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from graduand.gateway.control import comparing, incumbents, journal, labels, thinning, thresholds
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.errors import RequestError
from graduand.gateway.model.routes import Route
from graduand.gateway.state.store import Override
from graduand.rollout import ledger as ledgers
from graduand.rollout.assignment import BUCKETS
from graduand.rollout.gates.account import Account
from graduand.rollout.hybrid.learning import Learning
from graduand.rollout.spec.spec import Spec, audit_share
from graduand.rollout.state import STEPPING, TEACHER, Event, Hold, Phase, draft, serving
from graduand.rollout.transitions import apply

# Of a route, every rollout that there has ever been.
EVERY = 1_000_000


def carry_out(store: Rollouts, row: Row, event: Event, routes: Mapping[str, Route]) -> Row:
    """The rollout after `event`, stored; the same row if the event had happened already."""
    before = row.state
    if event.kind == "retry" and before.phase is Phase.ROLLED_BACK:
        # What rolled it back would do so again at once: somebody has repaired something, so the evidence starts anew.
        share = account(store, before.spec).drawn.share
        event = replace(event, data={**event.data, "anew": True, "share": share})
    after = apply(before, event)
    if after is before:
        return row
    claim, drew = journal.claim(row, event), account(store, after.spec) if after.basis != before.basis else None
    if event.kind in ("trip", "rollback"):
        _check_awake(store, row)
    row.state = after
    if after.attempt != before.attempt:
        row.counts, row.learning = {}, Learning()
    entered = after.entry != before.entry
    if entered and before.step < 0:
        row.incumbent = incumbents.found(store, after.spec, routes)
    if after.phase is Phase.PROMOTED:
        row.incumbent = None
    audit = None
    if entered or serving(after) != serving(before) or after.salt != before.salt:
        audit = _change_route(store, row, event, routes)
        if entered:
            row.entry_version = _version(store, row, routes)
        if entered and before.step < 0:
            row.attempt_version = row.entry_version
        if entered and row.incumbent is None:  # the rollout that promoted an incumbent goes on if this one goes back
            _supersede_others(store, row, event)
    if row.at_rest or after.attempt != before.attempt:
        store.write_forget_judging(row)
    journal.follow(row, after, event, claim, audit)
    if drew is not None:
        journal.begin(row, drew)
    labels.forget(store, row)
    comparing.keep(store, row)
    store.write_row(row)
    store.write_event(row, event)
    store.write_forget_units(row)
    store.write_forget_once(row)
    store.write_forget_reviews(row)
    store.write_forget_awaited(row)
    return row


def account(store: Rollouts, spec: Spec) -> Account:
    """From what the next candidate of a route draws its share of alpha: every basis of every rollout has drawn once."""
    promoted: list[bool] = []
    for row in reversed(store.rows(route=spec.route, limit=EVERY)):
        certified = any(phase == Phase.PROMOTED.value for _, phase, _ in store.events(row.id))
        promoted += [False] * (row.state.basis - 1) + [certified]
    return Account(tuple(promoted), spec.error_rate)


def renew(store: Rollouts, row: Row, why: str, at: float, routes: Mapping[str, Route]) -> None:
    """What the evidence is about has changed: it starts anew, with the reason shown."""
    data = {"share": account(store, row.state.spec).drawn.share}
    carry_out(store, row, Event("renew", at, row.state.version, reason=why, data=data), routes)


def thin(store: Rollouts, row: Row, now: float, routes: Mapping[str, Route]) -> bool:
    """Draw no more units' days than the route's budgets can pay; whether that has changed."""
    route = routes.get(row.state.spec.route)
    if route is None or not (route.shadow_budget.limited or route.audit_budget.limited):
        return False
    old = store.state.override(route)
    if old.rollout != row.id or row.state.phase not in STEPPING:
        return False
    wanted = _audited_bp(row)
    audit_bp, shadow_bp = (wanted if old.audit_bp is None else old.audit_bp), old.shadow_bp
    new = replace(
        old,
        audit_bp=thinning.share_bp(audit_bp, wanted, route.audit_budget, row.ledger, "served", now),
        shadow_bp=thinning.share_bp(
            route.shadow_bp if shadow_bp is None else shadow_bp, route.shadow_bp, route.shadow_budget, row.ledger, "copies", now
        ),
    )  # fmt: skip
    if (new.audit_bp, new.shadow_bp) == (audit_bp, route.shadow_bp if shadow_bp is None else shadow_bp):
        return False
    store.state.put(route.name, replace(new, version=old.version + 1))
    what = {
        "rollout": row.id,
        "audit_bp": new.audit_bp,
        "shadow_bp": new.shadow_bp,
        "why": "what the day's budgets can pay",
    }
    store.state.changed(f"route/{route.name}", "controller", what)
    row.table_version = store.state.version()
    return True


def upgrade(store: Rollouts, row: Row, at: float, routes: Mapping[str, Route]) -> None:
    """Hold a rollout that was begun under other gates; what it was doing stays as it is."""
    why, row.upgraded = row.upgraded, ""
    if row.state.phase in STEPPING:
        held = Event("hold", at, row.state.version, reason=why, data={"hold": Hold.METHOD.value})
        carry_out(store, row, held, routes)
    else:
        store.write_row(row)


def carry_threshold(store: Rollouts, row: Row, at: float, routes: Mapping[str, Route]) -> None:
    """A threshold was learnt, bettered or taken back: keep that, and tell the workers if the route is hybrid already."""
    if serving(row.state).mode == "hybrid":
        _change_route(store, row, Event("threshold", at, row.state.version, reason=row.learning.said), routes)
    store.write_row(row)


def begin(
    store: Rollouts, spec: Spec, task: Mapping[str, object], *, salt: str, at: float, who: str, why: str, key: str,
    check: Callable[[], None] = lambda: None,
) -> Row:  # fmt: skip
    """A new rollout, drafted and started; the one that was started with the same key if there is one. `check` may refuse
    a new one."""
    for row in store.rows(route=spec.route):
        if key and key in row.state.keys:
            return row
        if not row.at_rest and row.state.phase is not Phase.PROMOTED:
            raise RequestError(
                409, f"route {spec.route!r} is in rollout {row.id} ({row.state.phase}); end that first: "
                "graduand rollout abort, or rollback", code="rollout_running",
            )  # fmt: skip
    check()
    name = _free_name(store, spec.route)
    drew = account(store, spec)
    state = draft(name, spec, salt, at, drew.drawn.share)
    row = Row(state, ledgers.start(state), task, created_at=at, started_at=at)
    journal.begin(row, drew)
    return carry_out(store, row, Event("start", at, 0, actor=who, reason=why, key=key), {})


def _free_name(store: Rollouts, route: str) -> str:
    """Readable, and fit for an address; routes whose names differ in their slashes only must not share one."""
    number, base = store.number(route) + 1, route.replace("/", "-").replace(":", "-")
    while store.row(f"{base}-{number}") is not None:
        number += 1
    return f"{base}-{number}"


def _change_route(store: Rollouts, row: Row, event: Event, routes: Mapping[str, Route]) -> int | None:
    """Let the route do what the state says; the number of the change in the audit trail, None if there was none."""
    route = routes.get(row.state.spec.route)
    if route is None:  # the file has lost it: there is nothing to serve
        return None
    if row.state.phase is Phase.SUPERSEDED:  # the one that took its place says what the route does
        return None
    doing = serving(row.state)
    old = store.state.override(route)
    if doing == TEACHER and row.state.spec.keeps_incumbent and old.rollout != row.id:
        return None  # given back already: a retry takes nothing away before its first step
    if doing == TEACHER and row.incumbent is not None:
        new, row.incumbent = incumbents.restored(row, old.version + 1), None
    else:
        new = _override(row, old.version + 1, old.unit_salt or row.state.salt, _rule(row, old, route))
    store.state.put(route.name, replace(new, limit_bp=old.limit_bp))
    what: dict[str, Any] = {
        "rollout": row.id, "mode": new.mode, "weight_bp": new.weight_bp, "why": f"{event.kind}: {event.reason}",
    }  # fmt: skip
    if row.trail is not None:  # what was known when this was decided
        row.note_read(event.at)
        what["evidence"] = [row.trail.number, row.trail.head]
    number = store.state.changed(f"route/{route.name}", event.actor, what)
    row.table_version = store.state.version()
    return number


def _rule(row: Row, old: Override, route: Route) -> str | None:
    """By what units are assigned while the rollout runs: by what the file said when this attempt began."""
    if row.at_rest or row.state.phase is Phase.PROMOTED:
        return ""
    return old.unit if (old.rollout, old.salt) == (row.id, row.state.salt) else json.dumps(route.unit.order)


def _audited_bp(row: Row) -> int:
    """Of the answers of students, the share that also goes to the teacher. Beside an incumbent students answer everything, so
    it is the stated share of all traffic at any weight."""
    spec = row.state.spec
    share = spec.audit if row.incumbent is not None else audit_share(spec, serving(row.state).weight_bp)
    return round(share * BUCKETS)


def _override(row: Row, version: int, unit_salt: str, unit: str | None) -> Override:
    doing, spec, released = serving(row.state), row.state.spec, thresholds.released_by(row)
    return Override(
        version,
        doing.mode,
        doing.weight_bp,
        adapter=spec.student if doing != TEACHER else None,
        rollout=row.id,
        salt=row.state.salt,
        audit_bp=_audited_bp(row),
        logprobs=row.wants_threshold,
        threshold=None if released is None else json.dumps(released),
        incumbent=incumbents.carried(row),
        unit_salt=unit_salt,
        unit=unit,
    )


def _check_awake(store: Rollouts, row: Row) -> None:
    """A promoted student that another rollout keeps as its incumbent is given back first, and then rolled back."""
    other = incumbents.sleeping(row, {one.id: one for one in store.rows(route=row.state.spec.route)})
    if other is not None:
        raise RequestError(
            409, f"route {row.state.spec.route!r} is moved by rollout {other.id}, which keeps the student of {row.id} in "
            f"service; end that first: graduand rollout abort {other.id}", code="rollout_running",
        )  # fmt: skip


def _version(store: Rollouts, row: Row, routes: Mapping[str, Route]) -> int:
    route = routes.get(row.state.spec.route)
    return store.state.override(route).version if route is not None else 0


def _supersede_others(store: Rollouts, row: Row, event: Event) -> None:
    for other in store.rows(route=row.state.spec.route):
        if other.id != row.id and other.state.phase is Phase.PROMOTED:
            reason = f"{row.id} took its place"
            ending = Event("supersede", event.at, other.state.version, actor=event.actor, reason=reason)
            carry_out(store, other, ending, {})


def taken_over(store: Rollouts, route: str, who: str, at: float) -> None:
    """A route is about to be changed by hand: refuse while a rollout moves it, end the watch of a promoted one."""
    for row in store.rows(route=route):
        if row.state.phase is Phase.PROMOTED:
            reason = "the route was changed by hand"
            carry_out(store, row, Event("supersede", at, row.state.version, actor=who, reason=reason), {})
        elif not row.at_rest:
            raise RequestError(
                409, f"route {route!r} is moved by rollout {row.id} ({row.state.phase}); use graduand rollout pause, "
                "abort or rollback", code="rollout_running",
            )  # fmt: skip


def applied(store: Rollouts, row: Row, workers: int) -> bool:
    """Whether every worker serves by a table that has this rollout's last route change."""
    return store.state.all_serve(row.table_version, workers)
