"""Evidence and states for the machine's tests."""

from dataclasses import dataclass, field, replace
from typing import Any

from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.machine import apply, decide
from graduand.rollout.spec.file import read
from graduand.rollout.spec.spec import Spec
from graduand.rollout.state import Event, Phase, State, draft

SPEC = read(
    {
        "route": "triage",
        "student": "triage@3f9c1a0b22de",
        "steps": ["shadow", "canary 5", "canary 25", "full"],
        "approvals": ["canary-25"],
        "gates": ["agreement"],
        "cycle": "none",
    }
)
HYBRID = read(
    {"route": "triage", "student": "triage@3f9c1a0b22de", "steps": ["shadow", "canary 10", "hybrid"], "cycle": "none"}
)


def good(state: State, now: float, **changes: Any) -> Evidence:
    """Everything is well at `now`."""
    reading = Reading(log_e=10.0, n=2000, last_at=now, note="1960 of 2000 agree (98%)", means=(0.98, 0.981))
    quiet = Reading(log_e=-2.0, n=2000, last_at=now)
    evidence = Evidence(
        attempt=state.attempt,
        entry=state.entry,
        precheck=(),
        gates={gate.name: reading for gate in state.spec.gates},
        cycles=2,
        harm={gate.name: quiet for gate in state.spec.harm},
        watch=quiet,
        srm=quiet,
        step_n=2000,
        step_last_at=now,
        weights_applied=True,
        threshold_ready=True,
    )
    return replace(evidence, **changes)


def harmful(state: State, now: float, **changes: Any) -> Evidence:
    """A harm gate has its evidence."""
    bad = Reading(log_e=9.0, n=300, last_at=now, note="mean 80% of 300 sessions")
    return good(state, now, harm={**good(state, now).harm, "agreement as served": bad}, **changes)


@dataclass
class Once:
    """What happened to units already, as a store keeps it."""

    seen: set[tuple[str, int]] = field(default_factory=set)

    def __call__(self, what: str, unit: int) -> bool:
        new = (what, unit) not in self.seen
        self.seen.add((what, unit))
        return new


def verb(state: State, kind: str, at: float, reason: str = "because", **data: Any) -> State:
    """The state after somebody's verb."""
    return apply(state, Event(kind, at, state.version, actor="ann", reason=reason, data=data))


def begin(spec: Spec = SPEC) -> State:
    """A started rollout."""
    return verb(draft("r1", spec, "salt-1", at=0.0), "start", 0.0)


def reach(target: str, spec: Spec = SPEC) -> tuple[State, float]:
    """The state and time at which good evidence brought a rollout to a step's name or to a phase."""
    state, now = begin(spec), 0.0
    for _ in range(100):
        step = state.current
        if state.phase == target or (step is not None and step.name == target and state.phase is not Phase.PROMOTED):
            return state, now
        now += 1000.0
        state = decide(state, good(state, now), now).state
        if state.approval == "asked":
            state = verb(state, "approve", now)
    raise AssertionError(f"never reached {target}")
