"""The points of a rollout's course: what the page and `rollout watch` draw. Pure."""

from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.rollout.evidence import Evidence
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.state import AnyGate
from graduand.rollout.state import serving

# A course of any length has about so many points.
POINTS = 500


def point(row: Row, evidence: Evidence, now: float, last_at: float, *, moved: bool) -> dict[str, Any] | None:
    """A point of the course if it is time for one."""
    every_s = max(1.0, (now - row.started_at) / POINTS)
    if not moved and now - last_at < every_s:
        return None
    gate = agreement_gate(row)
    low, high = gate.band() if gate is not None else (0.0, 1.0)
    step = row.state.current
    return {
        "phase": row.state.phase.value,
        "step": step.name if step is not None else "",
        "share": serving(row.state).weight_bp / 100,
        "pairs": gate.n if gate is not None else 0,
        "agreement": gate.agreed / gate.n if gate is not None and gate.n else None,
        "low": round(low, 6),
        "high": round(high, 6),
        "log_e": {name: round(reading.log_e, 4) for name, reading in evidence.gates.items()},
        "harm_log_e": {name: round(reading.log_e, 4) for name, reading in evidence.harm.items()},
    }


def agreement_gate(row: Row) -> Agreement | None:
    """The gate whose band is shown: of all answers if there is one, else the first of its kind."""
    gates: dict[str, AnyGate] = {name: tracked.gate for name, tracked in row.ledger.promote.items()}
    ordered = [gates[name] for name in sorted(gates, key=lambda name: name != "agreement")]
    return next((gate for gate in ordered if isinstance(gate, Agreement)), None)
