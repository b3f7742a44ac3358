"""What alarms bring about, in a made-up world with a clock that the test moves: holding, lowering, giving back, and never
flapping; killed anywhere, the same."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control import moves, verdicts
from graduand.gateway.model.monitors import Monitor, Monitors
from graduand.gateway.state.documents import Documents, key_of
from graduand.gateway.state.store import Override
from graduand.rollout.state import Hold, Phase
from tests.gateway.control.worlds import STUDENT_NAME, World

AUTO = {"resume": "auto", "clean_requests": 100, "min_time_s": 60}


def _monitor(share: float | None = None, **keys: Any) -> Monitor:
    return Monitor(share_bp=None if share is None else round(share * 100), **keys)


class Counting:
    """Metrics that only remember."""

    def __init__(self, done: list[Any]) -> None:
        self._done = done

    def add(self, family: object, labels: tuple[str, ...]) -> None:
        self._done.append(labels)


class Watched(World):
    """A world with a monitor that the test plays."""

    def watch(self, **novelty: Any) -> None:
        routes = {"triage": replace(self.settings.routes["triage"], monitors=Monitors(novelty=_monitor(**novelty)))}
        self.settings = replace(self.settings, routes=routes)
        self.documents = Documents(self.store.state)
        self.n = self.alarms = 0
        self.new_controller()

    def new_controller(self) -> Any:
        made = super().new_controller()
        self.done: list[tuple[str, str, str]] = getattr(self, "done", [])
        made._metrics = Counting(self.done)
        return made

    def seen(self, count: int) -> None:
        """So many requests more, without an alarm."""
        self.n += count
        key = key_of("triage", self.adapter, "novelty")
        self.documents.write("drift", key, {"n": self.n, "route": "triage", "monitor": "novelty"})

    def alarm(self, number: int | None = None) -> None:
        self.alarms += number is None
        self.seen(1)
        self.documents.write(
            "alarm", f"alarm {number or self.alarms}",
            {"id": f"alarm {number or self.alarms}", "route": "triage", "adapter": self.adapter, "monitor": "novelty",
             "at": self.now, "n": self.n, "value": 3e4, "threshold": 2e4, "detail": "unlike the training data"},
        )  # fmt: skip

    @property
    def adapter(self) -> str:
        student = self.route.student
        assert student is not None
        return student.adapter

    @property
    def standing(self) -> list[str]:
        return [one.action for one in verdicts.standing(self.documents)]

    def audit(self) -> list[dict[str, Any]]:
        return [one for one in self.store.state.events() if one["who"] == "monitor"]


@pytest.fixture
def world(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def by_hand(world: Watched, mode: str, weight_bp: int) -> None:
    """A person sets the route, as the admin plane does it."""

    def inside() -> None:
        moves.taken_over(world.store, "triage", "ann", world.now)
        verdicts.overruled(world.store, world.documents, "triage", "ann", world.now)

    world.store.state.change_route(
        world.settings.routes["triage"], who="ann", mode=mode, weight_bp=weight_bp, inside=inside
    )


def to_canary(world: Watched) -> None:
    world.start()
    world.look(3)
    world.ask(60)
    world.look(2)
    assert world.phase is Phase.CANARY


def test_flag_changes_nothing_but_is_told(world: Watched) -> None:
    world.watch(clean_requests=10, min_time_s=5)
    before = world.route
    world.alarm()
    world.look(3)
    assert (world.standing, world.route, world.done) == (["flag"], before, [("triage", "novelty", "flag")])
    assert world.audit()[0]["why"] == "novelty: unlike the training data"
    world.seen(10)
    world.look(1, step_s=6)
    assert (world.standing, world.done[-1][2]) == ([], "released")


@pytest.mark.parametrize(
    ("monitor", "mode", "weight_bp", "limited"),
    [
        ({"action": "teacher"}, "canary", 3000, ("shadow", 0)),
        ({"action": "teacher"}, "student", 0, ("shadow", 0)),
        ({"action": "teacher"}, "shadow", 0, ("shadow", 0)),
        ({"action": "lower", "share": 5}, "canary", 3000, ("canary", 500)),
        ({"action": "lower", "share": 5}, "canary", 100, ("canary", 100)),
        ({"action": "lower", "share": 5}, "student", 0, ("canary", 500)),
        ({"action": "lower", "share": 5}, "hybrid", 0, ("shadow", 0)),
        ({"action": "lower", "share": 5}, "teacher", 0, ("teacher", 0)),
        ({"action": "hold"}, "canary", 3000, ("canary", 3000)),
    ],
)
def test_a_route_without_a_rollout(
    world: Watched, monitor: dict[str, Any], mode: str, weight_bp: int, limited: tuple[str, int]
) -> None:
    world.watch(**monitor, **AUTO)
    by_hand(world, mode, weight_bp)
    before = world.route
    world.alarm()
    world.look(5)
    assert (world.route.mode, world.route.weight_bp) == limited
    world.seen(100)
    world.look(1, step_s=61)
    world.look()
    assert world.standing == []
    assert (world.route.mode, world.route.weight_bp, world.route.limit_bp) == (before.mode, before.weight_bp, None)


def test_neither_time_nor_requests_alone_end_it(world: Watched) -> None:
    world.watch(action="teacher", **AUTO)
    by_hand(world, "canary", 1000)
    world.alarm()
    world.look(2, step_s=1000)
    assert world.standing == ["teacher"]
    world.alarm()  # begins the time anew
    world.look()
    world.seen(100)
    world.look()
    assert world.standing == ["teacher"]
    world.look(1, step_s=61)
    assert world.standing == []


def test_it_never_flaps(world: Watched) -> None:
    """Each time that it comes back it takes twice as many clean requests."""
    world.watch(action="teacher", **AUTO)
    by_hand(world, "canary", 1000)
    for times in (1, 2, 4, 8):
        world.alarm()
        world.look()
        world.seen(100 * times - 1)
        world.look(1, step_s=61)
        assert world.standing == ["teacher"]
        world.seen(1)
        world.look(1, step_s=2)  # what stands is looked at once a second
        assert world.standing == []
    world.look(1, step_s=90_000)  # a day later it is forgotten
    world.alarm()
    world.look()
    world.seen(100)
    world.look(1, step_s=61)
    assert world.standing == []


def test_a_person_ends_what_no_request_does(world: Watched) -> None:
    world.watch(action="teacher")
    by_hand(world, "canary", 1000)
    world.alarm()
    world.look()
    world.seen(100_000)
    world.look(5, step_s=10_000)
    assert (world.standing, world.route.mode) == (["teacher"], "shadow")
    by_hand(world, "canary", 2000)
    world.look(3)
    assert (world.standing, world.route.mode, world.route.weight_bp) == ([], "canary", 2000)


def test_a_rollout_is_held_and_let_go(world: Watched) -> None:
    world.watch(action="hold", **AUTO)
    to_canary(world)
    world.alarm()
    world.look(3)
    assert (world.phase, world.row.state.hold, world.row.state.note) == (
        Phase.HOLD, Hold.DRIFT, "novelty: unlike the training data",
    )  # fmt: skip
    assert (world.route.mode, world.route.weight_bp) == ("canary", 1000)  # nobody is moved
    assert [event.kind for _, _, event in world.store.events(world.row.id)].count("hold") == 1
    world.seen(100)
    world.look(1, step_s=61)
    [*_, (_, _, last)] = world.store.events(world.row.id)
    assert (world.phase, last.kind, last.actor) == (Phase.CANARY, "resume", "monitor")


def test_a_rollout_that_a_person_resumes_is_not_held_again(world: Watched) -> None:
    world.watch(action="hold", **AUTO)
    to_canary(world)
    world.alarm()
    world.look(3)
    world.verb("resume")
    world.look(3)
    assert (world.phase, world.standing, world.done[-1][2]) == (Phase.CANARY, [], "overruled")


def test_a_rollout_started_under_a_verdict_waits(world: Watched) -> None:
    world.watch(action="hold", **AUTO)
    world.alarm()
    world.look()
    world.start()
    world.look(1)
    documents = world.documents.all("verdict")
    assert documents  # the route's adapter is the rollout's now: the old student's verdict is moot
    world.look(3)
    assert world.standing == []
    world.alarm()
    world.look(2)
    assert world.row.state.hold is Hold.DRIFT


def test_a_rollout_goes_on_under_its_own_share_after_a_limit(world: Watched) -> None:
    """What was served under the limit is no evidence about the step: no mismatch of shares is seen."""
    world.watch(action="teacher", **AUTO)
    to_canary(world)
    world.alarm()
    world.look(2)
    assert (world.phase, world.route.mode, world.route.limit_bp) == (Phase.HOLD, "shadow", 0)
    units = world.row.ledger.srm
    for _ in range(5):
        world.ask(200)
        world.look(2)
    assert world.row.ledger.srm == units
    world.seen(100)
    world.look(1, step_s=61)
    world.look()
    assert (world.phase, world.route.mode, world.route.weight_bp) == (Phase.CANARY, "canary", 1000)
    for _ in range(20):
        world.ask(100)
        world.look(1, step_s=3)
    assert world.phase is Phase.PROMOTED


def test_a_lasting_drift_is_one_event(world: Watched) -> None:
    world.watch(action="teacher", **AUTO)
    by_hand(world, "canary", 1000)
    world.alarm()
    world.look()
    version, told = world.store.state.version(), len(world.audit())
    for _ in range(20):
        world.alarm()
        world.look()
    [verdict] = verdicts.standing(world.documents)
    assert (verdict.alarms, world.store.state.version(), len(world.audit())) == (21, version, told)


def test_an_alarm_told_twice_counts_once(world: Watched) -> None:
    world.watch(action="teacher", **AUTO)
    by_hand(world, "canary", 1000)
    world.alarm(7)
    world.look()
    world.alarm(7)
    world.look()
    [verdict] = verdicts.standing(world.documents)
    assert (verdict.alarms, len(world.done)) == (1, 1)


@pytest.mark.parametrize("looks", range(4))
def test_killed_anywhere_the_next_controller_goes_on(world: Watched, looks: int) -> None:
    world.watch(action="teacher", **AUTO)
    to_canary(world)
    world.alarm()
    world.look(looks)
    world.now += 10  # the old lease is over
    world.new_controller()
    world.look(3)
    version = world.route.version
    assert (world.phase, world.route.mode) == (Phase.HOLD, "shadow")
    assert [event.kind for _, _, event in world.store.events(world.row.id)].count("hold") == 1
    world.look(10)
    assert world.route.version == version


def test_an_adapter_that_is_gone_takes_its_verdict_along(world: Watched) -> None:
    world.watch(action="teacher")
    to_canary(world)
    assert world.adapter == STUDENT_NAME
    world.alarm()
    world.look(2)
    world.verb("rollback")
    world.look()
    world.served()
    world.look(3)
    assert (world.phase, world.standing) == (Phase.ROLLED_BACK, [])
    assert world.store.state.override(world.settings.routes["triage"]).limit_bp is None


def test_a_monitor_that_is_turned_off_decides_nothing(world: Watched) -> None:
    world.watch(action="teacher")
    by_hand(world, "canary", 1000)
    world.alarm()
    world.look()
    off = replace(world.settings.routes["triage"], monitors=Monitors(novelty=None))
    world.controller.settings = replace(world.settings, routes={"triage": off})
    world.look(2)
    assert (world.standing, world.route.mode) == ([], "canary")
    world.alarm()
    world.look()
    assert (world.standing, world.done[-1][2]) == ([], "ignored")


def test_a_limit_gives_to_the_teacher_and_not_to_a_student_in_his_place(world: Watched) -> None:
    given = Override(3, "canary", 500, incumbent=json.dumps({"adapter": "old@3f9c1a"}))
    route = world.settings.routes["triage"]
    assert given.applied(route).incumbent is not None
    assert replace(given, limit_bp=100).applied(route).incumbent is not None
    assert replace(given, limit_bp=0).applied(route).incumbent is None
    assert Override(3, "canary", 500).limit_bp is None
