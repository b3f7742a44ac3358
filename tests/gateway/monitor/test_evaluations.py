"""What the novelty detector said of each request is in the log: once, whole and of the last word, wherever the monitor is
killed; and a log that has no room does not keep the detector from detecting."""

import errno
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.logs import segment
from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from graduand.gateway.monitor.store import MonitorStore
from graduand.monitoring import metrics as m
from graduand.monitoring.drift.reference import Reference
from tests.gateway.monitor.test_monitor import ADAPTER, FOREIGN, USUAL, Json, World, reference

__all__ = ["reference"]
ONLY_NOVELTY: Json = {"mix": False, "descriptors": False, "outputs": False, "check_failures": False}


def folder_of(world: World) -> Path:
    return world.folder / "logs" / "drift" / "segments"


def written(world: World) -> list[Json]:
    """Rows as they were appended."""
    lines = [line for path in sorted(folder_of(world).glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def read(world: World, sql: str) -> list[Any]:
    with Log(Source.of(str(world.folder / "logs"))) as log:
        return list(log.query(sql).fetchall())


def test_every_evaluated_request_has_a_row(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, novelty={"false_alarm_every": 1000}, **ONLY_NOVELTY)
    usual, foreign = world.asks(USUAL[500:520]), world.asks(FOREIGN[:20])
    no_text, copy = world.asks(["x"], request_json=None), world.asks(["y"], role="shadow", parent_id="id-1")
    world.log([*usual, *foreign, *no_text, *copy])
    world.look()
    rows = written(world)
    assert [row["id"] for row in rows] == [one["id"] for one in [*usual, *foreign]]
    assert {(row["route"], row["adapter"], row["time"], row["schema_version"]) for row in rows} == {
        ("triage", ADAPTER, 1_000_000_000.0, 1)
    }
    assert max(row["novelty_p"] for row in rows[:20]) > 0.1 > 0.01 > rows[20]["novelty_p"] > 0
    [(top,)] = read(world, "SELECT max(e_value) FROM drift")
    assert top >= 2000  # the alarm's own value, before the evidence begins anew
    assert world.metric(m.DRIFT_RECORDS, "written") == 40
    in_log = dict(read(world, "SELECT id, drift.e_value FROM log"))
    assert in_log == {row["id"]: row["e_value"] for row in rows} | {"id-41": None, "id-42": None}
    assert read(world, "SELECT id FROM log WHERE drift IS NULL ORDER BY id") == [("id-41",), ("id-42",)]


def test_without_the_detector_there_is_none(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, novelty=False)
    world.log(world.asks(USUAL[500:510]))
    world.look()
    assert not folder_of(world).exists()
    assert read(world, "SELECT count(*), count(drift) FROM log") == [(10, 0)]


def test_killed_between_append_and_commit_nothing_is_missing_and_nothing_counts_twice(
    tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store dies at its commit in most looks: what is read is what a monitor that was never killed has said."""
    rng = random.Random(7)
    records = World(tmp_path / "made", None).asks([*USUAL[500:600], *FOREIGN[:30], *USUAL[600:630]])
    said, appended = {}, {}
    for way in ("never", "often"):
        (tmp_path / way).mkdir()
        world = World(tmp_path / way, reference, novelty={"false_alarm_every": 1000}, **ONLY_NOVELTY)
        for start in range(0, len(records), 20):
            world.log(records[start : start + 20])
            if way == "often" and rng.random() < 0.8:
                with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                    patch.setattr(MonitorStore, "commit", _killed)
                    world.look()
                world.monitor.close()
                world.start()
            world.look()
        said[way] = read(world, "SELECT id, novelty_p, e_value FROM drift ORDER BY id")
        appended[way] = len(written(world))
    assert appended["never"] == len(records) < appended["often"]
    assert said["often"] == said["never"]
    assert len(said["never"]) == len(records)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_half_a_row_that_a_kill_left_is_written_again(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, **ONLY_NOVELTY)
    folder_of(world).mkdir(parents=True)
    (folder_of(world) / "20010909T000000Z-monitor-1-00000.jsonl").write_text('{"id": "id-1", "nov')
    world.log(world.asks(USUAL[500:503]))
    world.look()
    assert read(world, "SELECT id FROM drift ORDER BY id") == [("id-1",), ("id-2",), ("id-3",)]


@pytest.mark.parametrize("room", [0, 100])
def test_a_full_disk_does_not_stop_detecting(
    tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    """With `room` bytes left, half a row is cut off; when there is room again, rows go to a new segment."""
    world = World(tmp_path, reference, **ONLY_NOVELTY)
    real = segment.os.write

    def full(file: int, data: Sequence[bytes]) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, room = b"".join(data)[:room], 0
        return real(file, taken)

    with monkeypatch.context() as patch:
        patch.setattr(segment.os, "writev", full)
        for start in range(500, 530, 10):
            world.log(world.asks(USUAL[start : start + 10]))
            world.look()
    assert world.reading("novelty")["n"] == 30
    assert world.metric(m.DRIFT_RECORDS, "lost") == 30
    assert caplog.text.count("what the novelty detector says cannot be logged") == 1
    assert len(list(folder_of(world).iterdir())) == 1  # not one more at each look
    world.now += 10
    world.log(world.asks(USUAL[530:540]))
    world.look()
    assert world.metric(m.DRIFT_RECORDS, "written") == 10
    assert read(world, "SELECT count(*) FROM drift") == [(10,)]


def test_a_folder_that_cannot_be_made_does_not_stop_detecting(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, **ONLY_NOVELTY)
    (world.folder / "logs" / "drift").write_text("in the way")
    world.log(world.asks(USUAL[500:510]))
    world.look()
    assert world.reading("novelty")["n"] == 10
    assert world.metric(m.DRIFT_RECORDS, "lost") == 10


def test_a_spool_that_is_full_takes_no_rows(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, **ONLY_NOVELTY)
    world.settings = replace(world.settings, record=replace(world.settings.record, spool_mb=1))
    world.monitor.close()
    world.start()
    (world.folder / "logs" / "segments" / "old.damaged").write_bytes(b"x" * (1 << 20))
    world.log(world.asks(USUAL[500:510]))
    world.look()
    assert (world.reading("novelty")["n"], world.metric(m.DRIFT_RECORDS, "lost")) == (10, 10)
    (world.folder / "logs" / "segments" / "old.damaged").unlink()
    world.log(world.asks(USUAL[510:515]))
    world.look()
    assert world.metric(m.DRIFT_RECORDS, "written") == 5


def test_a_quiet_segment_is_closed_by_and_by(
    tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the last rows of a route that nobody asks would never be shipped."""
    world = World(tmp_path, reference, **ONLY_NOVELTY)
    world.log(world.asks(USUAL[500:503]))
    world.look()
    later = segment.time.monotonic() + world.settings.record.seal_s + 1
    monkeypatch.setattr(segment.time, "monotonic", lambda: later)
    world.look()
    world.log(world.asks(USUAL[503:506]))
    world.look()
    assert len(list(folder_of(world).iterdir())) == 2
