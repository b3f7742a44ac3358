"""The controller in a made-up world: what moves a rollout, what never does, and what a crash or a rival may not change."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control import moves
from graduand.gateway.control.gather import Gatherer
from graduand.gateway.control.store.rollouts import LEASE_S
from graduand.gateway.control.store.rows import from_json, to_json
from graduand.gateway.errors import RequestError
from graduand.gateway.logs.tail import PAIR_WITHIN_S, Line
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routes import Route, Teacher, Unit, read_unit
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.store import Override
from graduand.rollout.gates.one_sided import OneSided
from graduand.rollout.state import Hold, Phase
from tests.gateway.control.worlds import SPEC, STUDENT_NAME, World


@pytest.fixture
def world(tmp_path: Path, state: str) -> World:
    return World(tmp_path, state=state)


def to_canary(world: World) -> None:
    world.start()
    world.look(3)
    assert world.phase is Phase.SHADOW
    world.ask(60)
    world.look(2)
    assert world.phase is Phase.CANARY


def test_a_good_student_graduates(world: World) -> None:
    rollout = world.start()
    assert world.route.mode == "teacher"  # nothing before the prechecks
    to = world.route.version
    world.look(3)
    assert (world.route.mode, world.route.rollout, world.route.salt) == ("shadow", rollout, "salt-1")
    assert world.route.student is not None
    assert world.route.student.adapter == STUDENT_NAME
    assert world.route.version > to
    world.ask(60)
    world.look(2)
    assert (world.route.mode, world.route.weight_bp) == ("canary", 1000)
    for _ in range(5):
        world.ask(100)
        world.look(1, step_s=3)
    assert (world.route.mode, world.route.weight_bp) == ("student", 10_000)
    for _ in range(5):
        world.ask(100)
        world.look(1, step_s=3)
    assert world.phase is Phase.PROMOTED
    assert world.route.mode == "student"
    kinds = [event.kind for _, _, event in world.store.events(rollout)]
    assert kinds == ["start", "prechecked", "advance", "advance", "advance"]


POLICY = ({"own": {"name": "policy", "url": "http://127.0.0.1:1/check", "action": "flag"}},)
PASSES: Any = {"gates": ["agreement 0.8", {"check": {"name": "policy", "p0": 0.8}}]}


@pytest.mark.parametrize(("fails", "phase"), [(0, Phase.CANARY), (30, Phase.HOLD), (60, Phase.ROLLED_BACK)])
def test_a_check_of_ones_own_is_a_measure(tmp_path: Path, fails: int, phase: Phase) -> None:
    """All its answers are the teacher's; the check thinks otherwise of some."""
    world = World(tmp_path, checks=POLICY, fails_check=fails)
    world.start(**PASSES)
    world.look(3)
    for _ in range(3):
        world.ask(100)
        world.look(2)
        world.served()
        world.look(2)
    assert world.phase is phase, world.row.state.note
    if phase is Phase.ROLLED_BACK:
        assert "check:policy" in str([event.reason for _, _, event in world.store.events(world.row.id)])


def test_what_a_check_has_not_seen_has_not_passed(tmp_path: Path) -> None:
    """Another check is asked for than the records have."""
    world = World(tmp_path, checks=POLICY)
    world.start(gates=["agreement 0.8", {"check": {"name": "other", "p0": 0.8}}])
    world.look(3)
    world.ask(300)
    world.look(3)
    assert world.phase is Phase.SHADOW


def test_a_drop_after_promotion_rolls_back(world: World) -> None:
    world.start(audit=0.5, harm=[{"agreement": {"p0": 0.01}}])
    world.look(3)
    world.verb("promote", full=True)
    assert (world.phase, world.route.mode, world.route.audit_bp) == (Phase.PROMOTED, "student", 5000)
    for _ in range(5):
        world.ask(100, agree=0.95)
        world.look(1)
    assert world.phase is Phase.PROMOTED
    for _ in range(5):
        world.ask(100, agree=0.5)
        world.look(1)
    assert (world.phase, world.route.mode) == (Phase.ROLLING_BACK, "teacher")
    assert "harm gate watch" in world.row.state.note


def test_silence_moves_nothing(world: World) -> None:
    world.start(stale_after="60s")
    world.look(3)
    world.look(100, step_s=5)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.NO_DATA)
    assert world.route.mode == "shadow"
    world.ask(60)
    world.look(2)
    assert world.phase is Phase.CANARY  # it ended by itself when data came


