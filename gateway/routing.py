"""Who answers a request: a pure function of the route, the unit and the request's id.

Invariant: while a route's weight rises, no unit that had the student loses it (rollout.assignment nests). Never hashes a
constant: without a unit, the request's id is hashed and the decision says so.
"""

from typing import NamedTuple

from gateway.routes import Route
from rollout.assignment import arm as arm_of
from rollout.assignment import bucket as bucket_of

TEACHER, STUDENT = "teacher", "student"


class Decision(NamedTuple):
    """The arm that answers first, why, and what the log needs to weigh the record later.

    `probability` is the probability with which this arm was drawn; `bucket` the unit's place out of 10,000;
    `unit_missing` says that the request named no unit; `shadow` that the student gets a copy as well.
    A named tuple, because it is made for every request and a frozen dataclass costs four times as much to make.
    """

    arm: str
    reason: str
    probability: float
    bucket: int
    unit_missing: bool
    shadow: bool


def decide(route: Route, unit: str | None, request_id: str) -> Decision:
    """Assign one request. `unit` is None when the request carries none; `request_id` is unique to the request."""
    missing = unit is None
    place = bucket_of(route.salt, route.rollout or route.name, request_id if unit is None else unit)
    mode = route.mode
    if mode == "student":
        return Decision(STUDENT, "student", 1.0, place, missing, False)
    if mode == "canary":
        side = arm_of(place, route.weight_bp)
        if side == "treatment":
            return Decision(STUDENT, "canary", route.weight_bp / 10_000, place, missing, False)
        reason = "control" if side == "control" else TEACHER
        return Decision(TEACHER, reason, 1 - route.weight_bp / 10_000, place, missing, _shadowed(route, request_id))
    shadow = mode == "shadow" and _shadowed(route, request_id)
    return Decision(TEACHER, TEACHER, 1.0, place, missing, shadow)


def _shadowed(route: Route, request_id: str) -> bool:
    if route.shadow_bp >= 10_000:
        return True
    return route.shadow_bp > 0 and bucket_of("shadow", route.name, request_id) < route.shadow_bp
