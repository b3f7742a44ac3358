"""The controller's parts: reading segments, what records say, webhooks."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control.notify import Notifier
from graduand.gateway.logs import tail
from graduand.gateway.logs.tail import Line, Place
from graduand.gateway.model import reader
from tests.gateway.control.worlds import World

SERVED = {
    "role": "served", "assigned_arm": "student", "arm": "student", "reason": "canary", "fallback_reason": None,
    "completed": True, "status": 200, "client_disconnected": False, "bytes_released_before_verdict": 9, "error": None,
    "stream": True, "timings": {"ttft_ms": 100.0, "total_ms": 600.0}, "usage": {"completion_tokens": 11},
}  # fmt: skip


def segment(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "segments" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def test_each_byte_once_whatever_is_read_at_a_time(tmp_path: Path) -> None:
    data = b"".join(b'{"n": %d, "text": "%b"}\n' % (n, b"x" * (n % 50)) for n in range(200))
    segment(tmp_path, "a.jsonl", data)
    segment(tmp_path, "b.jsonl", data)
    for most in (10, 100, 1000, 1 << 20):
        offsets: dict[str, int] = {}
        seen: list[Line] = []
        while True:
            batch = tail.look(tmp_path, offsets, since=0.0, most=most)
            seen += batch.lines
            offsets.update(batch.offsets)
            if not batch.lines:
                break
        for name in ("a.jsonl", "b.jsonl"):
            assert [json.loads(line.data)["n"] for line in seen if line.place.file == name] == [*range(200)]
        with tail.Segments(tmp_path) as segments:
            assert all(segments.line(line.place) == line.data for line in seen[::37])
        assert offsets == {"a.jsonl": len(data), "b.jsonl": len(data)}


def test_writers_are_read_side_by_side(tmp_path: Path) -> None:
    """Ten segments of each of two writers: what one look finds is of the same time in both."""
    for writer in ("101", "102"):
        for second in range(10):
            lines = b"".join(b'{"s": %d}\n' % second for _ in range(100))
            segment(tmp_path, f"20261123T00000{second}Z-{writer}-{second:05d}.jsonl", lines)
    offsets: dict[str, int] = {}
    looks = 0
    while True:
        batch = tail.look(tmp_path, offsets, since=0.0, most=1000)
        offsets.update(batch.offsets)
        seen = {writer: [json.loads(line.data)["s"] for line in batch.lines if f"-{writer}-" in line.place.file]
                for writer in ("101", "102")}  # fmt: skip
        assert seen["101"] == seen["102"] == sorted(seen["101"])
        looks += 1
        if not batch.more:
            break
    assert looks > 10
    assert sum(offsets.values()) == 2 * 10 * 100 * len(b'{"s": 0}\n')


def test_a_torn_line_is_not_waited_for(tmp_path: Path) -> None:
    """A killed writer's last line, longer than a look, asks for no look after the other."""
    segment(tmp_path, "20261123T000000Z-101-00000.jsonl", b'{"n": 1}\n{"text": "' + b"x" * 5000)
    segment(tmp_path, "20261123T000001Z-101-00001.jsonl", b'{"n": 2}\n')
    offsets: dict[str, int] = {}
    seen = []
    for _ in range(10):
        batch = tail.look(tmp_path, offsets, since=0.0, most=1000)
        offsets.update(batch.offsets)
        seen += [line.data for line in batch.lines]
        if not batch.more:
            break
    assert seen == [b'{"n": 1}', b'{"n": 2}']
    assert not batch.more


def test_segments_from_before_are_not_read(tmp_path: Path) -> None:
    segment(tmp_path, "a.jsonl", b"{}\n")
    assert tail.look(tmp_path, {}, since=time.time() + 60).lines == []
    assert len(tail.look(tmp_path, {"a.jsonl": 0}, since=time.time() + 60).lines) == 1  # it was being read
    assert tail.look(tmp_path / "nothing", {}, since=0.0).lines == []
    with tail.Segments(tmp_path) as segments:
        assert segments.line(Place("gone.jsonl", 0, 3)) is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({}, ""),
        ({"arm": "teacher", "fallback_reason": "http_500"}, "http_500"),
        ({"arm": "teacher", "fallback_reason": "context_length"}, ""),  # too long for the student: by design
        ({"completed": False, "error": "truncated"}, "truncated"),
        ({"completed": False, "error": "client_gone", "client_disconnected": True}, ""),
        ({"completed": False, "status": 502, "bytes_released_before_verdict": 0, "error": "connect"}, "connect"),
        ({"completed": False, "status": 400, "bytes_released_before_verdict": 0, "error": "bad"}, ""),
        # What a gate blocked is an error like 400, and the student's.
        (
            {"completed": False, "status": 400, "bytes_released_before_verdict": 0, "error": "check:label"},
            "check:label",
        ),
        ({"arm": "teacher", "fallback_reason": "check:label"}, "check:label"),
    ],
)
def test_whose_failure(change: dict[str, Any], cause: str) -> None:
    assert reader.failure({**SERVED, **change}) == cause


def test_times() -> None:
    assert reader.times_s(SERVED) == {"first_token": 0.1, "total": 0.6, "per_token": 0.05}
    assert reader.times_s({**SERVED, "fallback_reason": "reset"})["total"] == float("inf")
    assert reader.times_s({**SERVED, "completed": False, "status": 400, "bytes_released_before_verdict": 0}) == {}
    assert "per_token" not in reader.times_s({**SERVED, "stream": False})


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"message": {"content": "yes"}}, "yes"),
        ({"text": "yes"}, "yes"),
        ({"message": {"content": None}}, ""),
        ({"message": 7}, ""),
        (
            {"message": {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}},
            '{"tool_calls": [{"arguments": {"a": 1}, "name": "f"}]}',
        ),
    ],
)
def test_answers(choice: dict[str, Any], text: str) -> None:
    assert reader.answer({"response_json": json.dumps({"choices": [choice]})}) == text


def test_what_is_no_answer_is_empty() -> None:
    for strange in (None, "no json", "[]", "{}", '{"choices": []}', '{"choices": [null]}'):
        assert reader.answer({"response_json": strange}) == ""


def test_prompts() -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant"},
        {"role": "user", "content": [{"text": "x"}]},
    ]
    assert reader.prompt({"messages": messages}) == '[{"text": "x"}]'
    assert reader.prompt({"messages": messages[:2]}) == "first"
    assert reader.prompt({"inputs": "native"}) == "native"
    assert reader.prompt({}) == ""


def test_webhooks_are_told_in_order_and_again_after_a_failure(tmp_path: Path) -> None:
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            first = not told
            told.append(message)
            self.send_response(500 if first else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    world = World(tmp_path)
    world.start(notify=[f"http://127.0.0.1:{server.server_address[1]}/hook"])
    world.look(3)
    world.verb("pause")
    notifier = Notifier(world.settings, "me")
    end = time.time() + 60
    while len(told) < 4 and time.time() < end:
        time.sleep(0.02)
    notifier.stop()
    server.shutdown()
    server.server_close()
    assert [one["event"] for one in told] == ["start", "start", "prechecked", "pause"]
    assert told[0]["id"] == told[1]["id"] == "triage-1/1"
    assert told[-1]["text"] == "Rollout triage-1 is now hold: because"