def test_a_bad_student_is_rolled_back_weight_first(world: World) -> None:
    to_canary(world)
    for _ in range(12):
        world.ask(200, broken=True)
        world.look(1)
    assert world.phase is Phase.ROLLING_BACK
    assert (world.route.mode, world.route.weight_bp) == ("teacher", 0)
    world.look(5)
    assert world.phase is Phase.ROLLING_BACK  # no worker has said yet that it serves that
    world.served()
    world.look(1)
    assert world.phase is Phase.ROLLED_BACK


def test_a_student_that_disagrees_in_shadow_never_serves(world: World) -> None:
    world.start()
    world.look(3)
    for _ in range(5):
        world.ask(100, agree=0.5)
        world.look(1)
    assert world.phase is Phase.ROLLING_BACK
    assert "harm gate agreement" in world.row.state.note


def test_failures_of_one_unit_count_once_and_each_request_beside_it(world: World) -> None:
    world.start(harm=["errors"])
    world.look(3)
    world.ask(60)
    world.look(2)
    lines = [line for line in world.lines(200, broken=True) if "fallback:http_500" in line]
    lines = [line for line in lines if '"copy_wanted": true' in line]
    one = lines[0].replace('"attempts"', '"unit": 77, "attempts"')
    for number in range(50):
        with (world.folder / "logs" / "segments" / "w1.jsonl").open("a") as out:
            out.write(one.replace('"id": "id-', f'"id": "again-{number}-') + "\n")
    world.look(1, step_s=0.0)
    errors = world.row.ledger.harm["errors as served"].gate
    assert isinstance(errors, OneSided)
    assert (errors.n, errors.requests.n) == (1, 50)
    assert world.row.counts["student failed: http_500"] == 50
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.UNITS)
    assert "4d (50 times)" in world.row.state.note


def test_copies_that_never_came_are_missing_outcomes(world: World) -> None:
    world.start()
    world.look(3)
    lines = world.lines(20)
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("\n".join(line for number, line in enumerate(lines) if number % 2 == 0 or number < 10) + "\n")
    world.look(1)
    assert world.proof("agreement").n == 5
    world.now += PAIR_WITHIN_S
    world.ask(1)
    world.look(1)
    assert world.row.counts["copies that never came"] == 15
    assert (world.proof("agreement").n, world.proof("agreement").gate.total) == (21, 6.0)


def test_another_teacher_starts_new_evidence_and_says_why(world: World) -> None:
    rollout = world.start(steps=[{"shadow": {"pairs": 1000}}, "full"])
    world.look(3)
    for name in ("gpt-4o-1", "gpt-4o-2", "gpt-4o-1"):
        lines = [line.replace('"served_model": null', f'"served_model": "{name}"') for line in world.lines(10)]
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write("\n".join(lines) + "\n")
        world.look(2)
    events = [event for _, _, event in world.store.events(rollout) if event.kind == "renew"]
    assert [event.reason for event in events] == ["teacher as served is now gpt-4o-2, and was gpt-4o-1: new evidence"]
    assert world.row.state.basis == 2
    assert world.row.state.share < 0.5  # the route's account was drawn from again
    assert world.proof("agreement").n == 10


def test_a_rollout_of_an_earlier_versions_gates_is_held_and_told_what_stays(world: World) -> None:
    rollout = world.start()
    world.look(3)
    old = {
        **world.row.state.spec.to_dict(),
        "gates": [{"name": "agreement", "signal": "agreement", "start": {"kind": "agreement", "p0": 0.8, "harm": False,
                   "agreed": 0, "disagreed": 0}, "log_threshold": 3.0, "needed_in": ["shadow"]}],
        "harm": [{"name": "errors", "signal": "errors", "start": {"kind": "error_ratio", "tolerance": 0.25, "n": 0},
                  "log_threshold": 4.6, "needed_in": ["canary"]}],
    }  # fmt: skip
    for name in ("method", "cycle", "claim", "futility_log_threshold", "error_rate", "holdout_bp"):
        del old[name]
    row = world.row
    plain = row.state.to_dict()
    stored = json.loads(to_json(row))
    stored |= {"state": json.dumps({**plain, "spec": old}), "ledger": json.dumps({"pairs": 40, "attempt": 1})}
    loaded = from_json(json.dumps(stored))
    assert loaded.upgraded
    with world.store.transaction():
        moves.upgrade(world.store, loaded, world.now, world.settings.routes)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.METHOD)
    assert "40 pairs" in world.row.state.note
    assert [gate.p0 for gate in world.row.state.spec.gates] == [0.8]
    world.verb("resume")
    world.ask(60)
    world.look(2)
    assert (world.phase, world.row.state.spec.cycle) == (Phase.SHADOW, "24h")
    assert (world.row.ledger.pairs, world.store.events(rollout)[-1][2].kind) == (60, "resume")


