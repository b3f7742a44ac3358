"""What a rollout's evidence is about, and whether that has changed: who the teacher is, by the configuration and by what its
upstream says. Pure.

A value that came before comes back without notice: an upstream that answers with two names in turn is one teacher.
"""

from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Settings

CONFIGURED, SERVED = "teacher", "teacher as served"


def served(row: Row, model: Any) -> str:
    """Note what the teacher's upstream calls itself; why the evidence has to start anew, empty if it has not."""
    return _noted(row, SERVED, model) if isinstance(model, str) and model else ""


def changed(row: Row, settings: Settings) -> str:
    """Note who the teacher is by the configuration; why the evidence has to start anew, empty if it has not."""
    route = settings.routes.get(row.state.spec.route)
    told = [row.renewal] if row.renewal else []
    row.renewal = ""
    if route is not None:
        told.append(_noted(row, CONFIGURED, f"{route.teacher.upstream}/{route.teacher.model}"))
    return "; ".join(one for one in told if one)


def _noted(row: Row, what: str, value: str) -> str:
    had = row.facts.setdefault(what, [])
    if value in had:
        return ""
    had.append(value)
    return f"{what} is now {value}, and was {had[-2]}: new evidence" if len(had) > 1 else ""
