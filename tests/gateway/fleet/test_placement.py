"""Placement and plan: what must hold whatever is wanted and wherever it is, and the plan carried out in a made-up world."""

import doctest
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.fleet import placement
from graduand.gateway.fleet.placement import HALF_LIFE_S, STAY_S, Host, Wanted, copies_for, place
from graduand.gateway.fleet.plan import Sight, Spot, Step, steps
from graduand.gateway.state.places import Cell

NAMES = [f"a{number}" for number in range(8)]
wanteds = st.lists(
    st.builds(Wanted, st.sampled_from(NAMES), st.booleans(), st.floats(0, 100), st.integers(1, 3)),
    unique_by=lambda one: one.name,
)
hosts = st.lists(
    st.builds(
        Host, st.sampled_from("pqrst"), st.none() | st.integers(0, 6), st.frozensets(st.sampled_from([*NAMES, "stranger"]))
    ),
    unique_by=lambda one: one.name,
)  # fmt: skip
Aim = dict[str, frozenset[str]]
quick = settings(max_examples=40, deadline=None, derandomize=True)


def after(given: list[Host], aim: Aim) -> list[Host]:
    return [replace(one, resident=aim[one.name]) for one in given]


@quick
@given(wanteds, hosts)
def test_slots_are_never_exceeded_and_only_what_is_wanted_is_placed(wanted: list[Wanted], on: list[Host]) -> None:
    aim = place(wanted, on)
    assert aim.keys() == {one.name for one in on}
    for one in on:
        assert one.slots is None or len(aim[one.name]) <= one.slots
        assert aim[one.name] <= {adapter.name for adapter in wanted}


@quick
@given(wanteds, hosts)
def test_pinned_adapters_have_a_place_if_they_fit(wanted: list[Wanted], on: list[Host]) -> None:
    placed = frozenset[str]().union(*place(wanted, on).values())
    pinned = {one.name for one in wanted if one.pinned}
    slots = sum(len(wanted) if one.slots is None else min(one.slots, len(wanted)) for one in on)
    assert placed >= pinned or len(pinned) > slots
    assert len(placed) >= min(len(wanted), slots) or any(one.copies > 1 for one in wanted)


@quick
@given(wanteds, hosts)
def test_a_pinned_adapter_leaves_only_for_a_pinned_one(wanted: list[Wanted], on: list[Host]) -> None:
    aim = place(wanted, on)
    pinned = {one.name for one in wanted if one.pinned}
    for one in on:
        lost = one.resident & pinned - aim[one.name]
        if lost and (one.slots is None or len(one.resident & {a.name for a in wanted}) <= one.slots):
            assert aim[one.name] <= pinned


@quick
@given(wanteds, hosts)
def test_once_reached_the_aim_stays(wanted: list[Wanted], on: list[Host]) -> None:
    on = after(on, place(wanted, on))
    on = after(on, place(wanted, on))  # a replica that held too much may take one more turn
    assert place(wanted, on) == {one.name: one.resident for one in on}


@quick
@given(wanteds, st.integers(1, 5), st.none() | st.integers(1, 6), st.integers(0, 4))
def test_a_replica_that_leaves_or_joins_moves_nothing_else(
    wanted: list[Wanted], count: int, slots: int | None, which: int
) -> None:
    wanted = [replace(one, copies=1) for one in wanted]
    on = [Host(f"h{number}", slots) for number in range(count)]
    on = after(on, place(wanted, on))
    gone, rest = on[which % count], [one for one in on if one is not on[which % count]]
    aim = place(wanted, rest)
    assert sum(len(aim[one.name] - one.resident) for one in rest) <= len(gone.resident)
    back = [*after(rest, aim), replace(gone, resident=frozenset())]
    again = place(wanted, back)
    assert not any(again[one.name] - one.resident for one in back if one.name != gone.name)


@quick
@given(wanteds, hosts)
def test_without_a_bound_everything_is_everywhere(wanted: list[Wanted], on: list[Host]) -> None:
    aim = place(wanted, [replace(one, slots=None) for one in on])
    assert all(names == {one.name for one in wanted} for names in aim.values())


def test_the_least_recently_used_gives_way() -> None:
    on = [Host("p", 1, frozenset({"old"})), Host("q", 1, frozenset({"new"}))]
    wanted = [Wanted("old", True, 0.0), Wanted("new", True, 1.0), Wanted("asked", True, STAY_S + 1)]
    assert place(wanted, on) == {"p": {"asked"}, "q": {"new"}}
    assert place([*wanted[:2], Wanted("asked", True, STAY_S - 1)], on) == {"p": {"old"}, "q": {"new"}}
    assert place([*wanted[:2], Wanted("idle", False, 9e9)], on) == {"p": {"old"}, "q": {"new"}}


def test_a_second_copy_gives_way_to_a_first() -> None:
    on = [Host("p", 1, frozenset({"a"})), Host("q", 1, frozenset({"a"}))]
    aim = place([Wanted("a", True, 5.0), Wanted("b", True, 1.0)], on)
    assert sorted(name for names in aim.values() for name in names) == ["a", "b"]


