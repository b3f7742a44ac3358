"""Rollouts in a file and in Redis: the same answers to the same calls, and nothing lost or doubled by a kill."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.control.store import observations
from graduand.gateway.control.store.log import SEEN_S
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row, from_json, to_json
from graduand.gateway.logs.tail import Line, Place
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.redis_client import connect
from graduand.gateway.state.redis_store import RedisStore
from graduand.gateway.state.replica import ReplicaFolder
from graduand.gateway.state.sqlite import SqliteStore
from graduand.rollout import ledger
from graduand.rollout.hybrid.learning import Learning
from graduand.rollout.hybrid.pairs import Pair
from graduand.rollout.ledger import Awaited
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Event, Phase, draft
from tests.gateway.control.worlds import SPEC, TASK, World
from tests.gateway.redises import RedisServer

OUTCOME = {"outcome": {"within": "1m", "right": ["accepted"]}}
ROUTES = ("triage", "team/triage")
IDS = ("triage-1", "triage-2", "team-triage-1")
TIMES = st.sampled_from([0.0, 899.5, 900.0, 1e9 + 1 / 3, 1e9 + 60, 1e9 + 3700])
SMALL = st.integers(0, 3)
RECORDS = st.sampled_from(["id-1", "id-2", "ö\0"])
PARTS = st.sampled_from(["served", "shadow", "audit"])
# Of the first day of 1970, and of one in 2026.
STATED = st.sampled_from(["id-1", "019ac5f0-0000-7000-8000-000000000001"])
PHASES = st.sampled_from(list(Phase))


def row_of(name: str, phase: Phase = Phase.SHADOW, version: int = 1, entry: int = 1, attempt: int = 0) -> Row:
    spec = specfile.read(
        {**SPEC, "route": ROUTES[name.startswith("team")], "gates": ["agreement 0.8", "correctness 0.6"]}
    )
    state = replace(draft(name, spec, "salt", 1.0), phase=phase, version=version, entry=entry, attempt=attempt)
    return Row(state, ledger.start(state), TASK, created_at=1764468045.1234567, started_at=5.5, token=version)


def _event(store: Rollouts, row: Row) -> str:
    try:
        store.write_event(row, Event("start", 1.5, 0, actor="ann", reason="ö"))
    except StateError as error:
        return str(error)
    return ""


def _nth(store: Rollouts, row: Row, place: int) -> int:
    """The number of a pair that waits, or one that nobody has."""
    waiting = [pair for queue in store.judging(row.id, 10) for pair in queue]
    return waiting[place][0] if place < len(waiting) else 10**15


def _verdict(store: Rollouts, row: Row, place: int) -> Any:
    number = _nth(store, row, place)
    store.write_verdict(number, place, None if place == 1 else "A")
    return store.judging_case(number)


def _taken(store: Rollouts, _: Row, record: str, role: str) -> bool:
    return store.take_waiting(record, role) is not None


# By name: what is done, and with what.
Call = Callable[..., Any]
CALLS: dict[str, tuple[Call, tuple[st.SearchStrategy[Any], ...]]] = {
    "row": (lambda store, row: store.write_row(row), ()),
    "event": (_event, ()),
    "told": (lambda store, row, hook, version: store.write_notified(row.id, hook, version), (SMALL, SMALL)),
    "unit": (lambda store, row, unit: store.write_unit(row, unit), (SMALL,)),
    "forget units": (lambda store, row: store.write_forget_units(row), ()),
    "point": (lambda store, row, at, what: store.write_point(row, at, {"n": what}), (TIMES, SMALL)),
    "disagreement": (lambda store, row, at, record: store.write_disagreement(row, at, record, {"a": at}), (TIMES, RECORDS)),
    "sample": (lambda store, row, what, no: store.write_sample(row, Pair(what, 1.0, (what / 3,), no)), (SMALL, st.booleans())),
    "forget samples": (lambda store, row: store.write_forget_samples(row), ()),
    "judging": (
        lambda store, row, day, served: store.write_judging(row, day, [0, 1], {"day": day}, served=served),
        (SMALL, st.booleans()),
    ),
    "verdict": (_verdict, (SMALL,)),
    "judged": (lambda store, row, place: store.write_judged(_nth(store, row, place)), (SMALL,)),
    "forget judging": (lambda store, row: store.write_forget_judging(row), ()),
    "question": (lambda store, row, record, what: store.write_question(row, record, {"q": what}), (RECORDS, SMALL)),
    "forget question": (lambda store, row, record: store.write_forget_questions(row, [record]), (RECORDS,)),
    "label": (lambda store, row, record, what: store.write_label(row, record, {"l": what}), (RECORDS, SMALL)),
    "forget reviews": (lambda store, row: store.write_forget_reviews(row), ()),
    "statement": (
        lambda store, row, record, at, score: store.write_statement(record, at, score, "ö"),
        (STATED, TIMES, st.one_of(st.none(), TIMES)),
    ),
    "forget statements": (lambda store, row, before: store.write_forget_statements(before), (TIMES,)),
    "awaited": (
        lambda store, row, record, at: store.write_awaited(row, Awaited(record, at, True, 1, True, False)), (RECORDS, TIMES)
    ),
    "awaited done": (
        lambda store, row, most: store.write_awaited_done(row, [place for place, _ in store.awaited(row, most)]), (SMALL,)
    ),
    "forget awaited": (lambda store, row: store.write_forget_awaited(row), ()),
    "offsets": (lambda store, row, end: store.write_offsets({"evidence": end}), (SMALL,)),
    "gone": (lambda store, row: store.write_gone(["evidence", "other"]), ()),
    "seen": (lambda store, row, record, at: store.write_seen(record, at), (RECORDS, TIMES)),
    "waiting": (
        lambda store, row, record, role, at: store.write_waiting(record, role, Line(Place("w0", 1, 2), b"{}"), at),
        (RECORDS, PARTS, TIMES),
    ),
    "taken": (_taken, (RECORDS, PARTS)),
    "forgotten": (lambda store, row, halves, ids: store.write_forgotten(halves, ids), (TIMES, TIMES)),
}  # fmt: skip
ROWS = st.builds(row_of, st.sampled_from(IDS), PHASES, SMALL, SMALL, SMALL)
STEPS = st.sampled_from(sorted(CALLS)).flatmap(lambda name: st.tuples(st.just(name), ROWS, *CALLS[name][1]))


def shown(store: Rollouts) -> Any:
    """All that can be read."""
    rows = [row_of(name, entry=entry, attempt=entry) for name in IDS for entry in range(4)]
    return {
        "rows": [to_json(row) for row in store.rows()],
        "of routes": [([row.id for row in store.rows(route=one, limit=1)], store.number(one)) for one in ROUTES],
        "live": [row.id for row in store.live()],
        "judging": [
            [(wanted, said, store.judging_case(number)) for queue in store.judging(name, 3) for number, wanted, said in queue]
            for name in IDS
        ],
        "offsets": store.offsets(),
        "samples": [(store.samples(row, 2), store.sample_count(row)) for row in rows],
        "reviews": [
            (store.question(row, one), store.label(row, one), store.labelled(row, [one, "other"]))
            for row in rows
            for one in ("id-1", "ö\0")
        ],
        "listening": store.listening(),
        "awaited": [store.awaited(row, 3) for row in rows],
        "statements": [store.statements(one) for one in ("id-1", "019ac5f0-0000-7000-8000-000000000001")],
        "of each": [
            (
                store.row(name) is None, store.events(name), store.tokens(name), store.course(name, most=3),
                store.last_point(name), store.disagreements(name, 2), store.judging_count(name),
                [store.judged_on(name, day) for day in range(4)], [store.notified(name, hook) for hook in range(4)],
            )
            for name in IDS
        ],
    }  # fmt: skip


ABOUT: Any = {"rollout": IDS[0], "id": "id-1", "parent_id": None, "time": 900.0, "unit_hash": 1, "unit": 1}


class Undone(Exception):
    """A transaction that somebody thinks better of."""


def carried_out(store: Rollouts, steps: list[Any], *, kept: bool) -> list[Any]:
    answers: list[Any] = []
    try:
        with store.transaction():
            store.expect(
                [ABOUT],
                {IDS[0]: row_of(IDS[0])},
            )
            answers += [CALLS[name][0](store, row, *more) for name, row, *more in steps]
            if not kept:
                raise Undone
    except Undone:
        pass
    return answers


@given(transactions=st.lists(st.tuples(st.lists(STEPS, max_size=12), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_answer_the_same(
    transactions: list[tuple[list[Any], bool]], redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    redis_server.empty()
    folder = tmp_path_factory.mktemp("stores")
    redis = RedisStore(connect(redis_server.url, None), ReplicaFolder(folder))
    redis.found()
    stores = [Rollouts(SqliteStore(folder / "state.db")), Rollouts(redis)]
    for steps, kept in transactions:
        file, other = (carried_out(store, steps, kept=kept) for store in stores)
        assert file == other
        assert shown(stores[0]) == shown(stores[1])
    for store in stores:
        store.close()


# What the answers are; by both.


@pytest.fixture
def world(tmp_path: Path, state: str) -> World:
    return World(tmp_path, state=state)


@pytest.fixture
def store(world: World) -> Rollouts:
    return world.store


def test_the_newest_first_whatever_their_clocks_said(store: Rollouts) -> None:
    for name in IDS:
        with store.transaction():
            store.write_row(row_of(name))
    with store.transaction():
        store.write_row(row_of(IDS[0], Phase.ABORTED))
    assert [row.id for row in store.rows()] == [*reversed(IDS)]
    assert [row.id for row in store.rows(route="triage")] == ["triage-2", "triage-1"]
    assert [row.id for row in store.live()] == ["team-triage-1", "triage-2"]
    assert (store.number("triage"), store.number("none")) == (2, 0)
    assert store.find("triage").id == "triage-2"


def test_a_row_comes_back_as_it_was() -> None:
    row = row_of(IDS[0])
    row.count("seen before")
    row.learning, row.incumbent, row.facts = Learning(starts=2, said="ö"), {"adapter": "x"}, {"teacher": ["gpt-4o"]}
    assert from_json(to_json(row)) == row
    older = json.loads(to_json(row))
    del older["incumbent"], older["facts"]
    row.incumbent, row.facts = None, {}
    assert from_json(json.dumps(older)) == row


def test_no_second_event_at_a_version(store: Rollouts) -> None:
    row, event = row_of(IDS[0]), Event("start", 1.5, 0)
    with store.transaction():
        store.write_event(row, event)
    with pytest.raises(StateError, match="has an event at version 1 already"), store.transaction():
        store.write_notified(row.id, 0, 1)
        store.write_event(row, event)
    assert [version for version, _, _ in store.events(row.id)] == [1]
    assert store.notified(row.id, 0) == 0


def test_only_the_latest_disagreements_are_kept(store: Rollouts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "DISAGREEMENTS_KEPT", 3)
    with store.transaction():
        for number in range(5):
            store.write_disagreement(row_of(IDS[0]), 1.0, f"id-{number}", {})
    assert [one["record"] for one in store.disagreements(IDS[0])] == ["id-4", "id-3", "id-2"]
    assert [one["record"] for one in store.disagreements(IDS[0], 1)] == ["id-4"]


def test_a_course_keeps_its_newest_point(store: Rollouts) -> None:
    with store.transaction():
        for number in range(10):
            store.write_point(row_of(IDS[0]), float(number), {"n": number})
    assert [one["n"] for one in store.course(IDS[0], most=4)] == [0, 3, 6, 9]
    assert store.last_point(IDS[0]) == 9.0


def test_a_rollout_at_rest_leaves_no_units_and_no_samples(store: Rollouts) -> None:
    row = row_of(IDS[0])
    with store.transaction():
        store.write_row(row)
        store.write_unit(row, 1)
        store.write_sample(row, Pair(1, 1.0, (0.5,), False))
        store.write_row(row_of(IDS[0], Phase.ROLLED_BACK))
    with store.transaction():
        assert (store.sample_count(row), store.write_unit(row, 1)) == (0, True)


def test_ids_are_forgotten_by_the_quarter_of_an_hour(store: Rollouts) -> None:
    with store.transaction():
        assert [store.write_seen("id", 1.0), store.write_seen("id", 1.0)] == [True, False]
        assert store.write_seen("id", SEEN_S + 1.0)
        store.write_forgotten(0.0, SEEN_S - 1.0)
        assert not store.write_seen("id", 1.0)
        store.write_forgotten(0.0, SEEN_S)
        assert [store.write_seen("id", 1.0), store.write_seen("id", SEEN_S + 1.0)] == [True, False]


@pytest.mark.parametrize("served", [False, True])
def test_a_late_verdict_meets_no_other_pair(store: Rollouts, served: bool) -> None:
    row = row_of(IDS[0])
    with store.transaction():
        store.write_row(row)
        store.write_judging(row, 1, [0], {"n": 1}, served=served)
        [(number, _, _)] = store.judging(row.id, 10)[not served]
        store.write_forget_judging(row)
        store.write_judging(row, 1, [0], {"n": 2}, served=served)
        store.write_verdict(number, 0, "A")
        store.write_judged(number)
        [(other, _, verdicts)] = store.judging(row.id, 10)[not served]
        assert store.judging(row.id, 10)[served] == []
    assert other != number
    assert (verdicts, store.judging_count(row.id), store.judging_case(other)) == ({}, 1, {"n": 2})


def test_what_was_served_waits_apart_and_comes_first(store: Rollouts) -> None:
    row = row_of(IDS[0])
    with store.transaction():
        store.write_row(row)
        for number in range(20):
            store.write_judging(row, 1, [0], {"n": number}, served=number >= 18)
        served, copies = store.judging(row.id, 5)
        assert [store.judging_case(number)["n"] for number, _, _ in served] == [18, 19]
        assert [store.judging_case(number)["n"] for number, _, _ in copies] == [0, 1, 2, 3, 4]
        assert (store.judging_count(row.id), store.judged_on(row.id, 1)) == (20, 20)
        store.write_judged(served[0][0])
        store.write_judged(copies[1][0])
        assert [len(queue) for queue in store.judging(row.id, 50)] == [1, 17]


def test_halves_that_wait_too_long_are_given_up(world: World) -> None:
    world.start()
    world.look(5)
    path = world.folder / "logs" / "segments" / "w0.jsonl"
    first, second = world.lines(1)
    path.write_text(first + "\n")
    world.look()
    world.look(step_s=2 * 3600)
    with path.open("a") as out:
        out.write(world.lines(1)[0] + "\n" + second + "\n")
    world.look()
    waiting = world.store.state.hashes.all("waiting")
    assert waiting.keys() == world.store.state.hashes.all("waiting:since").keys()
    assert sorted(waiting) == ["served id-2"]
    assert len(world.store.state.hashes.all("seen")) == 1


@pytest.mark.parametrize("when", ["before reading", "after reading", "before the commit", "after the commit"])
def test_a_kill_anywhere_loses_and_doubles_nothing(world: World, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.look(3)
    world.ask(20)

    class Killed(Exception):
        pass

    def killed(*_: object) -> None:
        raise Killed

    store = world.controller._store
    with monkeypatch.context() as patch:
        match when:
            case "before reading":
                patch.setattr(store, "read", killed)
            case "after reading":
                patch.setattr(store, "expect", killed)
            case "before the commit":
                patch.setattr(world.controller._desk, "settle", killed)
            case "after the commit":
                patch.setattr(world.controller._desk, "settled", killed)
        with pytest.raises(Killed):
            world.look()
    counted = world.row.ledger.pairs
    assert counted == (20 if when == "after the commit" else 0)
    world.new_controller()
    world.look(step_s=10)
    world.look(2)
    assert world.row.ledger.pairs == 20
    assert world.row.counts.get("seen before", 0) == 0
    assert world.row.token == 2
    assert [event.kind for _, _, event in world.store.events("triage-1")] == ["start", "prechecked"]


def test_a_far_store_is_asked_for_a_batch_at_once(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many records a look takes, Redis is asked as often."""
    world = World(tmp_path, state=redis_server.url)
    world.start(steps=[{"shadow": {"pairs": 1000, "t_max": "1h"}}, {"full": {"requests": 20, "dwell": "10s"}}])
    world.look(3)
    client = world.controller._store.state.client  # type: ignore[attr-defined]
    asked: list[str] = []
    execute = client.execute_command
    monkeypatch.setattr(
        client, "execute_command", lambda *args, **more: asked.append(args[0]) or execute(*args, **more)
    )
    counts = []
    for size in (2, 200):
        world.ask(size)
        asked.clear()
        world.look()
        counts.append(len(asked))
    assert world.row.ledger.pairs == 202
    assert counts[0] == counts[1] < 40, asked
