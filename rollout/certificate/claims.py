"""What a step of a rollout rests on when it ends: each gate's evidence with its claim, for a certificate. Decides nothing."""

import math
from typing import Any

from graduand.rollout import wording
from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.gates.cycles import LEAST, SECONDS, above
from graduand.rollout.ledger import PATHS, Ledger
from graduand.rollout.spec.spec import GateSpec, Step
from graduand.rollout.state import Event, State

Json = dict[str, Any]
# Events that end a step: by evidence, or in place of it.
ENDING = frozenset({"advance", "promote", "skip"})


def of(state: State, ledger: Ledger, event: Event) -> Json | None:
    """What is known when `event` ends a step of a rollout in this state; None if it ends none."""
    step = state.current
    if event.kind not in ENDING or step is None:
        return None
    evidence = ledger.snapshot()
    upcoming = None if event.kind == "promote" and event.data.get("full") else state.upcoming
    return {
        "step": step.name, "to": "promoted" if upcoming is None else upcoming.name, "at": event.at, "by": event.kind,
        "who": event.actor, "attempt": state.attempt, "basis": state.basis, "path": PATHS.get(ledger.phase),
        "of": state.spec.claim, "cycle": state.spec.cycle, "cycles": evidence.cycles,
        "gates": [_gate(state, step, gate, evidence) for gate in state.gates if step.proof and step.kind in gate.needed_in],
        "harm": [_harm(gate, evidence.harm.get(gate.name)) for gate in state.spec.harm],
        "paths": _reading(evidence.path), "srm": _reading(evidence.srm),
    }  # fmt: skip


def certified(claim: Json) -> bool:
    """Whether a step that was to prove something has: by its gates, and nobody went past them."""
    return claim["by"] == "advance" and all(gate["certified"] for gate in claim["gates"])


def _gate(state: State, step: Step, gate: GateSpec, evidence: Evidence) -> Json:
    reading = evidence.gates.get(gate.name)
    shown = _shown(gate, reading)
    enough = reading is not None and reading.n > 0 and reading.log_e >= gate.log_threshold
    if enough and reading is not None and SECONDS[state.spec.cycle]:
        even = (
            gate.p0 is None or gate.labels is not None or above(reading.means, gate.p0, math.exp(-gate.log_threshold))
        )
        enough = evidence.cycles >= LEAST and even
    return {**shown, "certified": enough}


def _harm(gate: GateSpec, reading: Reading | None) -> Json:
    return {
        **_shown(gate, reading),
        "path": gate.path,
        "found": reading is not None and reading.log_e >= gate.log_threshold,
    }


def _shown(gate: GateSpec, reading: Reading | None) -> Json:
    return {
        "name": gate.name, "signal": gate.signal, "p0": gate.p0, "asked": gate.log_threshold,
        "log_e": 0.0 if reading is None else reading.log_e, "n": 0 if reading is None else reading.n,
        "says": wording.gate(gate, reading),
    }  # fmt: skip


def _reading(reading: Reading | None) -> Json | None:
    return None if reading is None else {"log_e": reading.log_e, "n": reading.n}
