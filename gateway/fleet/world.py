"""What the manager knows: registered adapters by upstream, which of them are in service, and what replicas hold."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.errors import GraduandError
from graduand.gateway.fleet import work
from graduand.gateway.fleet.placement import Wanted, copies_for
from graduand.gateway.fleet.plan import Sight
from graduand.gateway.fleet.usage import Use
from graduand.gateway.model.routes import Replica, Route, Settings, Upstream, UpstreamKind
from graduand.gateway.state.places import Adapter
from graduand.gateway.state.store import Registered, StateStore

# LoRAX loads an adapter at its first request, and deployments of OpenAI's have none.
MANAGED: tuple[UpstreamKind, ...] = ("vllm",)
# A replica that does not answer in time may only be busy. After this many times it counts as unreachable.
PATIENCE = 3

Address = tuple[str, str]  # of a replica: its upstream and its URL


@dataclass(frozen=True, slots=True)
class Wishes:
    """The registered adapters by upstream and name, and those of them that a route or a rollout asks."""

    registered: Mapping[Adapter, Registered]
    pinned: frozenset[Adapter]
    routes: Mapping[str, Route]

    def wanted(self, upstream: Upstream, uses: Mapping[Adapter, Use], now: float) -> list[Wanted]:
        """What should be on an upstream's replicas."""
        mine = {name: one for (at, name), one in self.registered.items() if at == upstream.name}
        weights = {name: uses[upstream.name, name].decayed(now) for name in mine if (upstream.name, name) in uses}
        total = sum(weights.values())
        return [
            Wanted(
                name,
                (upstream.name, name) in self.pinned,
                max(one.added_at, uses[upstream.name, name].used_at()) if name in weights else one.added_at,
                copies_for(weights.get(name, 0.0), total, len(upstream.replicas)),
            )
            for name, one in mine.items()
        ]


def wishes(state: StateStore, settings: Settings) -> Wishes:
    """The wishes that the state store has now."""
    routes = state.table(settings.routes).routes
    managed = {name for name, one in settings.upstreams.items() if one.kind in MANAGED}
    pinned = set()
    for route in routes.values():
        if (asked := route.asked_student) is not None:
            pinned.add((asked.upstream, asked.adapter))
        if route.student is not None and route.incumbent is not None:
            pinned.add((route.student.upstream, route.incumbent.adapter))
    for row in Rollouts(state).live():
        student = routes[row.state.spec.route].student if row.state.spec.route in routes else None
        if student is not None:
            pinned.add((student.upstream, row.state.spec.student))
    registered = {(one.upstream, one.name): one for one in state.adapters() if one.upstream in managed}
    return Wishes(registered, frozenset(pinned), routes)


@dataclass(slots=True)
class Lookout:
    """What each replica holds, as far as it was seen; None: it is away."""

    pool: Executor
    seen: dict[Address, frozenset[str] | None] = field(default_factory=dict)
    _slow: dict[Address, int] = field(default_factory=dict)

    def look(self, upstreams: Iterable[Upstream]) -> None:
        """Ask every replica of those that are managed."""
        pairs = [(one, replica) for one in upstreams if one.kind in MANAGED for replica in one.replicas]
        found = list(self.pool.map(lambda pair: self._one(*pair), pairs))
        self.seen = {(one.name, replica.url): held for (one, replica), held in zip(pairs, found, strict=True)}

    def sights(self, upstream: Upstream) -> dict[str, Sight | None]:
        """By replica, what it holds."""
        return {
            replica.url: None if held is None else Sight(held, upstream.slots)
            for replica in upstream.replicas
            for held in [self.seen.get((upstream.name, replica.url))]
        }

    def holds(self, address: Address, name: str, *, yes: bool) -> None:
        """Note that a replica has just loaded an adapter, or unloaded it."""
        held = self.seen.get(address)
        if held is not None:
            self.seen[address] = held | {name} if yes else held - {name}

    def _one(self, upstream: Upstream, replica: Replica) -> frozenset[str] | None:
        address = upstream.name, replica.url
        try:
            held = work.listed(upstream, replica)
        except work.Slow:
            self._slow[address] = self._slow.get(address, 0) + 1
            return self.seen.get(address) if self._slow[address] < PATIENCE else None
        except GraduandError:
            return None
        self._slow[address] = 0
        return held
