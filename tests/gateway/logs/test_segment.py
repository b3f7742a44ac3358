"""The request log's writer: everything queued is written once, segments roll, and what is lost is counted."""

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.logs import segment as log
from gateway.logs.segment import LogWriter


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
    writer = LogWriter(tmp_path)
    writer.append({"n": 1})
    end = time.monotonic() + log.FLUSH_EVERY_S * 50  # generous: the machine may be busy
    while not lines(tmp_path) and time.monotonic() < end:
        time.sleep(0.001)
    assert lines(tmp_path) == [{"n": 1}]
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
    real = os.write
    monkeypatch.setattr(log.os, "write", lambda file, data: slow.wait(5) and real(file, data))
    writer = LogWriter(tmp_path)
    for number in range(200):
        writer.append({"n": number})
    assert writer.records_refused > 0
    slow.set()
    writer.close()
    assert writer.records_written == 200 - writer.records_refused == len(lines(tmp_path))


def test_a_full_disk_is_counted_and_got_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted as written is whole in the files, also when a write ends in the middle of a line."""
    real, room = os.write, [150]

    def write(file: int, data: memoryview) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(file, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(log.os, "write", write)
    writer = LogWriter(tmp_path)
    for number in range(20):
        writer.append({"n": number, "text": "x" * 20})
    writer._writer.join(0.2)
    while writer.pending_bytes:
        time.sleep(0.005)
    assert writer.records_lost > 0
    room[0] = 1 << 30
    for number in range(100, 110):
        writer.append({"n": number})
    writer.close()
    assert writer.records_written + writer.records_lost == 30
    whole = []
    for file in (tmp_path / "segments").glob("*.jsonl"):
        whole += [json.loads(line) for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert len(whole) == writer.records_written
    assert [one["n"] for one in whole if one["n"] >= 100] == list(range(100, 110))


def test_the_log_is_not_for_everybody(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append({})
    writer.close()
    [file] = (tmp_path / "segments").iterdir()
    assert file.stat().st_mode & 0o007 == 0
