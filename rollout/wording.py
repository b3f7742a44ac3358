"""Reasons in plain English, with their numbers. No decision is taken here."""

import math

from graduand.rollout.evidence import Reading
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.discordant import Discordant
from graduand.rollout.gates.error_ratio import ErrorRatio
from graduand.rollout.gates.latency import Latency
from graduand.rollout.gates.scores import Scores
from graduand.rollout.gates.state import AnyGate
from graduand.rollout.spec.spec import GateSpec, Step
from graduand.rollout.state import Phase, State

AT_REST = {
    Phase.DRAFT: "not started",
    Phase.ROLLED_BACK: "rolled back; retry starts over with fresh evidence",
    Phase.ABORTED: "aborted; retry starts over with fresh evidence",
    Phase.SUPERSEDED: "another rollout took this one's place",
}


def span(seconds: float) -> str:
    """A duration that people read at a glance.

    >>> span(42), span(1800), span(5400), span(7 * 86400)
    ('42 s', '30 min', '1.5 h', '7 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 2 * 86400 else f"{seconds / 86400:.3g} days"


def evidence(log_e: float) -> str:
    """E, in digits while it fits.

    >>> evidence(0.0), evidence(3.0), evidence(9.21), evidence(100.0), evidence(-50.0)
    ('1', '20.1', '10,000', '10^43', '10^-22')
    """
    if 6.9 < log_e < 13:
        return f"{float(f'{math.exp(log_e):.3g}'):,.0f}"
    return f"{math.exp(log_e):.3g}" if abs(log_e) < 13 else f"10^{log_e / math.log(10):.0f}"


def gate(spec: GateSpec, reading: Reading | None) -> str:
    """One gate against its threshold."""
    if reading is None or reading.n < 1:
        return f"{spec.name}: no observation yet; evidence of {evidence(spec.log_threshold)} is asked for"
    seen = reading.note or f"{reading.n} observations"
    return f"{spec.name}: evidence {evidence(reading.log_e)} of {evidence(spec.log_threshold)} asked for ({seen})"


def watching(reading: Reading | None, spec: GateSpec) -> str:
    """The watch after promotion."""
    return f"promoted; watching for a drop: {gate(spec, reading)}"


def srm(reading: Reading, log_threshold: float) -> str:
    """A sample ratio mismatch."""
    odds = f"evidence {evidence(reading.log_e)}, alarm at {evidence(log_threshold)}"
    return (
        f"units do not fall into the arms as they should ({odds}, {reading.n} units): stickiness or counting is broken"
    )


def held(state: State) -> str:
    """Why a rollout is held, and what ends it."""
    inside = f" in {state.current.name}" if state.current is not None else ""
    return f"held{inside} ({state.hold}): {state.note or 'no reason given'}"


def silent(name: str, last: float | None, now: float, stale_s: float) -> str:
    """Telemetry that stopped, or never came."""
    if last is None:
        return f"{name}: no data within {span(stale_s)}"
    return f"{name}: last data {span(now - last)} ago, at most {span(stale_s)} is fresh"


def too_few(step: Step, n: int) -> str:
    """Not enough observations in this step."""
    what = "pairs compared" if step.kind == "shadow" else "requests answered by the student"
    return f"{n} of {max(1, step.n_min)} {what} in {step.name}"


def too_short(step: Step, dwelt_s: float) -> str:
    """Not long enough in this step."""
    return f"{span(dwelt_s)} of {span(step.dwell_s)} in {step.name}"


def onward(state: State, n: int, now: float) -> str:
    """A step that was passed."""
    step = state.spec.steps[state.step]
    target = state.upcoming.name if state.upcoming is not None else "promoted"
    return f"{step.name} passed after {span(state.dwelt_s(now))} and {n} observations; on to {target}"


def seen(gate: AnyGate) -> str:
    """What a gate has seen, in its own words."""
    match gate:
        case Agreement(agreed=agreed, n=n):
            return f"{agreed} of {n} agree{_share(agreed, n)}"
        case Latency(met=met, n=n, slo_s=slo_s):
            return f"{met} of {n} within {slo_s:g} s{_share(met, n)}"
        case Discordant(wins=wins, losses=losses, n=n):
            return f"{wins} won and {losses} lost of {n}"
        case Scores(total=total, n=n, harm=harm):
            mean = total / n if n else 0.0
            return f"mean {1 - mean if harm and n else mean:.3f} of {n} scores"
        case ErrorRatio(n=n):
            return f"{n} errors on either side"
    return f"{gate.n} observations"


def _share(part: int, n: int) -> str:
    return f", {part / n:.1%}" if n else ""
