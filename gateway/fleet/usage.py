"""When each adapter was last asked, and by how much of the traffic, from what the workers of this gateway have counted.

What could not be asked because it was not ready counts too: that is what brings it back where adapters take turns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.fleet.places import Adapter
from gateway.routes import Route
from monitoring import metrics as m
from monitoring.metrics import Key

HALF_LIFE_S = 600.0


@dataclass(frozen=True, slots=True)
class Use:
    """`at`: seconds of the last request; `weight`: requests, each counting half after HALF_LIFE_S."""

    at: float
    weight: float

    def later(self, now: float, requests: float) -> "Use":
        """After more requests."""
        return Use(now, self.decayed(now) + requests)

    def decayed(self, now: float) -> float:
        """The weight now."""
        return self.weight * 0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S)


@dataclass(slots=True)
class Usage:
    """Adds up the differences between two looks at the counters."""

    uses: dict[Adapter, Use] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)

    def look(self, routes: Mapping[str, Route], sums: Mapping[Key, list[float]], now: float) -> set[Adapter]:
        """Take the counters' present values; whom was asked since the last time."""
        counts = asked(sums)
        found = set()
        for name, count in counts.items():
            route, before = routes.get(name), self._before.get(name)
            if route is None or route.student is None or before is None or count <= before:
                continue
            adapter = route.student.upstream, route.student.adapter
            self.uses[adapter] = self.uses.get(adapter, Use(now, 0.0)).later(now, count - before)
            found.add(adapter)
        self._before = counts
        return found


def asked(sums: Mapping[Key, list[float]]) -> dict[str, float]:
    """By route, how often its student was asked, or should have been."""
    counts: dict[str, float] = {}
    for (family, labels), values in sums.items():
        asks = family == m.REQUESTS.name and labels[1] == "student"
        if asks or family in (m.FALLBACKS.name, m.SHADOWS.name):
            counts[labels[0]] = counts.get(labels[0], 0.0) + values[0]
    return counts
