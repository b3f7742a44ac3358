"""The configuration's `routes.NAME.monitors`: pydantic at the edge, a frozen dataclass inside.

A route keeps the section as plain data (it travels as JSON to the processes); `read` gives its meaning. Every monitor is
on with the action `flag` unless the file says otherwise; `false` turns one off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MONITORS = ("novelty", "mix", "descriptors", "gate_failures", "outputs")
ACTIONS = ("flag", "hold", "lower", "teacher")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MonitorSection(_Section):
    """One monitor: what it promises and what its alarm does."""

    false_alarm_every: float = Field(
        10_000, ge=100, le=1e9, description="requests between false alarms, at least, on average"
    )
    action: Literal["flag", "hold", "lower", "teacher"] = Field(
        "flag",
        description="what an alarm does: it is shown; holds the running rollout; also lowers the student to `share`; gives "
        "the route to the teacher",
    )
    share: Annotated[float, Field(gt=0, lt=100)] | None = Field(
        None, description="percent that the student keeps; for `lower`, and needed by it"
    )
    resume: Literal["person", "auto"] = Field("person", description="who ends it: a person, or clean requests")
    clean_requests: int = Field(2_000, ge=1, description="for `auto`: observations without an alarm")
    min_time_s: float = Field(600, ge=0, description="for `auto`: and so many seconds")

    @model_validator(mode="after")
    def _fits(self) -> "MonitorSection":
        if (self.action == "lower") != (self.share is not None):
            raise ValueError(
                "action lower needs share: the percent that the student keeps; the other actions take none"
            )
        if self.share is not None and abs(self.share * 100 - round(self.share * 100)) > 1e-6:
            raise ValueError(f"share {self.share} is finer than the steps of 0.01 percent")
        return self


def _off(value: object) -> object:
    return None if value is False else value


Switched = Annotated[MonitorSection | None, BeforeValidator(_off)]


class FromLogSection(_Section):
    """A reference set made of the route's own log. So many rows it takes at least, and no more are looked at."""

    from_log: int = Field(ge=64, le=12_000, description="answers of the teacher")


class MonitorsSection(_Section):
    """All monitors of a route. `false` turns one off."""

    reference: FromLogSection | str | None = Field(  # a union with Path has unreadable errors
        None, description="a folder with a reference set, or how to make one; without it the adapter's own"
    )
    novelty: Switched = Field(MonitorSection(), description="requests unlike the training data")
    mix: Switched = Field(MonitorSection(), description="known topics in another proportion")
    descriptors: Switched = Field(MonitorSection(), description="another spread of length, digits, language, template")
    gate_failures: Switched = Field(MonitorSection(), description="failed output gates, against the teacher's")
    outputs: Switched = Field(MonitorSection(), description="failures, cut answers, another length than before")


@dataclass(frozen=True, slots=True)
class Monitor:
    """One monitor that is on. `share_bp`: the most that the student keeps while an alarm stands; None: as it is."""

    name: str
    false_alarm_every: float
    action: str
    share_bp: int | None
    auto: bool
    clean_requests: int
    min_time_s: float


@dataclass(frozen=True, slots=True)
class Monitors:
    """What watches a route; `reference` is a folder given by hand, `from_log` how many of the log's prompts make one (0:
    none) if the adapter brings none."""

    on: dict[str, Monitor]
    reference: Path | None
    from_log: int = 0


def read(data: Mapping[str, Any] | None) -> Monitors:
    """The meaning of a route's section; of none, all defaults."""
    section = MonitorsSection.model_validate(data or {})
    found: dict[str, Monitor] = {}
    for name in MONITORS:
        one: MonitorSection | None = getattr(section, name)
        if one is not None:
            found[name] = Monitor(
                name, one.false_alarm_every, one.action, _limit(one), one.resume == "auto", one.clean_requests,
                one.min_time_s,
            )  # fmt: skip
    given = section.reference
    if isinstance(given, FromLogSection):
        return Monitors(found, None, given.from_log)
    return Monitors(found, None if given is None else Path(given))


def _limit(one: MonitorSection) -> int | None:
    if one.action == "teacher":
        return 0
    return round(one.share * 100) if one.share is not None else None


def explain(data: Mapping[str, Any] | None) -> str:
    """What `graduand check` says about a route's monitors."""
    monitors = read(data)
    if not monitors.on:
        return "no monitors"
    does = {
        "flag": "is shown", "hold": "holds a rollout", "teacher": "gives the route to the teacher",
    }  # fmt: skip
    parts = []
    for one in monitors.on.values():
        effect = does.get(one.action) or f"lowers the student to {(one.share_bp or 0) / 100:g}%"
        until = f", until {one.clean_requests} requests are clean" if one.auto and one.action != "flag" else ""
        parts.append(f"{one.name} (at most one false alarm in {one.false_alarm_every:,.0f} requests) {effect}{until}")
    by = (
        f"reference set {monitors.reference}"
        if monitors.reference
        else "the adapter's own reference set, if it has one"
    )
    if monitors.from_log:
        by += f", else one of the first {monitors.from_log:,} answers of the teacher"
    return f"monitors by {by}: " + "; ".join(parts)
