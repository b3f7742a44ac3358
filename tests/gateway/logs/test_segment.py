"""The request log's writer: everything queued is written once, segments roll, and what is lost is counted."""

import errno
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.logs import journal
from graduand.gateway.logs import segment as log
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model.recording import RecordPolicy
from tests.gateway.running import until


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "segments").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_everything_is_written_once_and_in_order(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for number in range(1000):
        writer.append({"n": number, "text": "ü\n" * 5})
    writer.close()
    assert [one["n"] for one in lines(tmp_path)] == list(range(1000))
    assert (writer.records_written, writer.records_lost, writer.records_refused) == (1000, 0, 0)
    assert writer.pending_bytes == 0


def test_within_the_documented_window(tmp_path: Path) -> None:
    """One of a few records must come in time: during the others the machine may have stood still."""
    writer = LogWriter(tmp_path)
    took_s: list[float] = []
    while not took_s or min(took_s) > log.FLUSH_EVERY_S * 5:
        assert len(took_s) < 20, took_s
        appended_at = time.monotonic()
        writer.append({"n": len(took_s)})
        until(lambda: len(lines(tmp_path)) > len(took_s), "it is written")
        took_s.append(time.monotonic() - appended_at)
    writer.close()


def test_segments_roll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SEGMENT_BYTES", 100)
    writer = LogWriter(tmp_path, name="w0")
    for number in range(30):
        writer.append({"n": number, "text": "x" * 20})
        writer._flush()
    writer.close()
    files = list((tmp_path / "segments").glob("*.jsonl"))
    assert 5 <= len(files) <= 15
    assert sorted(one["n"] for one in lines(tmp_path)) == list(range(30))


def test_a_full_queue_refuses_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_PENDING_BYTES", 1000)
    slow = threading.Event()
    real = os.writev
    monkeypatch.setattr(log.os, "writev", lambda file, data: slow.wait(60) and real(file, data))
    writer = LogWriter(tmp_path)
    for number in range(200):
        writer.append({"n": number})
    assert writer.records_refused > 0
    slow.set()
    writer.close()
    assert writer.records_written == 200 - writer.records_refused == len(lines(tmp_path))


def whole_lines(folder: Path) -> list[Any]:
    """Of all segments, without the half lines that a failed write left."""
    found = []
    for file in sorted((folder / "segments").glob("*.jsonl"), key=lambda one: int(one.stem.rpartition("-")[2])):
        found += [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return found


@pytest.mark.parametrize("cause", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_got_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: int) -> None:
    """What does not fit waits, also the second half of a line; each record is there whole and once."""
    real, room = os.write, [150]

    def writev(file: int, data: Sequence[bytes]) -> int:
        if room[0] <= 0:
            raise OSError(cause, os.strerror(cause))
        done = real(file, b"".join(data)[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(log.os, "writev", writev)
    writer = LogWriter(tmp_path)
    for number in range(20):
        writer.append({"n": number, "text": "x" * 20})
    until(lambda: writer.no_room, "the disk is found full")
    assert writer.pending_bytes > 0
    room[0] = 1 << 30
    for number in range(20, 30):
        writer.append({"n": number})
    until(lambda: not writer.no_room, "there is room again")
    writer.close()
    assert (writer.records_written, writer.records_lost, writer.records_refused) == (30, 0, 0)
    assert [one["n"] for one in whole_lines(tmp_path)] == list(range(30))


@pytest.mark.parametrize("longest", [200, 12_000])  # joined before they are written, and not
@pytest.mark.parametrize("seed", range(3))
def test_a_disk_that_takes_what_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, longest: int
) -> None:
    """Any part of what is offered, none at all, or an error: each of more lines than one call takes is there once."""
    real, chance = os.write, random.Random(seed)

    def writev(file: int, data: Sequence[bytes]) -> int:
        assert len(data) <= log.WRITTEN_AT_ONCE
        cause = chance.choice([0, 0, errno.ENOSPC, errno.EIO])
        if cause:
            raise OSError(cause, os.strerror(cause))
        return real(file, b"".join(data)[: chance.randrange(1, 300 * longest)])

    monkeypatch.setattr(log.os, "writev", writev)
    monkeypatch.setattr(log, "CLOSE_WITHIN_S", 60.0)
    monkeypatch.setattr(log, "FLUSH_EVERY_S", 0.001)
    writer = LogWriter(tmp_path)
    for number in range(3000):
        writer.append({"n": number, "text": "x" * chance.randrange(longest)})
    writer.close()
    assert (writer.records_written, writer.records_lost, writer.records_refused) == (3000, 0, 0)
    assert writer.pending_bytes == 0
    assert [one["n"] for one in whole_lines(tmp_path)] == list(range(3000))
    assert not list(journal.left_behind(tmp_path / "journal"))


def test_a_disk_that_stays_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end the journal keeps what it has room for; the rest is counted as lost."""
    monkeypatch.setattr(log, "CLOSE_WITHIN_S", 0.1)
    monkeypatch.setattr(journal, "RING_BYTES", 1000)

    def writev(file: int, data: Sequence[bytes]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log.os, "writev", writev)
    writer = LogWriter(tmp_path, name="w0-1")
    for number in range(100):
        writer.append({"id": str(number), "text": "x" * 20})
    writer.close()
    [ring] = journal.left_behind(tmp_path / "journal")
    kept = journal.uncommitted(ring)
    assert 0 < len(kept) < 30
    assert len(kept) + writer.records_lost == 100


def test_a_full_spool_is_counted_or_blocks(tmp_path: Path) -> None:
    for on_full in ("drop", "block"):
        folder = tmp_path / on_full
        (folder / "segments").mkdir(parents=True)
        waits = folder / "segments" / "waits.jsonl"
        waits.write_bytes(b"x" * (3 << 20))
        writer = LogWriter(folder, policy=RecordPolicy(on_full=on_full, spool_mb=2))
        until(lambda writer=writer: writer.no_room, "the spool is found full")
        assert writer.blocks is (on_full == "block")
        writer.append({"n": 1})
        assert writer.records_refused == (on_full == "drop")
        waits.unlink()
        until(lambda writer=writer: not writer.no_room, "there is room again")
        writer.append({"n": 2})
        writer.close()
        # With `block` a request that had begun is recorded all the same.
        assert [one["n"] for one in lines(folder)] == ([2] if on_full == "drop" else [1, 2])


def test_a_segment_is_closed_when_it_is_old(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, policy=RecordPolicy(seal_s=0.05))
    for number in range(3):
        writer.append({"n": number})
        until(lambda number=number: writer.records_written == number + 1, "it is written")
        until(lambda: writer._segment._file < 0, "its segment is closed")
    writer.close()
    assert len(list((tmp_path / "segments").iterdir())) == 3


def test_the_log_is_not_for_everybody(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append({})
    writer.close()
    [file] = (tmp_path / "segments").iterdir()
    assert file.stat().st_mode & 0o007 == 0