def test_the_student_is_not_there(world: World) -> None:
    to_canary(world)
    lines = [line for line in world.lines(200, broken=True) if "fallback:http_500" in line][:3]
    with (world.folder / "logs" / "segments" / "w1.jsonl").open("a") as out:
        out.write("".join(line.replace("http_500", "model_missing") + "\n" for line in lines))
    world.look(1)
    assert world.phase is Phase.ROLLING_BACK
    assert "hard trip" in world.row.state.note


def test_a_worse_slice_is_held(world: World) -> None:
    gates = ["agreement 0.8", {"agreement": {"p0": 0.8, "slice": "refunds"}}]
    shadow = {"shadow": {"pairs": 50, "t_max": "100s"}}
    harm: list[Any] = [{"agreement": {"p0": 0.5}}]
    steps = [shadow, *SPEC["steps"][1:]]  # type: ignore[misc]
    world.start(gates=gates, slices={"refunds": {"prompt": "money"}}, steps=steps, harm=harm)
    world.look(3)
    for _ in range(10):
        world.ask(90, agree=0.99)
        world.ask(10, agree=0.6, prompt="my money back")
        world.look(1, step_s=15)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.FUTILE)
    assert "agreement@refunds" in world.row.state.note
    assert world.store.disagreements(world.row.id)[0]["slices"] in ([], ["refunds"])


def test_both_halves_of_a_pair_in_any_order_and_any_batch(world: World) -> None:
    world.start()
    world.look(3)
    lines = world.lines(3)
    order = [lines[1], lines[2], lines[5], lines[0], lines[4], lines[3]]
    for line in order:
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write(line + "\n")
        world.look(1)
    assert world.row.ledger.pairs == 3


def test_half_a_line_waits_for_its_end(world: World) -> None:
    world.start()
    world.look(3)
    [served, copy] = world.lines(1)
    path = world.folder / "logs" / "segments" / "w0.jsonl"
    path.write_text(served + "\n" + copy[:50])
    world.look(2)
    assert world.row.ledger.pairs == 0
    with path.open("a") as out:
        out.write(copy[50:] + "\n")
    world.look(1)
    assert world.row.ledger.pairs == 1


def test_a_record_counts_once_wherever_it_stands(world: World) -> None:
    world.start()
    world.look(3)
    world.ask(10)
    world.look(1)
    source = world.folder / "logs" / "segments" / "w0.jsonl"
    (world.folder / "logs" / "segments" / "copied.jsonl").write_text(source.read_text())
    world.look(2)
    assert world.row.ledger.pairs == 10
    assert world.row.counts["seen before"] == 20


def test_a_strange_record_stops_nothing(world: World) -> None:
    rollout = world.start()
    world.look(3)
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write(json.dumps({"id": "x", "rollout": rollout}) + '\nno json "rollout"\n[1]\n')
    world.ask(10)
    world.look(1)
    assert world.row.ledger.pairs == 10


