"""Segments stay for as long as the controller may need them, and no longer."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.logs.tail import PAIR_WITHIN_S
from graduand.gateway.monitor.store import MonitorStore
from graduand.gateway.processes.holding import FRESH_S, MONITOR_WITHIN_S, Holding, whole_bytes
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.sqlite import SqliteStore
from tests.gateway.control.worlds import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def done(world: World) -> Callable[[], set[str]]:
    """The segments that nobody needs; their files were last written when the world's clock stood where it stands now."""
    holding = Holding(
        world.folder / "logs", lambda: Rollouts(SqliteStore(world.folder / "state.db")), lambda: world.now
    )

    def done() -> set[str]:
        return holding.done_with(sorted((world.folder / "logs" / "segments").glob("*.jsonl")))

    return done


def written(world: World, name: str) -> None:
    """The file's clock is the world's."""
    os.utime(world.folder / "logs" / "segments" / f"{name}.jsonl", (world.now, world.now))


def test_without_rollouts_only_fresh_ones_stay(world: World, done: Callable[[], set[str]]) -> None:
    world.ask(3)
    written(world, "w0")
    assert done() == set()
    world.now += FRESH_S + 1
    assert done() == {"w0.jsonl"}


def test_until_it_has_been_read(world: World, done: Callable[[], set[str]]) -> None:
    world.ask(3, file="before")
    written(world, "before")
    world.now += 60
    world.start()
    world.look(5)
    world.served()
    world.look(5)
    world.ask(3)
    written(world, "w0")
    world.now += FRESH_S + 1
    assert done() == {"before.jsonl"}
    world.look(5)
    written(world, "w0")
    world.now += FRESH_S + 1
    assert done() == {"before.jsonl", "w0.jsonl"}
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write('{"id": "cut of')
    written(world, "w0")
    world.now += FRESH_S + 1
    assert done() == {"before.jsonl", "w0.jsonl"}
    world.ask(1)
    assert "w0.jsonl" not in done()


def test_while_half_a_pair_waits_in_it(world: World, done: Callable[[], set[str]]) -> None:
    world.start()
    world.look(5)
    world.served()
    world.look(5)
    lines = world.lines(1)
    assert len(lines) == 2
    for name, line in zip(("served", "copy"), lines, strict=True):
        path = world.folder / "logs" / "segments" / f"{name}.jsonl"
        if name == "served":
            path.write_text(line + "\n")
            written(world, name)
            world.look(5)
            world.now += FRESH_S + 1
            assert done() == set()
        else:
            path.write_text(line + "\n")
            written(world, name)
            world.look(5)
            world.now += FRESH_S + 1
            assert done() == {"served.jsonl", "copy.jsonl"}


def test_not_for_ever(world: World, done: Callable[[], set[str]]) -> None:
    world.start()
    world.look(5)
    world.served()
    world.look(5)
    (world.folder / "logs" / "segments" / "w0.jsonl").write_text(world.lines(1)[0] + "\n")
    written(world, "w0")
    world.look(5)
    world.now += PAIR_WITHIN_S + FRESH_S + 1
    assert done() == {"w0.jsonl"}


def test_a_store_that_cannot_be_read_holds_everything(world: World) -> None:
    world.ask(1)
    written(world, "w0")
    world.now += FRESH_S + 1

    def broken() -> Rollouts:
        raise StateError("disk I/O error")

    with pytest.raises(StateError, match="disk I/O error"):
        Holding(world.folder / "logs", broken, lambda: world.now).done_with(
            [world.folder / "logs" / "segments" / "w0.jsonl"]
        )


def test_until_the_monitor_has_read_it(world: World, done: Callable[[], set[str]]) -> None:
    world.ask(3)
    written(world, "w0")
    size = (world.folder / "logs" / "segments" / "w0.jsonl").stat().st_size
    monitor = MonitorStore(world.folder / "logs", "me", world.now)
    world.now += FRESH_S + 1
    assert done() == set()
    monitor.commit({"w0.jsonl": size}, {}, {})
    assert done() == {"w0.jsonl"}
    monitor.commit({"w0.jsonl": 1}, {}, {})
    world.now += MONITOR_WITHIN_S
    assert done() == {"w0.jsonl"}
    monitor.close()


def test_forgetting(world: World) -> None:
    world.start()
    world.look(5)
    world.ask(1)
    world.look(5)
    assert "w0.jsonl" in world.store.offsets()
    Holding(world.folder / "logs", lambda: Rollouts(SqliteStore(world.folder / "state.db"))).forget(
        ["w0.jsonl", "other"]
    )
    assert world.store.offsets() == {}


@pytest.mark.parametrize(
    ("data", "end"),
    [(b"", 0), (b"x", 0), (b"a\n", 2), (b"a\nb", 2), (b"a\n" + b"b" * 200_000, 2), (b"b" * 200_000 + b"\n", 200_001)],
)
def test_whole_lines(tmp_path: Path, data: bytes, end: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    assert whole_bytes(path) == end
