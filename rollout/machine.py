"""What a rollout should do next: evidence and a clock in, a decision with its reasons out.

Invariants: harm is looked at first, in every phase in which the student has an effect, held or not. Only evidence moves
a rollout forward: silence, stale telemetry, a lost lease and time running out never do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graduand.rollout import wording
from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.gates.cycles import LEAST, SECONDS, above
from graduand.rollout.spec.spec import GateSpec, Step
from graduand.rollout.state import PASSING, STEPPING, Event, Hold, Phase, State
from graduand.rollout.transitions import IllegalEvent, StaleVersion, apply, replay

__all__ = ["Decision", "IllegalEvent", "StaleVersion", "apply", "decide", "replay"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The state from now on, the event that leads there (None: stay), and why, in plain English."""

    state: State
    event: Event | None
    reasons: tuple[str, ...]


def decide(state: State, evidence: Evidence, now: float) -> Decision:
    """What to do at `now`; the same input gives the same decision."""
    if state.phase is Phase.ROLLING_BACK:
        return _rolling_back(state, evidence, now)
    if state.phase not in STEPPING | {Phase.PRECHECK, Phase.HOLD, Phase.PROMOTED}:
        return _stay(state, wording.AT_REST[state.phase])
    if evidence.attempt != state.attempt:
        return _stay(state, f"evidence is of attempt {evidence.attempt}, this is attempt {state.attempt}; waiting")
    if harms := _harms(state, evidence):
        return _go(state, "trip", now, *harms)
    if state.phase is Phase.PRECHECK:
        return _precheck(state, evidence, now)
    if state.phase is Phase.HOLD:
        return _held(state, evidence, now)
    if state.phase is Phase.PROMOTED:
        return _stay(state, wording.watching(evidence.watch, state.spec.watch))
    return _step(state, evidence, now)


def _stay(state: State, *reasons: str) -> Decision:
    return Decision(state, None, reasons)


def _go(state: State, kind: str, now: float, *reasons: str, data: Mapping[str, Any] | None = None) -> Decision:
    event = Event(kind, now, state.version, reason="; ".join(reasons), data=data or {})
    return Decision(apply(state, event), event, reasons)


def _hold(state: State, why: Hold, now: float, *reasons: str) -> Decision:
    return _go(state, "hold", now, *reasons, data={"hold": why.value})


def _rolling_back(state: State, evidence: Evidence, now: float) -> Decision:
    if not evidence.weights_applied:
        return _stay(state, "weight is 0; waiting until every worker serves that")
    return _go(state, "zeroed", now, "every worker serves weight 0")


def _harms(state: State, evidence: Evidence) -> list[str]:
    if state.phase is Phase.PRECHECK or state.held is Phase.PRECHECK:
        return []  # the student has done nothing yet
    found = [f"hard trip: {trip}" for trip in evidence.trips]
    for gate in state.spec.harm:
        reading = evidence.harm.get(gate.name)
        if reading is None or reading.log_e < gate.log_threshold:
            continue
        # A NaN is no all-clear. Where two counts contradict each other a step is held; where none can be, it is harm.
        if not reading.apart or state.phase is Phase.PROMOTED:
            found.append(f"harm gate {wording.gate(gate, reading)}")
    watch = evidence.watch
    if state.phase is Phase.PROMOTED and watch is not None and watch.log_e >= state.spec.watch.log_threshold:
        found.append(f"harm gate {wording.gate(state.spec.watch, watch)}")
    return found


def _precheck(state: State, evidence: Evidence, now: float) -> Decision:
    if evidence.precheck is None:
        return _stay(state, "prechecks are running")
    if evidence.precheck:
        return _hold(state, Hold.PRECHECK, now, *(f"precheck failed: {problem}" for problem in evidence.precheck))
    return _go(state, "prechecked", now, "prechecks passed")


def _held(state: State, evidence: Evidence, now: float) -> Decision:
    held = wording.held(state)
    if state.hold not in PASSING:
        return _stay(state, held, *_unmet(state, evidence, now))
    silent = _silent(state, evidence, now)
    if not evidence.lease_held or silent:
        return _stay(state, held, *silent)
    return _go(state, "recover", now, "telemetry is fresh and the lease is held again")


def _step(state: State, evidence: Evidence, now: float) -> Decision:
    if evidence.entry != state.entry:
        return _stay(state, "evidence is of an earlier step; waiting for this step's")
    if evidence.srm is not None and evidence.srm.log_e >= state.spec.srm_log_threshold:
        return _hold(state, Hold.SRM, now, wording.srm(evidence.srm, state.spec.srm_log_threshold))
    if evidence.path is not None and evidence.path.log_e >= state.spec.srm_log_threshold:
        return _hold(state, Hold.PATHS, now, wording.paths(evidence.path, state.spec.srm_log_threshold))
    if apart := [f"{name}: {reading.apart}" for name, reading in evidence.harm.items() if reading.apart]:
        return _hold(state, Hold.UNITS, now, *apart)
    if not evidence.lease_held:
        return _hold(state, Hold.LEASE_LOST, now, "the controller's lease was lost")
    if silent := _silent(state, evidence, now):
        return _hold(state, Hold.NO_DATA, now, *silent)
    if futile := _futile(state, evidence) or _spent(state, evidence):
        return _give_up(state, Hold.FUTILE, now, *futile)
    if evidence.differ:
        return _hold(state, Hold.CYCLES, now, evidence.differ)
    if unmet := _unmet(state, evidence, now):
        return _wait(state, now, unmet)
    return _onward(state, evidence, now)


