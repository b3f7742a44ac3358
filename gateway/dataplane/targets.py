"""A route as the hot path wants it: everything that does not depend on the request, worked out once for each table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from graduand.gateway.dataplane.dialects.dialect import Addressee
from graduand.gateway.dataplane.fleet import Fleet, ReplicaState, UpstreamState
from graduand.gateway.dataplane.units import Source, sources_of
from graduand.gateway.model.routes import FIRST_TOKEN_S, Route, RouteTable, Student, Teacher, Timeouts
from graduand.gateway.model.routing import STUDENT, TEACHER, Decision
from graduand.monitoring.checks import written
from graduand.monitoring.checks.judging import Checks
from graduand.monitoring.prices import Price, price_of
from graduand.rollout.hybrid.scorer import Scorer, scorer_from_dict


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One arm of one route: whom to ask, for which model, and how to read what comes back.

    `addressee` is what a dialect is told of it, `plain_addressee` the same for requests to which nothing is to be added.
    `first_token_s` is how long a stream may be silent before its first token (infinity: until `times.total_s`).
    `fallback_behind`: another arm answers if this one does not. `price` is the one by tokens, if there is one. `replicas` are
    those of the upstream that have the model ready; `base` is the model below an adapter, where that is known.
    """

    arm: str
    upstream: UpstreamState
    upstream_name: str
    model: str
    addressee: Addressee
    plain_addressee: Addressee
    times: Timeouts
    first_token_s: float
    fallback_behind: bool
    replicas: list[ReplicaState]
    price: Price | None = None
    base: str | None = None

    @property
    def adapter(self) -> str:
        """The student's adapter; empty for the teacher."""
        return self.model if self.arm == STUDENT else ""


@dataclass(frozen=True, slots=True, eq=False)
class RouteTargets:
    """A route with its arms resolved."""

    route: Route
    teacher: Target
    student: Target | None
    scorer: Scorer | None  # what a hybrid route judges the student's answers by
    checks: Checks  # what every answer is checked by
    incumbent: Target | None = None  # the student in service, while a rollout tries another
    incumbent_scorer: Scorer | None = None
    units: tuple[Source, ...] = ()  # where a request says whom it is for

    def student_of(self, decision: Decision) -> Target | None:
        """The student that a decision means."""
        return self.incumbent if decision.incumbent else self.student

    def scorer_of(self, decision: Decision) -> Scorer | None:
        """What the answers of that student are judged by, if it is to answer only when it is sure."""
        return self.incumbent_scorer if decision.incumbent else self.scorer

    def copied_to(self, decision: Decision, arm: str) -> list[Target]:
        """Who gets a copy of a request that `arm` has answered: everybody else whose answer is compared."""
        others: list[Target | None] = [self.student] if arm == TEACHER else [self.teacher]
        if arm == STUDENT and self.incumbent is not None:
            others.append(self.student if decision.incumbent else self.incumbent)
        return [target for target in others if target is not None]


def resolve(table: RouteTable, fleet: Fleet, prices: Mapping[str, Price]) -> dict[str, RouteTargets]:
    """The routes of a table, by name; routes whose upstream the fleet does not know are left out."""
    resolved = {}
    for name, route in table.routes.items():
        student = route.student
        if route.teacher.upstream not in fleet.upstreams or (student and student.upstream not in fleet.upstreams):
            continue
        fallback = route.falls_back
        incumbent = route.incumbent if student is not None else None
        resolved[name] = RouteTargets(
            route,
            _target(TEACHER, table, fleet, route, route.teacher, route.teacher.model, prices, fallback_behind=False),
            None
            if student is None
            else _target(STUDENT, table, fleet, route, student, student.adapter, prices, fallback_behind=fallback),
            scorer_from_dict(route.threshold) if route.mode == "hybrid" and route.threshold is not None else None,
            Checks(written.of_route(route.checks, route.task)),
            None
            if incumbent is None or student is None
            else _target(STUDENT, table, fleet, route, student, incumbent.adapter, prices, fallback_behind=fallback),
            scorer_from_dict(incumbent.threshold)
            if incumbent is not None and incumbent.mode == "hybrid" and incumbent.threshold is not None
            else None,
            sources_of(route.unit),
        )
    return resolved


def _target(
    arm: str, table: RouteTable, fleet: Fleet, route: Route, of: Teacher | Student, model: str,
    prices: Mapping[str, Price], *, fallback_behind: bool,
) -> Target:  # fmt: skip
    state, times = fleet[of.upstream], route.timeouts
    replicas = state.with_ready(table.ready.get((of.upstream, model)))
    kind, encoded, responses = state.upstream.kind, orjson.dumps(model), state.upstream.speaks_responses
    first_token_s = of.first_token_s
    if first_token_s is None:
        first_token_s = _patience_s(times, fallback_behind=fallback_behind, replicas=len(replicas))
    return Target(
        arm, state, of.upstream, model, Addressee(kind, model, encoded, responses=responses),
        Addressee(kind, model, encoded, adds_usage=False, responses=responses), times, first_token_s, fallback_behind, replicas,
        price_of(prices, model), table.bases.get(model) if arm == STUDENT else None,
    )  # fmt: skip


def _patience_s(times: Timeouts, *, fallback_behind: bool, replicas: int) -> float:
    """How long a model that says nothing of it may be silent. The default is meant for where somebody else can answer: to cut
    a model that has nobody behind it helps nobody, and is paid for."""
    if fallback_behind or times.first_token_s != FIRST_TOKEN_S:
        return times.first_token_s
    return times.total_s / 2 if replicas > 1 else math.inf
