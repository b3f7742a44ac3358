"""The run-time state, by whatever its hashes are kept: a SQLite file (gateway.state.sqlite) or Redis (gateway.state.redis_store).

Invariants: a change is a compare-and-swap on the route's version, in one transaction with its audit event; the store's
own `version` grows with every change, and audit events are chained by hashes (gateway.state.trail). What stands in a store
wins over the configuration file. Rollouts live in the same store (gateway.control.store), so a decision and the route change
that it means are one transaction.
"""

import json
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from graduand.gateway.errors import GraduandError
from graduand.gateway.model.routes import TEACHER_ALONE, USER_ORDER, Incumbent, Mode, Route, RouteTable, Student, Unit
from graduand.gateway.state import trail
from graduand.gateway.state.hashes import Hashes, StateError

if TYPE_CHECKING:
    from graduand.gateway.state.redis_stream import Stream


# A store's version, and a token that no other change has.
Mark = tuple[int, bytes | None]


class NothingLost(StateError):
    """There is no lost store to replace."""


class Conflict(GraduandError, ValueError):
    """Somebody else changed the route first; `current` is its version now."""

    def __init__(self, route: str, given: int, current: int) -> None:
        super().__init__(f"route {route!r} is at version {current}, not {given}: read it again and repeat the change")
        self.current = current


@dataclass(frozen=True, slots=True)
class Override:
    """What was changed of a route since the file was written; None is 'as in the file'."""

    version: int
    mode: Mode | None = None
    weight_bp: int | None = None
    adapter: str | None = None
    rollout: str | None = None
    salt: str | None = None
    audit_bp: int | None = None
    logprobs: bool | None = None
    threshold: str | None = None  # as JSON: it is only carried here
    incumbent: str | None = None  # as JSON: the fields of an Incumbent
    limit_bp: int | None = None  # the most that the student gets while an alarm stands
    shadow_bp: int | None = None  # what the day's budget can pay of the route's own share
    unit_salt: str | None = None  # of the route's first rollout, and kept for ever
    unit: str | None = None  # as JSON: the order by which the rollout began to assign units; empty: the file's

    def applied(self, route: Route) -> Route:
        """The route as it is served."""
        student = route.student
        if student is not None and self.adapter is not None:
            student = replace(student, adapter=self.adapter)
        # The file may have lost its student since the change: then the teacher answers.
        mode = route.mode if self.mode is None or student is None else self.mode
        mode, weight_bp = self._limited(mode, route.weight_bp if self.weight_bp is None else self.weight_bp)
        return replace(
            route,
            mode=mode,
            weight_bp=weight_bp,
            student=student,
            rollout=self.rollout or route.rollout,
            salt=self.salt or route.salt,
            unit_salt=self.unit_salt or route.unit_salt,
            shadow_bp=route.shadow_bp if self.shadow_bp is None else min(self.shadow_bp, route.shadow_bp),
            audit_bp=route.audit_bp if self.audit_bp is None else self.audit_bp,
            logprobs=route.logprobs if self.logprobs is None else bool(self.logprobs),
            threshold=self._threshold(student),
            incumbent=self._incumbent(student),
            limit_bp=self.limit_bp,
            unit=self._unit(route.unit),
            version=self.version,
        )

    def _unit(self, configured: Unit) -> Unit:
        """A rollout keeps the rule that it began with, or units would change their arms in the middle of it."""
        if not self.rollout or self.unit == "":
            return configured
        if self.unit is not None:
            return Unit(tuple(json.loads(self.unit)))
        # It began when `user` meant that member alone.
        return Unit(USER_ORDER[:1]) if configured.order == USER_ORDER else configured

    def _incumbent(self, student: Student | None) -> Incumbent | None:
        """The student that stands in for the teacher; not while an alarm gives the route to the teacher himself."""
        if not self.incumbent or student is None or self.limit_bp == 0:
            return None
        return Incumbent(**json.loads(self.incumbent))

    def _limited(self, mode: Mode, weight_bp: int) -> tuple[Mode, int]:
        """Mode and weight under the limit. What is to be taken from the student altogether is still copied to it, so
        that it can be seen to recover; so is a hybrid route's, whose share nobody sets."""
        if self.limit_bp is None or mode in TEACHER_ALONE:
            return mode, weight_bp
        if self.limit_bp == 0 or mode == "hybrid":
            return "shadow", 0
        return "canary", min(10_000 if mode == "student" else weight_bp, self.limit_bp)

    def _threshold(self, student: Student | None) -> dict[str, Any] | None:
        """A threshold holds for the adapter that it was learnt with, and for no other."""
        stored: dict[str, Any] = json.loads(self.threshold) if self.threshold else {}
        fits = student is not None and bool(stored) and stored["threshold"]["adapter"] == student.adapter
        return stored if fits else None