def test_where_not_all_fit_a_second_copy_may_be_worth_more_than_a_first() -> None:
    on = [Host("p", 1), Host("q", 1)]
    much = Wanted("much", True, 10 * HALF_LIFE_S, copies=2)
    assert place([much, *(Wanted(name, True, 0.0) for name in "abc")], on) == {"p": {"much"}, "q": {"much"}}
    assert place([much, Wanted("a", True, 0.0)], on) in ({"p": {"much"}, "q": {"a"}}, {"p": {"a"}, "q": {"much"}})


@pytest.mark.parametrize(
    ("share", "total", "hosts", "copies"),
    [(0, 1e6, 5, 1), (0.05, 1e6, 20, 2), (0.5, 1e6, 4, 4), (1, 1e6, 3, 3), (1, 1e6, 0, 1), (1, 10, 24, 1)],
)
def test_copies(share: float, total: float, hosts: int, copies: int) -> None:
    assert copies_for(share * total, total, hosts) == copies


class World:
    """Replicas that do as they are told at once, and a manager that only follows the plan."""

    def __init__(self, slots: int | None, *names: str) -> None:
        self.slots = slots
        self.engines: dict[str, set[str] | None] = {name: set() for name in names}
        self.book: dict[Spot, Cell] = {}
        self.loads = 0
        self.now = 0.0

    def turn(self, wanted: list[Wanted]) -> list[Step]:
        self.now += 1
        seen = {
            name: None if held is None else Sight(frozenset(held), self.slots) for name, held in self.engines.items()
        }
        on = [Host(name, self.slots, sight.listed) for name, sight in seen.items() if sight is not None]
        draining = [spot for spot, cell in self.book.items() if cell.state == "draining"]
        done = steps(place(wanted, on), seen, self.book, draining, self.now)
        for step in done:
            self._do(step)
        for name, held in self.engines.items():
            assert self.slots is None or held is None or len(held) <= self.slots, f"{name} holds too many"
        return done

    def _do(self, step: Step) -> None:
        spot, held = (step.replica, step.adapter), self.engines.get(step.replica)
        if step.do == "forget":
            del self.book[spot]
        elif step.cell is not None:
            self.book[spot] = step.cell
        elif step.do == "bring" and held is not None:
            self.loads += step.adapter not in held
            held.add(step.adapter)
            self.book[spot] = Cell("ready", self.now)
        elif step.do == "unload" and held is not None:
            assert self.book[spot].state != "ready", "unloaded while it may be asked"
            held.discard(step.adapter)

    def settle(self, wanted: list[Wanted]) -> None:
        for _ in range(12):
            if not self.turn(wanted):
                return
        raise AssertionError(f"never at rest: {self.turn(wanted)}")

    @property
    def ready(self) -> set[Spot]:
        return {spot for spot, cell in self.book.items() if cell.state == "ready"}


@quick
@given(
    st.none() | st.integers(1, 4),
    st.lists(
        st.tuples(wanteds, st.sampled_from(["nothing", "kill", "back", "join", "leave"]), st.integers(0, 3)), max_size=5
    ),
)
def test_the_plan_comes_to_rest_and_ready_means_there(
    slots: int | None, turns: list[tuple[list[Wanted], str, int]]
) -> None:
    world = World(slots, "p", "q", "r")
    for wanted, event, which in turns:
        names = sorted(world.engines)
        name = names[which % len(names)] if names else "p"
        if event == "kill":
            world.engines[name] = None
        elif event == "back":
            world.engines[name] = set()
        elif event == "join":
            world.engines[f"n{which}"] = set()
        elif event == "leave" and len(names) > 1:
            del world.engines[name]
        world.settle(wanted)
        for replica, adapter in world.ready:
            assert adapter in (world.engines[replica] or ())
        for replica, held in world.engines.items():
            assert {adapter for where, adapter in world.ready if where == replica} == (held or set())


def test_a_restarted_replica_gets_everything_back_and_nothing_else_happens() -> None:
    wanted = [Wanted(name, True, 1.0) for name in NAMES]
    world = World(None, "p", "q")
    world.settle(wanted)
    assert len(world.ready) == 2 * len(NAMES)
    loads = world.loads
    world.engines["p"] = set()  # killed and started again between two looks
    done = world.turn(wanted)
    assert {(step.do, step.replica) for step in done} == {("mark", "p"), ("bring", "p")}
    assert world.loads == loads + len(NAMES)
    assert world.turn(wanted) == []


def test_a_failure_is_repeated_later_and_later() -> None:
    failed = Cell("failed", 100.0, "no room", attempts=1)
    seen = {"p": Sight(frozenset())}
    for attempts, wait_s in ((1, 5), (2, 10), (3, 20), (20, 300)):
        book = {("p", "a"): replace(failed, attempts=attempts)}
        assert steps({"p": {"a"}}, seen, book, (), 100 + wait_s - 0.1) == []
        assert [one.do for one in steps({"p": {"a"}}, seen, book, (), 100 + wait_s)] == ["bring"]


def test_what_is_drained_for_nothing_serves_on() -> None:
    book = {("p", "a"): Cell("draining", 1.0)}
    [step] = steps({"p": {"a"}}, {"p": Sight(frozenset({"a"}))}, book, (), 2.0)
    assert step == Step("mark", "p", "a", Cell("ready", 2.0))


def test_what_is_nobody_s_of_ours_is_left_alone() -> None:
    assert steps({"p": ()}, {"p": Sight(frozenset({"base", "theirs"}), 1)}, {}, (), 1.0) == []


def test_examples() -> None:
    assert doctest.testmod(placement).failed == 0
