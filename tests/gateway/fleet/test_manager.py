"""The manager against replicas that load, refuse, forget and die, with a clock that the test moves."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.config.read import parse
from graduand.gateway.fleet.manager import Manager
from graduand.gateway.fleet.placement import HALF_LIFE_S
from graduand.gateway.fleet.usage import Usage, Use
from graduand.gateway.model.routes import Route, Settings, Student, Teacher
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.lease import LeaseLost
from graduand.gateway.state.open import open_state
from graduand.gateway.state.places import LEASE, LEASE_S
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile
from tests.gateway.fleet.engines import Engine
from tests.gateway.redises import RedisServer
from tests.gateway.running import until

A, B, C = (f"{letter}@{number:012d}" for number, letter in enumerate("abc"))


class Fleet:
    """A manager, its store, and its clock."""

    def __init__(
        self, folder: Path, engines: list[Engine], monkeypatch: pytest.MonkeyPatch, slots: int | None = None,
        state: str = "", holder: str = "me",
    ) -> None:  # fmt: skip
        upstream: dict[str, Any] = {"kind": "vllm", "base_urls": [one.url for one in engines]}
        upstream |= {} if slots is None else {"slots": slots}
        self.settings: Settings = parse(
            {
                "upstreams": {"gpu": upstream}, "state": state or f"sqlite:///{folder}/state.db",
                "routes": {"r": {"teacher": {"upstream": "gpu", "model": "base"}}}, "logs": f"file://{folder}/{holder}",
            },
            where="test", environ={},
        )  # fmt: skip
        self.now = 1000.0
        self.store = open_state(self.settings)
        self.store.found()
        self.totals = Totals(folder)
        self.manager = Manager(self.settings, holder, Metrics(SeriesFile(folder / f"{holder}.series")), self.totals)
        for store in (self.store, self.manager._state):
            monkeypatch.setattr(store, "now", lambda: self.now)
        monkeypatch.setattr(self.manager._state, "all_serve", lambda *_: True)

    def add(self, *names: str) -> None:
        for name in names:
            self.store.add_adapter(name, "gpu", f"/adapters/{name}", who="test")

    def look(self, times: int = 1) -> None:
        """Look, with replicas done with what they were asked before the next look."""
        for _ in range(times):
            self.now += 1
            self.manager.look()
            until(lambda: all(task.done.done() for task in self.manager._tasks.values()), "replicas have done it")

    def states(self, name: str) -> list[str]:
        found = places.read(Documents(self.store)).get(("gpu", name), {})
        return [found[one.url].state if one.url in found else "-" for one in self.settings.upstreams["gpu"].replicas]

    def ready(self) -> dict[tuple[str, str], frozenset[str]]:
        return places.with_places(self.store.table({}), self.store).ready


Make = Callable[..., Fleet]


@pytest.fixture
def make(tmp_path: Path, engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Fleet] = []

    def fleet(**more: Any) -> Fleet:
        made.append(Fleet(tmp_path, engines, monkeypatch, **more))
        return made[-1]

    yield fleet
    for one in made:
        one.manager.close()
        one.store.close()


def test_registered_adapters_are_loaded_proven_and_only_then_asked(make: Make, engines: list[Engine]) -> None:
    fleet = make()
    fleet.add(A)
    engines[1].gate.clear()
    fleet.now += 1
    fleet.manager.look()
    until(lambda: engines[0].models()[-1:] == [A], "the first has answered with it")
    fleet.manager.look()
    until(lambda: fleet.manager.look() or fleet.states(A) == ["ready", "loading"], "the first has it ready")
    assert fleet.ready() == {("gpu", A): {engines[0].url}}
    engines[1].gate.set()
    fleet.look(2)
    assert fleet.states(A) == ["ready", "ready"]
    # It was loaded first, then compared with its base, then warmed.
    for one in engines:
        asked = [path.rpartition("/")[2] + " " + model for path, model in one.asked]
        assert asked[0] == f"load_lora_adapter {A}"
        assert asked[1:] == ["completions base", f"completions {A}"] * 3 + [f"completions {A}"]
    before, version = [list(one.asked) for one in engines], fleet.store.version()
    fleet.look(3)
    assert [one.asked for one in engines] == before
    assert fleet.store.version() == version


def test_a_replica_that_forgot_is_not_asked_until_it_has_it_again(make: Make, engines: list[Engine]) -> None:
    fleet = make()
    fleet.add(A, B)
    fleet.look(4)
    assert fleet.states(A) == fleet.states(B) == ["ready", "ready"]
    engines[0].kill()
    fleet.look()
    assert fleet.states(A) == ["away", "ready"]
    assert fleet.ready()["gpu", A] == {engines[1].url}
    engines[0].start()
    engines[0].gate.clear()
    fleet.now += 1
    fleet.manager.look()
    assert fleet.states(A)[0] in ("loading", "missing")
    assert fleet.ready() == {("gpu", A): {engines[1].url}, ("gpu", B): {engines[1].url}}
    engines[0].gate.set()
    fleet.look(3)
    assert fleet.states(A) == fleet.states(B) == ["ready", "ready"]
    events = [one for one in fleet.store.events() if one["subject"] == f"adapter/{A}" and one["who"] == "fleet"]
    told = [next(iter(one.keys() & {"ready", "not_ready", "managed"})) for one in reversed(events)]
    assert told in (["managed", "ready", "not_ready", "ready"], ["managed", "ready", "ready", "not_ready", "ready"])


def test_between_two_looks_emptied(make: Make, engines: list[Engine]) -> None:
    fleet = make()
    fleet.add(A)
    fleet.look(2)
    engines[0].adapters.clear()
    fleet.look()
    assert fleet.ready()["gpu", A] == {engines[1].url}
    fleet.look()
    assert fleet.states(A) == ["ready", "ready"]
    assert fleet.totals.sums()[m.FLEET_ACTIONS.name, ("gpu", "lost")] == [1.0]


@pytest.mark.parametrize(("how", "reason"), [("refused", "max_lora_rank"), ("idle", "answers exactly like its base")])
def test_what_fails_is_not_asked_and_says_why(make: Make, engines: list[Engine], how: str, reason: str) -> None:
    fleet = make()
    fleet.add(A)
    getattr(engines[0], how).add(A)
    fleet.look(3)
    assert fleet.states(A) == ["failed", "ready"]
    cell = places.read(Documents(fleet.store))["gpu", A][engines[0].url]
    assert reason in cell.reason
    assert cell.attempts == 1
    assert A not in engines[0].adapters
    getattr(engines[0], how).clear()
    fleet.now = cell.retry_at()
    fleet.look(2)
    assert fleet.states(A) == ["ready", "ready"]


def test_removed_adapters_are_drained_before_they_are_unloaded(make: Make, engines: list[Engine]) -> None:
    fleet = make()
    fleet.add(A)
    fleet.look(2)
    fleet.store.remove_adapter(A, "gpu", who="test")
    engines[0].busy = [A]
    fleet.look(3)
    assert fleet.ready()["gpu", A] == frozenset()
    assert [A in one.adapters for one in engines] == [True, False]
    engines[0].busy = []
    fleet.look(3)
    assert not engines[0].adapters
    assert fleet.ready() == {}


def test_slots_are_kept_and_the_pinned_stay(make: Make, engines: list[Engine]) -> None:
    fleet = make(slots=1)
    routes = {"r": Route("r", Teacher("gpu", "base"), Student("gpu", A), mode="canary")}
    fleet.manager.settings = Settings(**{**_fields(fleet.settings), "routes": routes})
    fleet.add(A, B)
    fleet.look(3)
    assert sorted(len(one.adapters) for one in engines) == [1, 1]
    assert {name for one in engines for name in one.adapters} == {A, B}
    sums = fleet.totals.sums()
    assert (sums[m.FLEET_SLOTS.name, ("gpu",)], sums[m.FLEET_PLACES.name, ("gpu", "ready")]) == ([2.0], [2.0])
    fleet.now += 1000
    fleet.add(C)
    fleet.look(8)
    assert {name for one in engines for name in one.adapters} == {A, C}
    assert fleet.ready()["gpu", B] == frozenset()


def test_an_adapter_that_serves_already_serves_on_while_it_is_proven(make: Make, engines: list[Engine]) -> None:
    for one in engines:
        one.adapters[A] = "/adapters/a"
    fleet = make()
    fleet.add(A)
    fleet.now += 1
    fleet.manager.look()
    assert fleet.ready() == {}  # not managed yet: asked everywhere, as before
    fleet.look(2)
    assert fleet.states(A) == ["ready", "ready"]


def test_what_engines_were_started_with_is_left_alone(make: Make, engines: list[Engine]) -> None:
    engines[0].adapters["theirs"] = "/x"
    fleet = make(slots=1)
    fleet.add(A, B)
    fleet.look(4)
    assert engines[0].adapters == {"theirs": "/x"}
    assert len(engines[1].adapters) == 1


def test_another_manager_goes_on_where_this_one_died(
    make: Make, engines: list[Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    first.add(A)
    first.look(2)
    before = [list(one.asked) for one in engines]
    second = make()
    second.now = first.now
    second.look(2)
    assert [one.asked for one in engines] == before
    assert second.states(A) == ["ready", "ready"]


def test_a_deposed_manager_changes_nothing(
    make: Make, engines: list[Engine], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began a look, was frozen, and another one managed meanwhile."""
    first, second = (make(state=redis_server.url, holder=name) for name in ("first", "second"))
    first.add(A)
    first.look(3)
    second.now = first.now
    second.look()
    assert not second.manager._tasks
    collect = first.manager._collect

    def frozen(*given: Any) -> None:
        first.now = second.now = second.now + LEASE_S + 1
        second.look(2)
        engines[1].adapters.clear()
        collect(*given)

    with monkeypatch.context() as patch:
        patch.setattr(first.manager, "_collect", frozen)
        with pytest.raises(LeaseLost, match="second holds"):
            first.look()
    assert first.states(A) == ["ready", "ready"]
    assert not engines[1].adapters
    first.look()
    assert not engines[1].adapters  # not its business any more
    sums = first.totals.sums()
    assert sums[m.FLEET_PLACES.name, ("gpu", "ready")] == [
        2.0
    ]  # of the one that manages alone, though both count there
    second.look(2)
    assert list(engines[1].adapters) == [A]
    asked = [len(one.asked) for one in engines]
    second.manager.close()
    first.now = second.now
    first.look(2)
    assert first.store.lease(LEASE)[0] == "first"
    assert first.states(A) == ["ready", "ready"]
    assert [len(one.asked) for one in engines] == asked


def test_use_is_the_difference_of_counters_and_fades() -> None:
    routes = {"r": Route("r", Teacher("t", "gpt"), Student("gpu", A), mode="student")}
    usage = Usage()
    counted = {(m.REQUESTS.name, ("r", "student", "ok")): [5.0], (m.FALLBACKS.name, ("r", "not_loaded")): [1.0]}
    assert usage.look(routes, counted, 100.0) == set()  # counted before the first look
    assert usage.look(routes, counted, 110.0) == set()
    counted[m.FALLBACKS.name, ("r", "not_loaded")] = [4.0]
    assert usage.look(routes, counted, 120.0) == {("gpu", A)}
    assert usage.uses["gpu", A] == Use(120.0, 3.0)
    assert usage.uses["gpu", A].decayed(720.0) == 1.5
    assert Use(120.0, 4.0).used_at() == 120.0 + 2 * HALF_LIFE_S


def _fields(settings: Settings) -> dict[str, Any]:
    return {one.name: getattr(settings, one.name) for one in fields(settings)}
