"""Where a rollout stands, and the events that move it: plain frozen data, to and from dicts.

Invariant: a state is the fold of its events over its draft (`transitions.apply`), so a stored log replays to the same
state. What the route should do follows from the state alone (`serving`), never from anything remembered elsewhere.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from graduand.rollout.assignment import BUCKETS
from graduand.rollout.spec.spec import GateSpec, Spec, Step, spec_from_dict


class Phase(StrEnum):
    """The phases of a rollout; SHADOW to FULL are the steps' kinds."""

    DRAFT = "draft"
    PRECHECK = "precheck"
    SHADOW = "shadow"
    CANARY = "canary"
    HYBRID = "hybrid"
    FULL = "full"
    PROMOTED = "promoted"
    HOLD = "hold"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


STEPPING = frozenset({Phase.SHADOW, Phase.CANARY, Phase.HYBRID, Phase.FULL})


class Hold(StrEnum):
    """Why a rollout is held."""

    PAUSED = "paused"
    DENIED = "denied"
    PRECHECK = "precheck"
    INCONCLUSIVE = "inconclusive"
    SRM = "srm"
    NO_DATA = "no_data"
    LEASE_LOST = "lease_lost"
    DRIFT = "drift"
    PATHS = "paths"  # copies and served answers do not agree equally often
    UNITS = "units"  # failures by unit and by request tell different things
    CYCLES = "cycles"  # the days differ by more than chance
    FUTILE = "futile"  # known to be below the bound: it would wait for nothing
    METHOD = "method"  # begun under gates of an earlier version


# These end by themselves when their cause does; all others wait for a person.
PASSING = frozenset({Hold.NO_DATA, Hold.LEASE_LOST})
# After these the step is entered anew when somebody resumes it, or what held it would hold it again at once.
ANEW = frozenset({Hold.INCONCLUSIVE, Hold.SRM, Hold.PATHS, Hold.UNITS, Hold.CYCLES, Hold.FUTILE})

Approval = Literal["none", "asked", "given"]


@dataclass(frozen=True, slots=True)
class Serving:
    """What the route should do: its mode, and the student's share of units in basis points."""

    mode: Literal["teacher", "shadow", "canary", "hybrid", "student"]
    weight_bp: int


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, or that somebody asks for; `version` is the state that its author saw."""

    kind: str
    at: float
    version: int
    actor: str = "controller"
    reason: str = ""
    key: str = ""  # idempotency key: the same event sent twice counts once
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class State:
    """A rollout at one version."""

    id: str
    spec: Spec
    salt: str
    updated_at: float
    phase: Phase = Phase.DRAFT
    step: int = -1  # index of the step entered last
    version: int = 0
    attempt: int = 1
    basis: int = 1  # evidence belongs to a basis: what it was about has changed when this rises
    share: float = 1.0  # of the route's alpha, drawn when the basis began
    entry: int = 0  # counts entries into steps: what arms and paths show belongs to one entry
    entered_at: float = 0.0
    held_s: float = 0.0  # time held since entering the step; it does not count as dwelling
    held: Phase | None = None  # the phase that HOLD interrupted
    held_at: float = 0.0
    hold: Hold | None = None
    note: str = ""
    approval: Approval = "none"
    goal: Phase = Phase.ROLLED_BACK  # where ROLLING_BACK leads
    keys: tuple[str, ...] = ()  # idempotency keys seen lately

    @property
    def current(self) -> Step | None:
        """The step entered last, or None before the first."""
        return self.spec.steps[self.step] if self.step >= 0 else None

    @property
    def upcoming(self) -> Step | None:
        """The step after it, or None at the last."""
        at = self.step + 1
        return self.spec.steps[at] if at < len(self.spec.steps) else None

    @property
    def gates(self) -> tuple[GateSpec, ...]:
        """The gates of a promotion, at this candidate's share of the route's alpha."""
        more = -math.log(self.share)
        return tuple(replace(gate, log_threshold=gate.log_threshold + more) for gate in self.spec.gates)

    def dwelt_s(self, now: float) -> float:
        """Seconds in this step that were not held."""
        until = self.held_at if self.phase is Phase.HOLD else now
        return max(0.0, until - self.entered_at - self.held_s)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def draft(rollout_id: str, spec: Spec, salt: str, at: float, share: float = 1.0) -> State:
    """A rollout before it starts; `salt` is fresh for each, `share` what it drew from the route's account of alpha."""
    return State(rollout_id, spec, salt, updated_at=at, share=share)


def state_from_dict(data: Mapping[str, Any]) -> State:
    """The state that `State.to_dict` described."""
    fields = dict(data)
    fields["spec"] = spec_from_dict(data["spec"])
    fields["phase"], fields["goal"] = Phase(data["phase"]), Phase(data["goal"])
    fields["held"] = Phase(data["held"]) if data["held"] else None
    fields["hold"] = Hold(data["hold"]) if data["hold"] else None
    fields["keys"] = tuple(data["keys"])
    return State(**fields)


def event_from_dict(data: Mapping[str, Any]) -> Event:
    """The event that `Event.to_dict` described."""
    return Event(**data)


TEACHER = Serving("teacher", 0)


def serving(state: State) -> Serving:
    """What the route should do in this state; in HOLD, what it did before, so that nobody is moved."""
    phase = state.held if state.phase is Phase.HOLD else state.phase
    step = state.current
    if step is None or phase not in STEPPING | {Phase.PROMOTED}:
        return TEACHER
    if step.kind == "full":
        kept = state.spec.holdout_bp if phase is Phase.PROMOTED else 0
        return Serving("canary", BUCKETS - kept) if kept else Serving("student", BUCKETS)
    return Serving(step.kind, step.weight_bp)