def _silent(state: State, evidence: Evidence, now: float) -> list[str]:
    """Telemetry that is stale; a step that was just entered, or left a hold, has as long again to bring some."""
    step = state.current
    if step is None:
        return []
    seen: dict[str, float | None] = {"traffic of this step": evidence.step_last_at}
    proved = state.gates if step.proof else ()
    for side, gates, readings in (("", proved, evidence.gates), ("harm ", state.spec.harm, evidence.harm)):
        for gate in gates:
            if step.kind in gate.needed_in:
                reading = readings.get(gate.name)
                seen[f"{side}gate {gate.name}"] = None if reading is None else reading.last_at
    grace = state.entered_at if state.phase is not Phase.HOLD else float("-inf")
    stale = state.spec.stale_s
    return [
        wording.silent(name, last, now, stale)
        for name, last in seen.items()
        if now - max(grace if last is None else last, grace) > stale
    ]


def _unmet(state: State, evidence: Evidence, now: float) -> list[str]:
    """Everything that still keeps this step from being passed."""
    step = state.current
    if step is None:
        return []
    unmet = []
    if evidence.step_n < max(1, step.n_min):
        unmet.append(wording.too_few(step, evidence.step_n))
    if state.dwelt_s(now) < step.dwell_s:
        unmet.append(wording.too_short(step, state.dwelt_s(now)))
    unmet += [
        wording.gate(gate, reading)
        for gate, reading in _required(state, step, evidence.gates)
        if reading is None or reading.n < 1 or not reading.log_e >= gate.log_threshold
    ]
    unmet += [
        wording.apart(gate, reading)
        for gate, reading in _required(state, step, evidence.gates)
        if reading is not None and reading.apart
    ]
    if step.proof and SECONDS[state.spec.cycle]:
        if evidence.cycles < LEAST:
            unmet.append(wording.too_few_cycles(step, evidence.cycles))
        else:
            unmet += _uneven(state, step, evidence)
    upcoming = state.upcoming
    if upcoming is not None and upcoming.kind == "hybrid" and not evidence.threshold_ready:
        unmet.append("no valid confidence threshold for the hybrid step yet")
    return unmet


def _required(state: State, step: Step, readings: Mapping[str, Reading]) -> list[tuple[GateSpec, Reading | None]]:
    """The gates that must certify this step; none where harm gates and the path test pass it."""
    gates = state.gates if step.proof else ()
    return [(gate, readings.get(gate.name)) for gate in gates if step.kind in gate.needed_in]


def _uneven(state: State, step: Step, evidence: Evidence) -> list[str]:
    """Gates that certify the requests of these cycles, but whose cycles vary too much to say that of their means."""
    return [
        wording.uneven(gate, reading)
        for gate, reading in _required(state, step, evidence.gates)
        if gate.p0 is not None
        and gate.labels is None  # too few a day to say how days vary
        and reading is not None
        and reading.log_e >= gate.log_threshold
        and not above(reading.means, gate.p0, math.exp(-gate.log_threshold))
    ]


def _futile(state: State, evidence: Evidence) -> list[str]:
    """Gates that are known never to certify; all of the step's share one alpha."""
    step = state.current
    if step is None:
        return []
    gates = [gate for gate, _ in _required(state, step, evidence.futile)]
    need = state.spec.futility_log_threshold + math.log(max(1, len(gates)))
    readings = [(gate, evidence.futile.get(gate.name)) for gate in gates]
    return [
        wording.futile(gate, reading, need)
        for gate, reading in readings
        if reading is not None and reading.log_e >= need
    ]


def _spent(state: State, evidence: Evidence) -> list[str]:
    """Gates that have seen all that they will see, and have not certified."""
    step = state.current
    required = [] if step is None else _required(state, step, evidence.gates)
    return [
        wording.spent(gate, reading)
        for gate, reading in required
        if reading is not None and reading.spent and not reading.log_e >= gate.log_threshold
    ]


def _wait(state: State, now: float, unmet: list[str]) -> Decision:
    step = state.current
    if step is None or state.dwelt_s(now) < step.t_max_s:
        return _stay(state, *unmet)
    return _give_up(
        state, Hold.INCONCLUSIVE, now, f"inconclusive after {wording.span(step.t_max_s)} in {step.name}", *unmet
    )


def _give_up(state: State, why: Hold, now: float, *reasons: str) -> Decision:
    """What the policy says of a step that proves nothing: a hold or a rollback, never a promotion."""
    if state.spec.on_inconclusive == "rollback":
        return _go(state, "trip", now, *reasons)
    return _hold(state, why, now, *reasons)


def _onward(state: State, evidence: Evidence, now: float) -> Decision:
    upcoming = state.upcoming
    if upcoming is not None and upcoming.approval and state.approval != "given":
        waiting = f"everything is met; {upcoming.name} needs a person's approval"
        return _stay(state, waiting) if state.approval == "asked" else _go(state, "ask_approval", now, waiting)
    proofs = [
        wording.gate(gate, reading) for gate, reading in _required(state, state.spec.steps[state.step], evidence.gates)
    ]
    return _go(state, "advance", now, wording.onward(state, evidence.step_n, now), *proofs)
