"""The consequence of a drift alarm, with hysteresis: it stands until a person or enough clean requests end it.

Pure. Invariant: a verdict that stands is only prolonged by further alarms, never begun again; one that ends by itself and
comes back within a day needs twice as many clean requests each time, so a route never flaps.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

REMEMBERED_S = 86_400.0
DOUBLINGS = 6
SEEN = 32


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a detector saw: `n` observations since it began, `detail` in words."""

    id: str
    route: str
    adapter: str
    monitor: str
    at: float
    n: int
    value: float
    threshold: float
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """`limit_bp`: the most that the student keeps; `held`: the rollout that it holds; `needed` clean requests and
    `min_time_s` since the last alarm end it if it is `auto`; `n_at` is where the last alarm was."""

    route: str
    monitor: str
    adapter: str
    action: str
    limit_bp: int | None
    auto: bool
    needed: int
    min_time_s: float
    since: float
    last_at: float
    n_at: int
    alarms: int
    trips: int
    why: str
    seen: tuple[str, ...] = ()  # ids of the latest alarms: one that arrives twice counts once
    active: bool = True
    held: str = ""
    ended_at: float = 0.0
    ended_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "seen": list(self.seen)}


def verdict_from_json(data: Mapping[str, Any]) -> DriftVerdict:
    """The verdict that `to_json` described."""
    return DriftVerdict(**{**data, "seen": tuple(data["seen"])})


def raised(
    old: DriftVerdict | None, alarm: Alarm, *, action: str, limit_bp: int | None, auto: bool, clean_requests: int,
    min_time_s: float,
) -> DriftVerdict:  # fmt: skip
    """The verdict after an alarm."""
    if old is not None and alarm.id in old.seen:
        return old
    why = f"{alarm.monitor}: {alarm.detail}"
    seen = (*(old.seen if old is not None else ()), alarm.id)[-SEEN:]
    if old is not None and old.active:
        last_at = max(old.last_at, alarm.at)
        return replace(old, last_at=last_at, n_at=alarm.n, alarms=old.alarms + 1, why=why, seen=seen)
    again = old is not None and alarm.at - old.ended_at < REMEMBERED_S
    trips = old.trips + 1 if again and old is not None else 1
    return DriftVerdict(
        alarm.route, alarm.monitor, alarm.adapter, action, limit_bp, auto or action == "flag",
        clean_requests << min(trips - 1, DOUBLINGS), min_time_s, alarm.at, alarm.at, alarm.n, 1, trips, why, seen,
    )  # fmt: skip


def counted(verdict: DriftVerdict, n: int) -> DriftVerdict:
    """The detector is at observation `n`; one that was begun again counts from nothing."""
    return replace(verdict, n_at=0) if n < verdict.n_at else verdict


def clean(verdict: DriftVerdict, n: int, now: float) -> str:
    """Why the verdict may end by itself; empty while it may not."""
    if not verdict.auto or n - verdict.n_at < verdict.needed or now - verdict.last_at < verdict.min_time_s:
        return ""
    return f"{n - verdict.n_at:,} observations and {now - verdict.last_at:.0f} s without an alarm"


def ended(verdict: DriftVerdict, now: float, by: str) -> DriftVerdict:
    """The verdict, no longer standing."""
    return replace(verdict, active=False, ended_at=now, ended_by=by, held="")


def sentence(verdict: DriftVerdict) -> str:
    """What stands, why, and what ends it."""
    limit = verdict.limit_bp or 0
    does = {
        "flag": "shown only",
        "hold": "rollouts of this route are held",
        "lower": f"the student keeps at most {limit / 100:g}%",
        "teacher": "the teacher answers everything",
    }[verdict.action]
    ends = (
        f"ends after {verdict.needed:,} observations and {verdict.min_time_s:g} s without an alarm"
        if verdict.auto
        else f"ends by graduand monitors release {verdict.route} {verdict.monitor}"
    )
    times = f" ({verdict.alarms} alarms)" if verdict.alarms > 1 else ""
    return f"{verdict.why}{times}; {does}; {ends}"
