"""Which adapter belongs on which replica: the target that the fleet manager works towards. Pure.

Invariants: no replica gets more adapters than it has slots; an adapter in service (pinned) is never put out for one that
is not; every pinned adapter has a place if there are as many slots; once the aim is reached it stays the aim. An
adapter stays where it is until its slot is needed, so a replica that joins or leaves moves no other adapter.

Where adapters do not fit, the least recently used one gives way, and being asked often counts as being asked later (LRFU,
Lee et al. 2001). Ties are decided by `preference`, by which the data plane chooses among replicas too.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from graduand.gateway.model.routing import preference

# Another copy is wanted when an adapter's traffic would take more than this part of its replicas' load.
FULL = 0.5
# With fewer requests than this, shares mean nothing, and no replica is overloaded.
FEW = 1000.0
# Twice as many requests count like a last use that is this much later.
HALF_LIFE_S = 600.0
# An adapter that is already there counts as used this much later, so that two equal ones do not swap for ever.
STAY_S = 300.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """An adapter that should be somewhere. `pinned`: a route or a rollout asks it. `used_at`: when it was last asked, in
    seconds, later by HALF_LIFE_S for each doubling of how often. `copies`: on how many replicas its traffic wants it; more
    are a use for slots that are free."""

    name: str
    pinned: bool = False
    used_at: float = 0.0
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Host:
    """A replica that can be reached. `slots`: how many adapters it may hold, None without a bound."""

    name: str
    slots: int | None = None
    resident: frozenset[str] = frozenset()


def copies_for(weight: float, total: float, hosts: int) -> int:
    """The number of `hosts` for an adapter that recently had `weight` of `total` requests.

    >>> copies_for(0, 1e6, 10), copies_for(1e5, 1e6, 10), copies_for(9e5, 1e6, 10), copies_for(1, 1, 10)
    (1, 2, 10, 1)
    """
    return max(1, min(hosts, math.ceil(weight / (total + FEW) * hosts / FULL)))


def place(wanted: Iterable[Wanted], hosts: Iterable[Host]) -> dict[str, frozenset[str]]:
    """The adapters that belong on each replica."""
    board = _Board({one.name: one for one in wanted}, list(hosts))
    claims = board.claims()
    board.keep(claims)
    board.bring(claims)
    board.leave()
    board.fill()
    return {host: frozenset(names) for host, names in board.chosen.items()}


@dataclass(slots=True)
class _Board:
    wanted: Mapping[str, Wanted]
    hosts: list[Host]
    slots: dict[str, int] = field(default_factory=dict)
    there: dict[str, frozenset[str]] = field(default_factory=dict)
    chosen: dict[str, set[str]] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slots = {
            one.name: len(self.wanted) if one.slots is None else max(0, min(one.slots, len(self.wanted)))
            for one in self.hosts
        }
        self.there = {one.name: one.resident & self.wanted.keys() for one in self.hosts}
        self.chosen = {one.name: set() for one in self.hosts}
        self.copies = dict.fromkeys(self.wanted, 0)

    def claims(self) -> list[str]:
        """One adapter's name for each copy that gets a slot, the most important first."""
        there = Counter(name for held in self.there.values() for name in held)
        room, found = sum(self.slots.values()), list[str]()
        for pinned in (True, False):
            group = [one for one in self.wanted.values() if one.pinned is pinned]
            # If every adapter gets a first place, second copies come last; if not, a second must be worth more than a first.
            first = len(group) <= room - len(found)
            copies = [
                ((first and turn > 0, -_worth(one, turn, there[one.name] > turn), one.name, turn), one.name)
                for one in group
                for turn in range(min(one.copies, len(self.slots)))
            ]
            found += [name for _, name in sorted(copies)][: room - len(found)]
        return found

    def keep(self, claims: list[str]) -> None:
        """Meet claims where the adapter already is."""
        for name, count in Counter(claims).items():
            there = [one for one in self.hosts if name in self.there[one.name]]
            for host in sorted(there, key=lambda one: preference(one.name, name)):
                if self.copies[name] < count and self._free(host):
                    self._choose(host, name)

    def bring(self, claims: list[str]) -> None:
        """Meet the other claims: with a free slot, or with that of the least recently used adapter."""
        met = dict.fromkeys(self.wanted, 0)
        for name in claims:
            met[name] += 1
            open_to = [one for one in self.hosts if name not in self.chosen[one.name] and self._free(one)]
            if self.copies[name] < met[name] and open_to:
                self._choose(min(open_to, key=lambda one: (self._loss(one), preference(one.name, name))), name)

    def leave(self) -> None:
        """Keep other adapters that are there while there is room."""
        for host in self.hosts:
            rest = [self.wanted[name] for name in self.there[host.name] - self.chosen[host.name]]
            for one in sorted(rest, key=lambda one: (not one.pinned, *_recency(one))):
                if self._free(host):
                    self._choose(host, one.name)

    def fill(self) -> None:
        """Fill free slots with more copies of adapters in service, or with all adapters where there is room for all."""
        for host in self.hosts:
            if self.slots[host.name] == len(self.wanted):
                others = self.wanted.keys() - self.chosen[host.name]
            else:
                others = {name for name, one in self.wanted.items() if one.pinned} - self.chosen[host.name]
            while others and self._free(host):
                name = min(
                    others, key=lambda one: (self.copies[one] / self.wanted[one].copies, preference(host.name, one))
                )
                others.discard(name)
                self._choose(host, name)

    def _choose(self, host: Host, name: str) -> None:
        if name not in self.chosen[host.name]:
            self.chosen[host.name].add(name)
            self.copies[name] += 1

    def _free(self, host: Host) -> bool:
        return len(self.chosen[host.name]) < self.slots[host.name]

    def _loss(self, host: Host) -> tuple[bool, bool, float]:
        """What a further adapter on this replica costs: nothing, or the one that would give way."""
        chosen = self.chosen[host.name]
        others: Collection[str] = self.there[host.name] - chosen
        if len(chosen) + len(others) < self.slots[host.name] or not others:
            return False, False, 0.0
        return min((True, self.wanted[name].pinned, self.wanted[name].used_at) for name in others)


def _recency(one: Wanted) -> tuple[float, str]:
    return -one.used_at, one.name


def _worth(one: Wanted, turn: int, there: bool) -> float:
    """The worth of one more copy besides `turn` others, in seconds of use: copies share the traffic."""
    return one.used_at - HALF_LIFE_S * math.log2(turn + 1) + (STAY_S if there else 0.0)
