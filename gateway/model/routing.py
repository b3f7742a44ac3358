"""Who answers a request: a pure function of the route, the unit and the request's id.

Invariant: while a route's weight rises, no unit that had the student loses it (rollout.assignment nests). Never hashes a
constant: without a unit, the request's id is hashed and the decision says so. Copies are drawn by unit and day, never by
request: of a session all of it is compared, or none.
"""

from typing import Final, NamedTuple

import mmh3

from graduand.gateway.model.routes import Route
from graduand.rollout.assignment import BUCKETS, drawn, unit_hash, unit_key
from graduand.rollout.assignment import arm as arm_of

TEACHER: Final = "teacher"
STUDENT: Final = "student"
CONFIDENT: Final = "hybrid:confident"
DEFERRED: Final = "hybrid:deferred"


class Decision(NamedTuple):
    """The arm that answers first, why, and what the log needs to weigh the record later.

    `probability` is the probability with which this arm was drawn; `bucket` the unit's place out of 10,000;
    `unit_missing` says that the request named no unit; `shadow` that the other arm gets a copy as well: the student in
    the shadow, or the teacher to audit the student. `rollout`,
    `route_version` and `unit_hash` say under which rollout, at which version of the route, and for whom it was taken.
    `incumbent`: the student that is meant is the one in service, not the one that a rollout tries. `unit` is the unit's
    hash that stays the same over rollouts (0: the request names none), and `drawn_bp` with which probability, in basis
    points, the other arm's copy was drawn: for all of a unit's requests of a day alike.
    A named tuple, because it is made for every request and a frozen dataclass costs four times as much to make.
    """

    arm: str
    reason: str
    probability: float
    bucket: int
    unit_missing: bool
    shadow: bool
    rollout: str = ""
    route_version: int = 0
    unit_hash: int = 0
    incumbent: bool = False
    unit: int = 0
    drawn_bp: int = 0


def preference(replica: str, model: str) -> int:
    """How much an adapter is drawn to a replica (by its URL): the replica with the least number is the preferred one.

    Where adapters are placed and where they are asked follow this one rule, or an adapter would be asked where it is
    cold. Rendezvous hashing (Thaler and Ravishankar, 1998).
    """
    return mmh3.hash(replica + model, signed=False)


def decide(route: Route, unit: str | None, request_id: str, now: float) -> Decision:
    """Assign one request at `now` (seconds since 1970). `unit` is None when the request carries none; `request_id` is
    unique to the request."""
    missing = unit is None
    whose = request_id if unit is None else unit
    key = unit_hash(route.salt, route.rollout or route.name, whose)
    stable = 0 if missing else unit_key(route.unit_salt or route.name, whose)
    place = key % BUCKETS
    if route.incumbent is not None and _keeps(route, place):
        return _kept(route, place, _audited(route, whose, now), missing, key, stable)
    arm, reason, probability, shadow, drawn_bp = _drawn(route, place, whose, now)
    return Decision(
        arm, reason, probability, place, missing, shadow, route.rollout, route.version, key, False, stable, drawn_bp
    )


def _keeps(route: Route, place: int) -> bool:
    """Whether the incumbent answers where the teacher would, if there were none."""
    mode = route.mode
    if mode == "canary":
        return arm_of(place, route.weight_bp) != "treatment"
    return mode == "shadow" or (mode == "hybrid" and route.threshold is None)


def _kept(route: Route, place: int, shadow: bool, missing: bool, key: int, stable: int) -> Decision:
    incumbent = route.incumbent
    control = route.mode == "canary" and arm_of(place, route.weight_bp) == "control"
    reason = "control" if control else "student"
    if incumbent is not None and incumbent.mode == "hybrid":
        reason = CONFIDENT  # unless it turns out not to be
    probability = 1 - route.weight_bp / 10_000 if route.mode == "canary" else 1.0
    return Decision(
        STUDENT,
        reason,
        probability,
        place,
        missing,
        shadow,
        route.rollout,
        route.version,
        key,
        True,
        stable,
        route.audit_bp,
    )


def _drawn(route: Route, place: int, whose: str, now: float) -> tuple[str, str, float, bool, int]:
    """Arm, reason, probability of the arm, whether the other one gets a copy, and with which probability."""
    mode = route.mode
    if mode == "student":
        return STUDENT, "student", 1.0, _audited(route, whose, now), route.audit_bp
    if mode == "canary":
        side = arm_of(place, route.weight_bp)
        if side == "treatment":
            return STUDENT, "canary", route.weight_bp / 10_000, _audited(route, whose, now), route.audit_bp
        reason = "control" if side == "control" else TEACHER
        return TEACHER, reason, 1 - route.weight_bp / 10_000, _shadowed(route, whose, now), route.shadow_bp
    if mode == "hybrid":
        # Without a threshold nobody knows how sure is sure enough: the teacher answers, and copies teach one.
        if route.threshold is None:
            return TEACHER, DEFERRED, 1.0, _shadowed(route, whose, now), route.shadow_bp
        return STUDENT, CONFIDENT, 1.0, _audited(route, whose, now), route.audit_bp
    return TEACHER, TEACHER, 1.0, mode == "shadow" and _shadowed(route, whose, now), route.shadow_bp


def deferred(route: Route, decision: Decision, unit: str | None, request_id: str, now: float) -> Decision:
    """The decision for a request that a hybrid route's student cannot be asked about."""
    whose = request_id if unit is None else unit
    beside = route.incumbent is not None
    shadow = _audited(route, whose, now) if beside else _shadowed(route, whose, now)
    return Decision(
        TEACHER, DEFERRED, 1.0, decision.bucket, decision.unit_missing, shadow, decision.rollout,
        decision.route_version, decision.unit_hash, False, decision.unit, route.audit_bp if beside else route.shadow_bp,
    )  # fmt: skip


def _shadowed(route: Route, whose: str, now: float) -> bool:
    return drawn("shadow", route.name, whose, now, route.shadow_bp)


def _audited(route: Route, whose: str, now: float) -> bool:
    return drawn("audit", route.name, whose, now, route.audit_bp)
