"""Hundreds of adapters on tens of replicas, with a virtual clock: `python -m benchmarks.placement` writes results/fleet.*.

Ours is the code that runs in production (gateway.fleet.placement and plan, the data plane's choice); the others are what a
balancer in front of engines does that load an adapter when it is asked for and put out the one that was not used for
longest. Nothing waits for anything real, so the figures are exact for a seed.
"""

import argparse
import bisect
import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.placement_report import Outcome, markdown, plot
from graduand.gateway.fleet.placement import Host, Wanted, copies_for, place, preference
from graduand.gateway.fleet.plan import Sight, Spot, steps
from graduand.gateway.fleet.usage import Use
from graduand.gateway.state.places import Cell

RESULTS = Path(__file__).parent / "results"
LOOK_EVERY_S = 2.0
LOAD_S = 2.0  # from asking an engine for an adapter until it answers with it
ANSWER_S = 1.0
BACK_AFTER_S = 60.0
DRAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens: adapters asked by Zipf's law, replicas that are added, taken away and killed."""

    name: str
    adapters: int
    replicas: int = 24
    slots: int = 12
    seconds: float = 1800.0
    per_s: float = 60.0
    skew: float = 1.0
    added: int = 6  # at a third of the time, taken away again at two thirds
    kill_every_s: float = 300.0
    shifts: int = 3  # how often the popularity of adapters is dealt anew


SCENARIOS = (
    Scenario("room for all: 200 adapters on 24 replicas of 12 slots", 200),
    Scenario("scarce: 500 adapters on 24 replicas of 12 slots", 500),
)


@dataclass(slots=True)
class Replica:
    """One engine: which adapters it has and since when they were asked, which it is loading, and its requests."""

    name: str
    alive: bool = True
    held: dict[str, float] = field(default_factory=dict)
    loading: dict[str, float] = field(default_factory=dict)  # until when
    ends: list[float] = field(default_factory=list)
    answered: int = 0

    def in_flight(self, now: float) -> int:
        """Requests under way."""
        while self.ends and self.ends[0] <= now:
            heapq.heappop(self.ends)
        return len(self.ends)

    def die(self) -> None:
        """Forget everything."""
        self.alive = False
        self.held.clear()
        self.loading.clear()
        self.ends.clear()


class Policy:
    """Who is asked for an adapter, and what is where. `loads` counts."""

    def __init__(self, scenario: Scenario, replicas: list[Replica], random: random.Random) -> None:
        self.scenario = scenario
        self.replicas = replicas
        self.random = random
        self.loads = 0

    def ask(self, adapter: str, now: float) -> tuple[Replica | None, bool]:
        """The replica that answers, and whether it had the adapter."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Time has passed."""


class JustInTime(Policy):
    """A balancer that knows nothing of adapters, or only their hash; engines load what they are asked for."""

    def __init__(
        self, scenario: Scenario, replicas: list[Replica], random: random.Random, choose: Callable[..., Replica]
    ) -> None:  # fmt: skip
        super().__init__(scenario, replicas, random)
        self._choose = choose
        self._turn = itertools.count()

    def ask(self, adapter: str, now: float) -> tuple[Replica | None, bool]:
        """Ask the chosen one; it loads the adapter if it has to, and the request waits."""
        alive = [one for one in self.replicas if one.alive]
        chosen = self._choose(alive, adapter, self.random, next(self._turn))
        hit = adapter in chosen.held and chosen.loading.get(adapter, 0.0) <= now
        if adapter not in chosen.held:
            self.loads += 1
            if len(chosen.held) >= self.scenario.slots:
                del chosen.held[min(chosen.held, key=lambda name: chosen.held[name])]
            chosen.loading[adapter] = now + LOAD_S
        chosen.held[adapter] = now
        return chosen, hit


class Managed(Policy):
    """Ours."""

    def __init__(self, scenario: Scenario, replicas: list[Replica], random: random.Random) -> None:
        super().__init__(scenario, replicas, random)
        self._book: dict[Spot, Cell] = {}
        self._ready: dict[str, list[Replica]] = {}
        self._uses: dict[str, Use] = {f"a{number}": Use(0.0, 0.0) for number in range(scenario.adapters)}

    def ask(self, adapter: str, now: float) -> tuple[Replica | None, bool]:
        """Ask the least busy of those that have it ready; without one the teacher answers."""
        self._uses[adapter] = self._uses[adapter].later(now, 1.0)
        ready = [one for one in self._ready.get(adapter, ()) if one.alive]
        if not ready:
            return None, False
        chosen = min(ready, key=lambda one: (one.in_flight(now), preference(one.name, adapter)))
        return chosen, True

    def look(self, now: float) -> None:
        """The manager's look: every replica does at most one thing at a time."""
        by_name = {one.name: one for one in self.replicas}
        for one in self.replicas:
            for adapter, until in list(one.loading.items()):
                if until <= now:
                    del one.loading[adapter]
                    one.held[adapter] = now
                    self._book[one.name, adapter] = Cell("ready", now)
        seen = {
            one.name: Sight(frozenset(one.held), self.scenario.slots) if one.alive else None for one in self.replicas
        }
        hosts = [Host(name, self.scenario.slots, sight.listed) for name, sight in seen.items() if sight is not None]
        drained = [
            spot for spot, cell in self._book.items() if cell.state == "draining" and now - cell.since >= DRAIN_S
        ]
        for step in steps(place(self._wanted(len(hosts), now), hosts), seen, self._book, drained, now):
            spot, replica = (step.replica, step.adapter), by_name.get(step.replica)
            if step.do == "forget":
                del self._book[spot]
            elif step.cell is not None:
                self._book[spot] = step.cell
            elif replica is not None and step.do == "unload":
                replica.held.pop(step.adapter)
            elif replica is not None and not replica.loading:
                self.loads += 1
                replica.loading[step.adapter] = now + LOAD_S
                self._book[spot] = Cell("loading", now)
        self._ready = {}
        for (name, adapter), cell in self._book.items():
            if cell.state == "ready":
                self._ready.setdefault(adapter, []).append(by_name[name])

    def _wanted(self, hosts: int, now: float) -> list[Wanted]:
        weights = {name: use.decayed(now) for name, use in self._uses.items()}
        total = sum(weights.values())
        return [
            Wanted(name, True, use.used_at(), copies_for(weights[name], total, hosts)) for name, use in self._uses.items()
        ]  # fmt: skip


