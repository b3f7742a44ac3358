"""What another split of the traffic would have earned, from any gateway's log: what `graduand rollout evaluate-policy` shows.

The policy in question gives the student to a share of the users, drawn as canary steps draw them. Arms are those that were
assigned, so a request that fell back to the teacher is the student's. Requests whose arm was decided without drawing (by
mode `teacher` or `student`, or by a confidence cut) are not covered, and the answer is then a refusal that says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.gateway.logs.reading import Reader, Source
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routing import STUDENT, TEACHER
from graduand.rollout.offpolicy.decisions import Decision, Reward
from graduand.rollout.offpolicy.estimates import Estimate, Method, estimate, guesses

Json = dict[str, Any]
METHODS: tuple[Method, ...] = ("ips", "snips", "dr")


def _seconds(record: Record) -> float | None:
    total = record["timings"]["total_ms"]
    return None if total is None or not record["completed"] else total / 1000


REWARDS: dict[str, tuple[Reward, Callable[[Record], float | None]]] = {
    "answered": (
        Reward("answered", "share of requests that the assigned arm answered without a failure"),
        lambda record: float(not reader.failure(record)),
    ),
    "cost": (Reward("cost", "dollars a request, by the declared prices", False), lambda record: record["cost"]),
    "seconds": (Reward("seconds", "seconds until the answer was whole", False), _seconds),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Which traffic, which policy and which reward. `weight`: percent of users that would have the student."""

    route: str
    weight: float
    reward: str
    since: float = 0.0  # seconds since 1970
    until: float = float("inf")


def evaluate(source: Source, asked: Question) -> Json:
    """The policy's value by each method; raise CannotEvaluate where the log does not cover it."""
    if asked.reward not in REWARDS:
        hint = did_you_mean(asked.reward, REWARDS)
        raise ConfigError(f"there is no reward {asked.reward!r}.{hint} There are: {', '.join(REWARDS)}")
    if not 0 <= asked.weight <= 100:
        raise ConfigError(f"--weight is in percent of users, 0 to 100; it is {asked.weight:g}")
    reward, earned = REWARDS[asked.reward]
    decisions, left_out = [], 0
    for record in filter(None, map(reader.record_of, Reader(source))):
        wanted = record["role"] == "served" and record["route"] == asked.route
        if not wanted or not asked.since <= record["time"] < asked.until:
            continue
        value = earned(record)
        if value is None:
            left_out += 1
        else:
            decisions.append(_decision(record, value, asked.weight / 100))
    return _told(asked, reward, [estimate(guesses(decisions), reward, method) for method in METHODS], left_out)


def _decision(record: Record, value: float, share: float) -> Decision:
    arm, p = record["assigned_arm"], record["arm_probability"]
    other = TEACHER if arm == STUDENT else STUDENT
    logged = {arm: p, other: 1 - p}
    unit = record["unit_hash"] if record["unit"] is None else record["unit"]
    return Decision(unit, arm, value, logged, {STUDENT: share, TEACHER: 1 - share})


def _told(asked: Question, reward: Reward, found: list[Estimate], left_out: int) -> Json:
    return {
        "route": asked.route, "weight": asked.weight, "reward": reward.name, "means": reward.means,
        "higher_is_better": reward.higher_is_better, "without_reward": left_out,
        "estimates": [one.to_dict() for one in found],
    }  # fmt: skip


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO date or time; without a zone it is this machine's.

    >>> moment("2026-01-01T00:00:00+00:00")
    1767225600.0
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ConfigError(f"{text!r} is no ISO date or time, such as 2026-11-30T09:00") from None
