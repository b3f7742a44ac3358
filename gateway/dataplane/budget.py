"""What copies may cost a day: requests and tokens of each route, counted exactly by all workers of the machine.

Days are UTC's. A copy counts when it starts, its tokens when its answer has ended: so requests are never more
than allowed, and tokens at most by what was under way when they ran out. The counts lie beside the state file, one file
a route, and outlive workers and the gateway. A budget that cannot be counted lets nothing through: copies cost money.
"""

import logging
from hashlib import sha256
from pathlib import Path

from graduand.gateway.dataplane.counts import SharedCounts, peek
from graduand.gateway.model.routes import Budget, Route

DAY_S = 86400.0
SHADOW, AUDIT = 0, 1

logger = logging.getLogger("graduand")


class Budgets:
    """The budgets of all routes as one worker counts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: dict[str, SharedCounts] = {}

    def admit(self, route: Route, slot: int, now: float) -> bool:
        """Count a copy at `now` (seconds since 1970) if today's budget has room for it; whether it may be sent."""
        budget = of(route, slot)
        if not budget.limited:
            return True
        try:
            counts = self._of(route)
        except OSError as error:
            logger.error("the copies of route %s cannot be counted, so none is sent: %s", route.name, error)
            return False
        with counts.locked(slot):
            day, requests, tokens = _today(counts.read(slot), now)
            if used_up(budget, requests, tokens):
                return False
            counts.write(slot, day, requests + 1, tokens)
            return True

    def spend(self, route: Route, slot: int, tokens: int, now: float) -> None:
        """Count the tokens of a copy that has ended."""
        counts = self._counts.get(route.name)
        if counts is None:
            return
        with counts.locked(slot):
            day, requests, spent = _today(counts.read(slot), now)
            counts.write(slot, day, requests, spent + tokens)

    def close(self) -> None:
        """Give the files back."""
        for counts in self._counts.values():
            counts.close()
        self._counts.clear()

    def _of(self, route: Route) -> SharedCounts:
        counts = self._counts.get(route.name)
        if counts is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            counts = self._counts[route.name] = SharedCounts(_file(self._folder, route.name), 2)
        return counts


def of(route: Route, slot: int) -> Budget:
    """The route's budget for one kind of copies."""
    return route.shadow_budget if slot == SHADOW else route.audit_budget


def used_up(budget: Budget, requests: float, tokens: float) -> bool:
    """Whether nothing more may be sent today."""
    full = budget.requests_per_day > 0 and requests >= budget.requests_per_day
    return full or (budget.tokens_per_day > 0 and tokens >= budget.tokens_per_day)


def used(folder: Path, route: Route, slot: int, now: float) -> tuple[int, int]:
    """Requests and tokens of today's copies, as counted until now by the workers."""
    _, requests, tokens = _today(peek(_file(folder, route.name), slot), now)
    return int(requests), int(tokens)


def _today(found: tuple[float, float, float], now: float) -> tuple[float, float, float]:
    day, requests, tokens = found
    today = now // DAY_S
    # A day ahead is another worker's, which looked at the clock a moment later but took the lock first.
    return (day, requests, tokens) if 0 <= day - today <= 1 else (today, 0.0, 0.0)


def _file(folder: Path, route: str) -> Path:
    return folder / f"{sha256(route.encode()).hexdigest()[:16]}.budget"  # names may hold what no file name may