@pytest.mark.parametrize("error", [RecursionError, OverflowError, AssertionError, RuntimeError, MemoryError, KeyError])
def test_a_record_that_cannot_be_taken_is_skipped_and_counted(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Whatever there is in it that nobody thought of: the others are taken, and nothing is asked of it again."""
    world.start()
    world.look(3)
    world.ask(10)
    taken = Gatherer.take
    bad: list[str] = []

    def take(self: Gatherer, line: Line, record: Record) -> None:
        if record["role"] == "served" and not bad:
            bad.append(record["id"])
        if record["id"] in bad:
            raise error("planted")
        taken(self, line, record)

    monkeypatch.setattr(Gatherer, "take", take)
    world.look(2)
    assert (world.row.ledger.pairs, world.row.counts["records that could not be taken"]) == (9, 1)


def test_a_store_that_is_away_is_no_fault_of_a_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.look(3)
    world.ask(1)

    def take(self: Gatherer, line: Line, record: Record) -> None:
        raise StateError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(Gatherer, "take", take)
        with pytest.raises(StateError):
            world.look(1)
    world.look(1, step_s=LEASE_S + 1)
    assert world.row.ledger.pairs == 1


def test_a_crash_inside_a_look_changes_nothing_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.look(3)
    world.ask(60)
    with monkeypatch.context() as patch:
        patch.setattr(world.controller._store, "write_event", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            world.look(1)
    assert (world.phase, world.row.ledger.pairs, world.route.mode) == (Phase.SHADOW, 0, "shadow")
    world.new_controller()
    world.look(1, step_s=LEASE_S + 1)
    assert (world.phase, world.row.ledger.pairs, world.route.mode) == (Phase.CANARY, 60, "canary")


def test_one_leader(world: World) -> None:
    world.start()
    world.look(3)
    first, second = world.controller, world.new_controller()
    world.ask(10)
    assert not second.look()
    assert world.row.ledger.pairs == 0
    world.now += LEASE_S + 1  # the first one was frozen
    second.look()
    assert world.row.ledger.pairs == 10
    assert (first.token, second.token) == (1, 2)
    world.ask(10)
    first.look()  # and wakes up
    assert world.row.ledger.pairs == 10
    assert world.row.token == 2


def test_records_of_an_earlier_attempt_teach_nothing_and_its_evidence_goes_on(world: World) -> None:
    world.start()
    world.look(3)
    world.ask(40)
    late = world.lines(10)
    world.look(1)
    world.verb("abort")
    assert world.route.mode == "teacher"
    world.verb("retry", salt="salt-2")
    world.look(3)
    assert (world.phase, world.route.salt, world.row.ledger.pairs) == (Phase.SHADOW, "salt-2", 40)
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("\n".join(late) + "\n")
    world.look(1)
    assert world.row.ledger.pairs == 40


def test_one_rollout_a_route_at_a_time(world: World) -> None:
    first = world.start()
    assert world.start() == first  # the same key: the same rollout
    with pytest.raises(RequestError, match="is in rollout triage-1"):
        world.start(key="start-2")


def test_answers_off_the_schema_are_counted_on_their_own(world: World) -> None:
    schema = {"type": "object", "properties": {"answer": {"const": "yes"}}}
    world.start(task={"kind": "json", "schema": schema})
    world.look(2)
    world.ask(10, agree=0.0)
    segment = world.folder / "logs" / "segments" / "w0.jsonl"
    said = segment.read_text()
    for word in ("yes", "no"):
        said = said.replace(f'\\"content\\": \\"{word}\\"', f"\\\"content\\\": \\\"{{'answer': '{word}'}}\\\"")
    segment.write_text(said)
    world.look()
    assert world.row.counts["student off schema"] == 10
    assert (world.row.ledger.pairs, world.row.ledger.unparsed) == (10, 10)


def test_a_new_system_prompt_starts_new_evidence(world: World) -> None:
    rollout = world.start(steps=[{"shadow": {"pairs": 1000}}, "full"])
    world.look(3)
    for prompt, count in (("be short", 60), ("be long", 19), ("be short", 5), ("be long", 40)):
        said = json.dumps([{"role": "system", "content": prompt}, {"role": "user", "content": "?"}])
        lines = [
            json.dumps({**json.loads(line), "request_json": json.dumps({"messages": json.loads(said)})})
            for line in world.lines(count)
        ]
        with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
            out.write("\n".join(lines) + "\n")
        world.look(2)
    reasons = [event.reason for _, _, event in world.store.events(rollout) if event.kind == "renew"]
    assert len(reasons) == 1
    assert "the system prompt has changed" in reasons[0]
    assert world.row.state.basis == 2


def test_a_running_rollout_keeps_the_rule_of_its_units(world: World) -> None:
    began, later = read_unit("user"), read_unit(["header:x-user"])

    def configure(unit: Unit) -> None:
        route = replace(world.settings.routes["triage"], unit=unit)
        world.settings = replace(world.settings, routes={"triage": route})
        world.new_controller()

    configure(began)
    to_canary(world)
    configure(later)
    assert world.route.unit == began
    world.now += LEASE_S  # the other controller has gone
    world.ask(100)
    world.look(3, step_s=3)
    world.verb("pause")
    world.verb("resume")
    assert (world.route.rollout, world.route.unit) == (world.row.id, began)
    world.verb("promote", full=True)
    assert (world.phase, world.route.unit) == (Phase.PROMOTED, later)


def test_a_rollout_that_began_before_users_had_other_names_goes_on_by_user_alone() -> None:
    route = Route("triage", Teacher("openai", "gpt-4o"), unit=read_unit("user"))
    before = Override(**json.loads('{"version": 3, "mode": "canary", "rollout": "triage-1", "salt": "s"}'))
    assert before.applied(route).unit == Unit(("user",))
    assert before.applied(replace(route, unit=Unit())).unit == Unit()
    assert replace(before, rollout=None).applied(route).unit == read_unit("user")
