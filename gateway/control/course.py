"""The points of a rollout's course: what the page and `rollout watch` draw. Pure."""

from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.rollout import summary
from graduand.rollout.evidence import Evidence
from graduand.rollout.state import serving

# A course of any length has about so many points.
POINTS = 500


def point(row: Row, evidence: Evidence, now: float, last_at: float, *, moved: bool) -> dict[str, Any] | None:
    """A point of the course if it is time for one."""
    every_s = max(1.0, (now - row.started_at) / POINTS)
    if not moved and now - last_at < every_s:
        return None
    seen = summary.of(row.ledger)
    step = row.state.current
    return {
        "phase": row.state.phase.value,
        "step": step.name if step is not None else "",
        "share": serving(row.state).weight_bp / 100,
        "pairs": 0 if seen is None else seen.requests,
        "agreement": None if seen is None else seen.share,
        "low": 0.0 if seen is None else round(seen.low, 6),
        "high": 1.0 if seen is None else round(seen.high, 6),
        "log_e": {name: round(reading.log_e, 4) for name, reading in evidence.gates.items()},
        "harm_log_e": {name: round(reading.log_e, 4) for name, reading in evidence.harm.items()},
    }