def simulate(scenario: Scenario, policy: str, seed: int = 1) -> Outcome:
    """One run."""
    chance = random.Random(seed)
    replicas = [Replica(f"r{number}") for number in range(scenario.replicas)]
    ours = POLICIES[policy](scenario, replicas, random.Random(seed + 1))
    events = _events(scenario, replicas, chance)
    order = list(range(scenario.adapters))
    chance.shuffle(order)
    weights = list(itertools.accumulate(1.0 / (rank + 1) ** scenario.skew for rank in range(scenario.adapters)))
    for warming in range(1, 60):  # before the clock starts nobody asks
        ours.look(warming * LOOK_EVERY_S - 120.0)
    before, hits, asked, now, look_at, window_at = ours.loads, 0, 0, 0.0, 0.0, 60.0
    spreads: list[float] = []
    while (now := now + chance.expovariate(scenario.per_s)) < scenario.seconds:
        while events and events[0][0] <= now:
            heapq.heappop(events)[2](order, chance)
        while look_at <= now:
            ours.look(look_at)
            look_at += LOOK_EVERY_S
        if now >= window_at:
            window_at += 60.0
            counts = [one.answered for one in replicas if one.alive]
            spreads.append(max(counts) / (sum(counts) / len(counts)) if sum(counts) else 1.0)
            for one in replicas:
                one.answered = 0
        adapter = f"a{order[bisect.bisect_left(weights, chance.random() * weights[-1])]}"
        replica, hit = ours.ask(adapter, now)
        asked += 1
        hits += hit
        if replica is not None:
            replica.answered += 1
            heapq.heappush(replica.ends, now + ANSWER_S)
    spread = sorted(spreads)[len(spreads) // 2] if spreads else 1.0
    return Outcome(scenario.name, policy, asked, hits / asked, ours.loads - before, spread)


Event = tuple[float, int, Callable[[list[int], random.Random], None]]


def _events(scenario: Scenario, replicas: list[Replica], chance: random.Random) -> list[Event]:
    """What happens when, the same for every policy."""
    found: list[Event] = []

    def at(when: float, what: Callable[[list[int], random.Random], None]) -> None:
        heapq.heappush(found, (when, len(found) + chance.randrange(1 << 30), what))

    def join(*_: object) -> None:
        replicas.extend(Replica(f"added{number}") for number in range(scenario.added))

    def leave(*_: object) -> None:
        replicas[:] = [one for one in replicas if not one.name.startswith("added")]

    def kill(victim: Replica) -> Callable[..., None]:
        return lambda *_: victim.die()

    def back(victim: Replica) -> Callable[..., None]:
        return lambda *_: setattr(victim, "alive", True)

    def shift(order: list[int], by: random.Random) -> None:
        for _ in range(len(order) // 10):
            first, second = by.randrange(len(order)), by.randrange(len(order))
            order[first], order[second] = order[second], order[first]

    at(scenario.seconds / 3, join)
    at(scenario.seconds * 2 / 3, leave)
    for number in range(1, int(scenario.seconds / scenario.kill_every_s)):
        victim = replicas[chance.randrange(len(replicas))]
        at(number * scenario.kill_every_s, kill(victim))
        at(number * scenario.kill_every_s + BACK_AFTER_S, back(victim))
    for number in range(scenario.shifts):
        at(scenario.seconds * (number + 1) / (scenario.shifts + 1) + 30, shift)
    return found


def _random(alive: list[Replica], adapter: str, chance: random.Random, turn: int) -> Replica:
    return alive[chance.randrange(len(alive))]


def _in_turn(alive: list[Replica], adapter: str, chance: random.Random, turn: int) -> Replica:
    return alive[turn % len(alive)]


def _by_hash(alive: list[Replica], adapter: str, chance: random.Random, turn: int) -> Replica:
    return min(alive, key=lambda one: preference(one.name, adapter))


def _just_in_time(choose: Callable[..., Replica]) -> Callable[..., Policy]:
    return lambda scenario, replicas, chance: JustInTime(scenario, replicas, chance, choose)


POLICIES: dict[str, Callable[..., Policy]] = {
    "ours": Managed, "random": _just_in_time(_random), "round robin": _just_in_time(_in_turn),
    "hash": _just_in_time(_by_hash),
}  # fmt: skip


def main() -> None:
    """Run every scenario by every policy, and write table, figures and picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placement", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, default: %(default)s")
    seeds = parser.parse_args().seeds
    outcomes = []
    for scenario in SCENARIOS:
        for policy in POLICIES:
            runs = [simulate(scenario, policy, seed) for seed in range(1, seeds + 1)]
            outcomes.append(Outcome.mean(runs))
            print(outcomes[-1], flush=True)
    (RESULTS / "fleet.json").write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    (RESULTS / "fleet.md").write_text(markdown(outcomes, seeds))
    plot(outcomes, RESULTS / "fleet.png")


if __name__ == "__main__":
    main()
