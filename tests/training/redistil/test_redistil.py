"""From records of the log to the next candidate, whose shadow rollout is asked for."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from graduand.gateway.cli import main
from graduand.training.data.samples import Sample, of_text, read_samples, write_samples
from graduand.training.redistil.alarms import unanswered
from graduand.training.redistil.candidate_stage import merged
from tests.training.data.test_selection import answer

TASK = "{labels: [A, B]}"


def record(identity: str, text: str, said: str, **more: Any) -> dict[str, Any]:
    chat = [{"role": "system", "content": "Which?"}, {"role": "user", "content": text}]
    return {
        "id": identity, "role": "served", "arm": "teacher", "status": 200, "completed": True, "error": None,
        "unit_hash": identity, "arm_probability": 1.0, "sampling_prob": 1.0, "response_json": answer(said),
        "request_json": json.dumps({"messages": chat}), "feedback": None, "copies": [],
    } | more  # fmt: skip


RECORDS = [
    *(record(f"new-{n}", f"{'cd'[n % 2] * 4} {n * 37}", "AB"[n % 2]) for n in range(6)),
    record("disputed", "ee ff gg", "A", copies=[{"arm": "student", "completed": True, "response_json": answer("B")}]),
    record("copy", "x", "A", role="shadow"),
    record("row-0", "seen before", "A"),
]


@pytest.fixture
def files(tmp_path: Path, tiny_base: Path) -> Path:
    """Records, what was learned before, and a run's settings."""
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    rows = [of_text(f"row-{n}", ("a" if n % 2 else "b") * (3 + n % 7), completion="AB"[n % 2]) for n in range(24)]
    write_samples(tmp_path / "known.jsonl", rows)
    run = {"base": str(tiny_base), "rank": 8, "rate": 5e-3, "batch": 8, "epochs": 24, "threads": 1, "name": "letters"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**run, "out": "adapters"}))
    return tmp_path


@pytest.fixture
def admin() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Where the gateway's admin plane would be; it keeps what it was asked for."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, b'{"verdicts": [], "rollouts": []}')

        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self._answer(201, b'{"id": "letters-1"}')

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def command(files: Path, *more: str) -> list[str]:
    return ["train", "redistil", "--records", str(files / "raw.jsonl"), "--known", str(files / "known.jsonl"),
            "--task", TASK, "--fit", str(files / "run.yaml"), "--out", str(files / "runs"), "--json", *more]  # fmt: skip


def test_the_whole_road(
    files: Path, engine: str, admin: tuple[str, list[tuple[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "spec.yaml").write_text("route: letters\nstudent: old@0123456789ab\n")
    url, asked = admin
    live = ["--engine", engine, "--admin", url, "--rollout", str(files / "spec.yaml"), "--upstream", "gpu"]
    assert main(command(files, "--because", "inputs drift on letters", *live)) == 0
    figures = json.loads(capsys.readouterr().out)
    adapter = Path(figures["adapter"])
    assert figures["rollout"] == "letters-1"
    assert [path for path, _ in asked] == ["/v1/adapters", "/v1/rollouts"]
    assert asked[0][1]["name"] == adapter.name == asked[1][1]["spec"]["student"]
    assert asked[1][1]["why"] == "inputs drift on letters"
    rows = read_samples(Path(figures["data"]))
    assert [row.id for row in rows[:24]] == [f"row-{n}" for n in range(24)]
    assert rows[24].id == "disputed"
    assert "copy" not in {row.id for row in rows}
    road = json.loads((adapter / "run.json").read_text())["data"]["road"]
    assert [each["stage"] for each in road] == ["redistil-data", "redistil-candidates"]
    assert main(command(files, "--because", "inputs drift on letters", *live)) == 0
    assert asked[3][1]["key"] == asked[1][1]["key"], "the same candidate again starts nothing new"


def test_rows_of_the_test_sets_are_left_out_and_named() -> None:
    before = [of_text("1", "one thing and another", completion="A")]
    fresh = [
        of_text("2", "where is my parcel today", completion="A"),
        of_text("3", "something else altogether", completion="B"),
    ]
    tests = {"indist": [of_text("t", "Where is my parcel, today?", gold="A")]}
    rows, leaking = merged(before, fresh, tests, 0.8)
    assert [row.id for row in rows] == ["1", "3"]
    assert [leak.train for leak in leaking] == ["2"]


def test_nothing_new_is_an_error(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "raw.jsonl").write_text(json.dumps(RECORDS[-1]) + "\n")
    assert main(command(files)) == 1
    assert "none of 1 records can be learned from (1 learned already)" in capsys.readouterr().err


def test_a_rollout_needs_its_upstream_before_anything_is_done(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(files, "--rollout", "spec.yaml")) == 2
    assert "--upstream" in capsys.readouterr().err
    assert not (files / "runs").exists()


def verdict(since: float, route: str = "letters") -> dict[str, Any]:
    return {"route": route, "since": since, "why": f"novelty at {since:g}"}


def rollout(created_at: float, route: str = "letters") -> dict[str, Any]:
    return {"route": route, "created_at": created_at}


@pytest.mark.parametrize(
    ("verdicts", "rollouts", "since"),
    [
        ([], [], None),
        ([verdict(5)], [], 5),
        ([verdict(5)], [rollout(4)], 5),
        ([verdict(5)], [rollout(6), rollout(4)], None),
        ([verdict(5)], [rollout(6, "other")], 5),
        ([verdict(5, "other")], [], None),
        ([verdict(9), verdict(7), verdict(5)], [rollout(6)], 7),
    ],
)
def test_an_alarm_asks_for_one_candidate(
    verdicts: list[dict[str, Any]], rollouts: list[dict[str, Any]], since: float | None
) -> None:
    found = unanswered(verdicts, rollouts, "letters")
    assert (None if found is None else found["since"]) == since


def test_without_an_alarm_there_is_nothing_to_do(
    files: Path, admin: tuple[str, list[tuple[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "spec.yaml").write_text("route: letters\nstudent: old@0123456789ab\n")
    live = ["--on-alarm", "--admin", admin[0], "--rollout", str(files / "spec.yaml"), "--upstream", "gpu"]
    assert main(command(files, *live)) == 0
    assert json.loads(capsys.readouterr().out) == {"alarm": None}
    assert not (files / "runs").exists()
    assert main(command(files, "--on-alarm")) == 2
    assert "--on-alarm needs --rollout" in capsys.readouterr().err


def test_settings_are_read_before_anything_is_done(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "run.yaml").write_text("out: adapters\nepoch: 3\n")
    assert main(command(files)) == 2
    assert "Did you mean 'epochs'" in capsys.readouterr().err
    assert not (files / "runs").exists()


def test_old_rows_win_over_new_ones_of_their_id() -> None:
    old = Sample("1", prompt="a", completion="A")
    assert merged([old], [Sample("1", prompt="a", completion="B")], {}, 0.8) == ([old], [])