@dataclass(frozen=True, slots=True)
class Registered:
    """An adapter that was put on an upstream by `adapters add`.

    `base` is the model that it was trained on, as its own configuration names it; None if that is not known.
    """

    name: str
    upstream: str
    path: str
    added_at: float
    base: str | None = None


def _event(number: str, stored: bytes, hashed: bytes | None) -> dict[str, Any]:
    at, subject, who, what = json.loads(stored)
    hash_ = None if hashed is None else hashed.decode()
    return {"number": int(number), "hash": hash_, "time": at, "subject": subject, "who": who, **what}


def table_of(version: int, overrides: Mapping[str, Override], routes: Mapping[str, Route]) -> RouteTable:
    """The configured `routes` with the overrides applied."""
    return RouteTable(
        version,
        {name: overrides[name].applied(route) if name in overrides else route for name, route in routes.items()},
    )


class StateStore(ABC):
    """Routes, adapters, audit, and who serves by what. Not for two threads at once."""

    # How often a worker says by what it serves even if nothing has changed, and how long one is waited for that does not.
    heartbeat_s = math.inf
    gone_s = math.inf
    # How many changes are remembered.
    events_kept: int | None = None
    # Where several replicas share the store: this one's name, and the way of its lines to the replica that leads.
    replica: str | None = None
    stream: "Stream | None" = None

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch by the clock that all who share the store go by."""

    @abstractmethod
    def serves(self, worker: str, version: int) -> None:
        """A worker says which version of the table it serves by."""

    @abstractmethod
    def all_serve(self, version: int, workers: int) -> bool:
        """Whether every worker serves by this version or a later one; `workers`: how many one replica has."""

    # What a store that can be away, emptied or exchanged does more; a file cannot.

    def found(self) -> None:  # noqa: B027
        """Make a store that is new ready for use."""

    def accept(self, who: str, why: str) -> list[str]:
        """Take what is there now for the store, with the routes that were known; their names. Raises NothingLost."""
        raise NothingLost("the state is a SQLite file: nothing took its place")

    def risks(self) -> list[str]:
        """How the store may lose what it is told, if it is set up so."""
        return []

    def keep(self) -> None:  # noqa: B027
        """Keep a copy of the last snapshot on this machine's disk."""

    def last_known(self, routes: Mapping[str, Route]) -> RouteTable | None:
        """What to serve by as long as the store has not been read; None if there is no such case."""
        return None

    def leave(self, worker: str) -> None:  # noqa: B027
        """A worker ends and is not waited for any more."""

    # What is the same for all.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside; nobody else writes meanwhile."""
        with self.hashes.transaction():
            yield

    def version(self) -> int:
        """The store's version: it grows with every change."""
        return self.mark()[0]

    def mark(self) -> Mark:
        """What is another one after every change, also if the store should go back to an earlier version."""
        version, mark = self.hashes.many("meta", ["version", "mark"])
        return int(version or 0), mark

    def snapshot(self) -> tuple[int, dict[str, Override]]:
        """Version and overrides of one moment: read again if something changed meanwhile."""
        while True:
            mark = self.mark()
            overrides = self.overrides()
            if self.mark() == mark:
                return mark[0], overrides

    def overrides(self) -> dict[str, Override]:
        """What was changed, by route."""
        found = self.hashes.all("routes")
        try:
            return {name: Override(**json.loads(one)) for name, one in found.items()}
        except (TypeError, ValueError) as error:
            raise StateError(
                f"a route was written by another version of Graduand ({error}): upgrade this one"
            ) from error

    def put(self, name: str, new: Override) -> None:
        """Write what is changed of a route; only inside a transaction, together with `changed`."""
        self.hashes.set("routes", name, json.dumps(asdict(new)))

    def changed(self, subject: str, who: str, what: Mapping[str, Any]) -> int:
        """Note a change and who made it; only inside a transaction. Workers look for a new table after it. The event's
        number, from 1 on."""
        hashes = self.hashes
        hashes.next("meta", "version")
        hashes.set("meta", "mark", secrets.token_hex(8))
        number = hashes.next("meta", "events")
        hashes.set("events", str(number), json.dumps([self.now(), subject, who, what]))
        trail.link(hashes)
        if self.events_kept is not None:
            gone = [str(number - self.events_kept)]
            hashes.unset("events", gone)
            hashes.unset(trail.KEY, gone)
        return number

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest changes, newest first, each with its number and its hash in the audit trail."""
        newest = self.hashes.number("meta", "events")
        numbers = [str(number) for number in range(newest, max(0, newest - limit), -1)]
        found = zip(numbers, self.hashes.many("events", numbers), self.hashes.many(trail.KEY, numbers), strict=True)
        return [_event(number, one, hashed) for number, one, hashed in found if one is not None]

    def trail(self, first: int) -> list[trail.Link]:
        """The audit trail's links from event number `first` to the newest; those that are kept."""
        return trail.links(self.hashes, first)

    def link_trail(self) -> None:
        """Give events of an earlier version, which kept no hashes, their places in the chain."""
        if trail.is_behind(self.hashes):
            with self.transaction():
                trail.link(self.hashes)

    def served(self) -> dict[str, int]:
        """By worker, the version of the table that it serves by; those only that were heard of lately."""
        return {worker: version for worker, (version, age_s) in self._heard().items() if age_s <= self.gone_s}

    def adapters(self) -> list[Registered]:
        """The registered adapters."""
        found = [Registered(*json.loads(one)) for one in self.hashes.all("adapters").values()]
        return sorted(found, key=lambda one: (one.name, one.upstream))

    def lease(self, name: str) -> tuple[str, int, float]:
        """Who holds a lease, under which token, and until when; see gateway.state.lease."""
        holder, token, until = json.loads(self.hashes.get("lease", name) or '["", 0, 0.0]')
        return holder, token, until

    def put_lease(self, name: str, holder: str, token: int, until: float) -> None:
        """Write a lease; only inside a transaction."""
        self.hashes.set("lease", name, json.dumps([holder, token, until]))

    def table(self, routes: Mapping[str, Route]) -> RouteTable:
        """The configured `routes` with what was changed at run time applied."""
        table = table_of(*self.snapshot(), routes)
        # A name says exactly which bytes it stands for, so wherever it is served it has the same base.
        return replace(table, bases={one.name: one.base for one in self.adapters() if one.base is not None})

    def table_inside(self, routes: Mapping[str, Route]) -> dict[str, Route]:
        """The routes as they are served, for a caller that is in a transaction already."""
        return table_of(0, self.overrides(), routes).routes

    def override(self, route: Route) -> Override:
        """What was changed of one route."""
        return self.overrides().get(route.name, Override(route.version))

    def change_route(
        self, route: Route, *, who: str, why: str = "", version: int | None = None, mode: Mode | None = None,
        weight_bp: int | None = None, adapter: str | None = None, reset: bool = False,
        inside: Callable[[], None] = lambda: None,
    ) -> int:  # fmt: skip
        """Change a configured route at run time and return its new version.

        `route` is the route of the file. Raises Conflict if `version` is given and is not the present one. `reset` makes
        the route as the file has it before the rest is applied. `inside` runs in the same transaction and may refuse.
        """
        with self.transaction():
            old = self.override(route)
            if version is not None and version != old.version:
                raise Conflict(route.name, version, old.version)
            inside()
            kept = Override(old.version) if reset else old
            # Set by hand, a route no longer belongs to a rollout: neither its id nor its salt stay, but what was learnt
            # and the audit do. What an alarm limited is given back: a person has decided.
            new = Override(
                old.version + 1,
                kept.mode if mode is None else mode,
                kept.weight_bp if weight_bp is None else weight_bp,
                kept.adapter if adapter is None else adapter,
                audit_bp=kept.audit_bp, logprobs=kept.logprobs, threshold=kept.threshold, unit_salt=old.unit_salt,
            )  # fmt: skip
            self.put(route.name, new)
            what = {
                "mode": mode,
                "weight_bp": weight_bp,
                "adapter": adapter,
                "reset": reset or None,
                "why": why or None,
            }
            self.changed(f"route/{route.name}", who, {key: value for key, value in what.items() if value is not None})
        return new.version

    def add_adapter(self, name: str, upstream: str, path: str, *, who: str, base: str | None = None) -> None:
        """Register an adapter; again is no error."""
        with self.transaction():
            row = json.dumps([name, upstream, path, self.now(), base])
            self.hashes.set("adapters", f"{name} {upstream}", row)
            self.changed(f"adapter/{name}", who, {"add": path, "upstream": upstream})

    def remove_adapter(self, name: str, upstream: str, *, who: str) -> None:
        """Forget an adapter."""
        with self.transaction():
            self.hashes.unset("adapters", [f"{name} {upstream}"])
            self.changed(f"adapter/{name}", who, {"remove": True, "upstream": upstream})

    def _heard(self) -> dict[str, tuple[int, float]]:
        """By worker, which version it said that it serves by, and how many seconds ago."""
        now, found = self.now(), self.hashes.all("served")
        said = {worker: one.split() for worker, one in found.items()}
        return {worker: (int(version), now - float(at)) for worker, (version, at) in said.items()}
