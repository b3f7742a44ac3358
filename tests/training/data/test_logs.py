"""Rows from request logs: only whole teacher answers, each record accounted for."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.cli import main
from graduand.gateway.errors import ConfigError
from graduand.training.data.logs import write_rows
from graduand.training.data.rows import DataError, read_rows


def record(number: int, text: str | None = None, answer: str = "yes", finish: str = "stop", **more: Any) -> bytes:
    messages = [{"role": "user", "content": text or f"question {number}"}]
    message = {"role": "assistant", "content": answer}
    values = {
        "id": f"id-{number}",
        "role": "served",
        "route": "tickets",
        "arm": "teacher",
        "request_json": json.dumps({"model": "tickets", "messages": messages, "temperature": 0}),
        "response_json": json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}),
        "completed": True,
        "status": 200,
    }
    return json.dumps(values | more).encode() + b"\n"


def write_log(folder: Path, **segments: bytes) -> Path:
    for name, data in segments.items():
        path = folder / "2026-11-22" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_every_record_is_a_row_or_counted(tmp_path: Path) -> None:
    completion = {"request_json": '{"prompt": "once"}', "response_json": json.dumps({"choices": [
        {"text": " upon", "finish_reason": "stop"}]})}  # fmt: skip
    first = b"".join(
        [
            record(1),
            record(2, arm="student"),
            record(3, status=500, response_json="{}"),
            record(4, completed=False),
            record(5, finish="length"),
            record(6, text="question 1"),
            record(7, text="question 1", answer="no"),
            record(8, route="other"),
            record(9, response_json='{"object": "list", "data": []}'),
            record(10, answer=""),
            record(11, role="shadow"),
            record(12, **completion),
        ]
    )
    log = write_log(tmp_path / "logs", a=first, b=record(13) + record(14)[:40], c=record(15))
    counts = write_rows(str(log), "tickets", tmp_path / "rows.jsonl")
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [row.id for row in rows] == ["id-1", "id-11", "id-12", "id-13", "id-15"]
    assert rows[2].prompt == "once"
    assert rows[2].completion == " upon"
    assert counts.rows + sum(counts.left_out.values()) == counts.records == 15
    assert counts.conflicting == 1
    assert counts.left_out == {
        "answered by a student": 1,
        "status other than 200": 1,
        "not completed": 1,
        "finish_reason other than stop": 1,
        "same prompt as an earlier row": 2,
        "another route": 1,
        "no chat or text completion": 1,
        "cannot be trained: 'completion' must be a text that is not empty; it is ''": 1,
        "cut off by a crash": 1,
    }


def test_whose_a_row_is_goes_along(tmp_path: Path) -> None:
    asked = {"messages": [{"role": "user", "content": "another"}], "user": "ann"}
    more = [record(n, text=f"of ann {n}", unit_hash=n) for n in (3, 4)]
    named = [record(n, unit_hash=n, request_json=json.dumps(asked | {"seed": n})) for n in (5,)]
    log = write_log(tmp_path / "logs", a=record(1, unit_hash=1) + record(2) + b"".join(more + named))
    write_rows(str(log), "tickets", tmp_path / "rows.jsonl")
    users = [row.user for row in read_rows(tmp_path / "rows.jsonl")]
    assert users[:4] == ["1", None, "3", "4"]
    assert users[4] not in (None, "ann", "5")


def test_limit_and_holdout(tmp_path: Path) -> None:
    log = write_log(tmp_path / "logs", a=b"".join(record(number) for number in range(200)))
    counts = write_rows(str(log), "tickets", tmp_path / "rows.jsonl", limit=100, holdout=0.25)
    held = read_rows(tmp_path / "rows.holdout.jsonl")
    learned = read_rows(tmp_path / "rows.jsonl")
    assert (len(learned), len(held)) == (counts.rows, counts.held_out)
    assert len(learned) == 100
    assert 30 <= len(held) <= 70
    assert not {row.messages[0]["content"] for row in held if row.messages} & {
        row.messages[0]["content"] for row in learned if row.messages
    }
    write_log(tmp_path / "logs", b=b"".join(record(number) for number in range(200, 300)))
    write_rows(str(log), "tickets", tmp_path / "rows.jsonl", holdout=0.25)
    assert {row.id for row in held} <= {row.id for row in read_rows(tmp_path / "rows.holdout.jsonl")}


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    log = write_log(tmp_path / "logs", a=record(1)[:30] + b"\n" + record(2))
    with pytest.raises(DataError, match=r"a\.jsonl, line 1 is not JSON"):
        write_rows(str(log), "tickets", tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()


def test_mistakes(tmp_path: Path) -> None:
    log = write_log(tmp_path / "logs", a=record(1, arm="student"))
    out = tmp_path / "rows.jsonl"
    with pytest.raises(DataError, match=r"no route 'ticket'; it has tickets\. Did you mean 'tickets'"):
        write_rows(str(log), "ticket", out)
    with pytest.raises(DataError, match=r"(?s)no record of route 'tickets' makes a row.*answered by a student"):
        write_rows(str(log), "tickets", out)
    with pytest.raises(DataError, match="is no folder"):
        write_rows(str(tmp_path / "none"), "tickets", out)
    with pytest.raises(ConfigError, match="--holdout"):
        write_rows(str(log), "tickets", out, holdout=1.0)
    with pytest.raises(ConfigError, match="--limit"):
        write_rows(str(log), "tickets", out, limit=0)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "logs", a=record(1) + record(2, arm="student"))
    command = ["train", "data", "logs", "--from", str(log), "--route", "tickets", "--out", str(tmp_path / "r.jsonl")]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "records": 2, "rows": 1, "held_out": 0, "conflicting": 0, "left_out": {"answered by a student": 1},
    }  # fmt: skip
    assert main(command) == 0
    assert "1 rows, 0 held out, of 2 records; left out:\n       1  answered by a student" in capsys.readouterr().out
    assert main([*command[:-1], "/proc/none/r.jsonl"]) == 1
    assert "cannot write the rows" in capsys.readouterr().err
