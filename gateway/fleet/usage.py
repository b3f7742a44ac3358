"""When each adapter was last used, and by how much of the traffic, from the counters of this gateway's workers.
Requests that found the adapter not ready count too: they bring it back where adapters share slots.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from graduand.gateway.fleet.placement import HALF_LIFE_S
from graduand.gateway.model.routes import Route
from graduand.gateway.state.places import Adapter
from graduand.monitoring import metrics as m
from graduand.monitoring.series import Key


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
        return self.weight * math.exp2(-max(0.0, now - self.at) / HALF_LIFE_S)

    def used_at(self) -> float:
        """When it was last asked, later the more often: two adapters keep their order until one is asked again."""
        return self.at + HALF_LIFE_S * math.log2(max(self.weight, 1.0))


@dataclass(slots=True)
class Usage:
    """Adds up the differences between two looks at the counters."""

    uses: dict[Adapter, Use] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)

    def look(self, routes: Mapping[str, Route], sums: Mapping[Key, list[float]], now: float) -> set[Adapter]:
        """Take the counters' present values and return the adapters used since the last time."""
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
    """How often each route's student was asked, or should have been."""
    counts: dict[str, float] = {}
    for (family, labels), values in sums.items():
        asks = family == m.REQUESTS.name and labels[1] == "student"
        if asks or family in (m.FALLBACKS.name, m.SHADOWS.name):
            counts[labels[0]] = counts.get(labels[0], 0.0) + values[0]
    return counts
