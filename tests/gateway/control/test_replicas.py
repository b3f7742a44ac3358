"""Several replicas of the controller over one Redis: everybody's evidence once, one leader, and no decision twice."""

import json
from pathlib import Path

import pytest

from graduand.gateway.control.store.rollouts import LEASE, LEASE_S
from graduand.gateway.logs.tail import Batch
from graduand.gateway.state import redis_stream
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.redis_hashes import RedisHashes
from graduand.rollout.state import Phase
from tests.gateway.control.worlds import World
from tests.gateway.redises import RedisServer


class Replicas:
    """Three worlds with a disk each, over one Redis and one clock."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.worlds = [World(folder / name, state=server.url) for name in ("a", "b", "c")]
        for number, world in enumerate(self.worlds):
            world.asked = number * 100_000

    def look(self, *who: int, step_s: float = 0.1) -> None:
        now = max(world.now for world in self.worlds) + step_s
        for world in self.worlds:
            world.now = now
        for number in who or range(len(self.worlds)):
            self.worlds[number].controller.look()

    def ask(self, count: int, agree: float = 1.0) -> None:
        for world in self.worlds:
            world.ask(count, agree)


@pytest.fixture
def replicas(redis_server: RedisServer, tmp_path: Path) -> Replicas:
    made = Replicas(redis_server, tmp_path)
    made.worlds[0].start()
    for _ in range(3):
        made.look()
    return made


def test_everybodys_evidence_counts_once(replicas: Replicas) -> None:
    a, b, c = replicas.worlds
    for _ in range(4):
        replicas.ask(4)
        replicas.look()
    replicas.look()
    assert a.row.ledger.pairs == b.row.ledger.pairs == c.row.ledger.pairs == 48
    assert a.row.counts.get("seen before", 0) == 0
    replicas.ask(2)
    replicas.look()
    replicas.look()
    assert (b.phase, c.route.mode) == (Phase.CANARY, "canary")
    assert [one.store.tokens("triage-1")[-1] for one in replicas.worlds] == [1, 1, 1]
    assert a.store.state.served() == {}
    assert a.controller._store.state.client.xlen(redis_stream.STREAM) == 0  # type: ignore[attr-defined]


def test_another_takes_over_where_the_leader_was_killed(replicas: Replicas) -> None:
    a, b, c = replicas.worlds
    replicas.ask(6)
    replicas.look(0, 1, 2)
    replicas.ask(6)
    replicas.look(1, 2)  # the first one is dead by now; the others share what they have
    assert a.row.ledger.pairs < 36
    replicas.look(1, 2, step_s=LEASE_S + 1)
    replicas.look(1, 2)
    assert b.row.ledger.pairs == 30  # what the dead one had not read yet waits on its disk
    assert b.row.token == 2
    a.new_controller()  # and is started again
    replicas.look()
    replicas.look()
    assert a.row.ledger.pairs == 36
    assert a.row.counts.get("seen before", 0) == 0
    assert c.store.state.lease(LEASE)[1] == 2


@pytest.mark.parametrize("when", ["before sharing", "after sharing", "before the commit", "after the commit"])
def test_a_kill_anywhere_loses_and_doubles_nothing(
    replicas: Replicas, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [a, *_] = replicas.worlds
    replicas.ask(20)

    class Killed(Exception):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    store = a.controller._store
    stream, hashes = store.state.stream, store.state.hashes
    assert isinstance(hashes, RedisHashes)
    assert stream is not None
    with monkeypatch.context() as patch:
        match when:
            case "before sharing":
                patch.setattr(stream, "append", killed)
            case "after sharing":
                patch.setattr(store.state, "lease", killed)
            case "before the commit":
                patch.setattr(hashes, "_write", killed)
            case "after the commit":
                write = hashes._write
                patch.setattr(hashes, "_write", lambda: (write(), killed()))
        with pytest.raises(Killed):
            replicas.look(0)
    a.new_controller()
    replicas.look(step_s=LEASE_S + 1)
    replicas.look()
    replicas.look()
    assert a.row.ledger.pairs == 60
    assert a.row.counts.get("seen before", 0) == 0
    assert [event.kind for _, _, event in a.store.events("triage-1")] == ["start", "prechecked", "advance"]


def test_a_deposed_leader_changes_nothing(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """It read and began to learn, was frozen, and another one led meanwhile."""
    a, b, _ = replicas.worlds
    replicas.ask(20)
    read = a.controller._store.read

    def frozen(folder: Path, since: float) -> Batch:
        batch = read(folder, since)
        replicas.look(1, 2, step_s=LEASE_S + 1)
        replicas.look(1, 2)
        return batch

    monkeypatch.setattr(a.controller._store, "read", frozen)
    replicas.look(0)
    assert b.row.token == 2
    events = len(b.store.events("triage-1"))
    monkeypatch.undo()
    replicas.look()
    replicas.look()
    assert b.row.ledger.pairs == 60
    assert b.row.counts.get("seen before", 0) == 0
    assert len(b.store.events("triage-1")) >= events
    assert b.store.tokens("triage-1") == sorted(b.store.tokens("triage-1"))


def test_three_records_of_a_request_meet_in_any_order(redis_server: RedisServer, tmp_path: Path) -> None:
    """The student in service, the new one and the teacher."""
    world = World(tmp_path, state=redis_server.url, mode="student")
    world.start(gates=["agreement 0.8", "incumbent"], audit=1.0)
    world.look(3)
    path = world.folder / "logs" / "segments" / "w0.jsonl"
    lines = world.lines(4)
    assert len(lines) == 12
    for line in lines[::5] + lines[1::5] + lines[2::5] + lines[3::5] + lines[4::5]:
        with path.open("a") as out:
            out.write(line + "\n")
        world.look()
    assert world.row.ledger.pairs == 4
    assert world.row.incumbent is not None
    assert world.controller._store.state.client.hlen("graduand:waiting") == 0  # type: ignore[attr-defined]


def test_a_full_stream_makes_replicas_wait(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_stream, "MOST_WAITING", 50)
    a, b, _ = replicas.worlds
    for _ in range(3):
        b.ask(20)
        replicas.look(1)  # nobody leads
    client = a.controller._store.state.client  # type: ignore[attr-defined]
    assert 50 <= client.xlen(redis_stream.STREAM) <= 80
    for _ in range(4):
        replicas.look(0, 1)
    assert a.row.ledger.pairs == 60


def test_no_text_travels_that_nothing_is_compared_with(replicas: Replicas) -> None:
    """A canary at 10% with a sample of 0 in the shadow: served requests come without what was said."""
    _, b, _ = replicas.worlds
    lines = [json.loads(line) for line in b.lines(3)]
    path = b.folder / "logs" / "segments" / "w0.jsonl"
    alone = {**lines[0], "copy_wanted": False, "id": "alone"}
    others = [{**lines[1], "rollout": "another-1"}, {**lines[1], "rollout": None}]
    path.write_text("".join(json.dumps(one) + "\n" for one in (alone, lines[0], lines[1], *others)))
    replicas.look(1)
    client = b.controller._store.state.client  # type: ignore[attr-defined]
    sent = [json.loads(fields[b"line"]) for _, fields in client.xrange(redis_stream.STREAM)]
    assert [one["id"] for one in sent] == ["alone", lines[0]["id"], lines[1]["id"]]
    assert (sent[0]["request_json"], sent[0]["response_json"]) == (None, None)
    assert sent[1] == lines[0]


def test_what_an_ended_rollout_leaves(replicas: Replicas) -> None:
    [a, *_] = replicas.worlds
    a.ask(3)
    replicas.look()
    client = a.controller._store.state.client  # type: ignore[attr-defined]
    a.verb("abort")
    assert not list(client.scan_iter("graduand:units:*"))
    assert not list(client.scan_iter("graduand:samples:*"))
    assert client.hlen("graduand:rollouts:live") == 0
    assert a.store.row("triage-1") is not None


def test_offsets_of_segments_that_are_gone_are_forgotten(replicas: Replicas) -> None:
    [a, *_] = replicas.worlds
    a.ask(2, file="old")
    replicas.look(0)
    (a.folder / "logs" / "segments" / "old.jsonl").unlink()
    a.ask(2, file="new")
    replicas.look(0)
    client = a.controller._store.state.client  # type: ignore[attr-defined]
    [key] = list(client.scan_iter("graduand:tail:*"))
    assert list(client.hgetall(key)) == [b"new.jsonl"]
    replicas.look(0)
    assert a.row.ledger.pairs == 4


def test_an_emptied_redis_stops_the_controller(replicas: Replicas, redis_server: RedisServer) -> None:
    replicas.ask(20)
    redis_server.empty()
    for number in range(3):
        with pytest.raises(StateError, match="graduand state accept"):
            replicas.look(number)
    assert set(redis_server.client().hgetall("graduand:meta")) == {b"lost"}
