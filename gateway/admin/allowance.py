"""What is left of a route's copies for today: for people who look at a route, and for rollouts that wait for pairs."""

import time
from pathlib import Path
from typing import Any

from graduand.gateway.dataplane import budget
from graduand.gateway.model.routes import Budget, Route

Json = dict[str, Any]
KINDS = (("shadow", budget.SHADOW), ("audit", budget.AUDIT))


def shown(folder: Path, route: Route, now: float) -> Json:
    """Both budgets with what today's copies have used; None without a limit."""
    return {f"{kind}_budget": _shown(folder, route, slot, now) for kind, slot in KINDS}


def delays(folder: Path, route: Route, now: float) -> tuple[str, ...]:
    """One sentence for each budget that is used up."""
    found = []
    for kind, slot in KINDS:
        allowed = budget.of(route, slot)
        requests, tokens = budget.used(folder, route, slot, now)
        if allowed.limited and budget.used_up(allowed, requests, tokens):
            found.append(
                f"{kind}_budget: today's is used up ({_parts(allowed, requests, tokens)}), so no copy is sent and no pair "
                f"comes; it begins anew at {_midnight(now)}"
            )
    return tuple(found)


def _shown(folder: Path, route: Route, slot: int, now: float) -> Json | None:
    allowed = budget.of(route, slot)
    if not allowed.limited:
        return None
    requests, tokens = budget.used(folder, route, slot, now)
    return {
        "requests_per_day": allowed.requests_per_day, "tokens_per_day": allowed.tokens_per_day,
        "requests_today": requests, "tokens_today": tokens,
        "used_up": budget.used_up(allowed, requests, tokens),
    }  # fmt: skip


def _parts(allowed: Budget, requests: int, tokens: int) -> str:
    parts = ((requests, allowed.requests_per_day, "requests"), (tokens, allowed.tokens_per_day, "tokens"))
    return ", ".join(f"{used} of {most} {unit}" for used, most, unit in parts if most)


def _midnight(now: float) -> str:
    begins = (now // budget.DAY_S + 1) * budget.DAY_S
    return time.strftime("%Y-%m-%d 00:00 UTC", time.gmtime(begins))
