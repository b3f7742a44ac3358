"""Export: every selected record is a line or counted; corrections win; what was written is what training reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.cli import main
from graduand.gateway.errors import ConfigError
from graduand.gateway.logs.export import ExportFailed, Selection, export, moment
from graduand.gateway.logs.query import Log, QueryFailed
from graduand.training.data.rows import read_rows
from tests.gateway.logs.lines import MORNING, made, write
from tests.gateway.logs.test_shipping import World, drift_segment, said_of


def answer(**choice: Any) -> str:
    return json.dumps({"choices": [choice]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of it in parts, half in a segment."""
    base = tmp_path_factory.mktemp("export")
    world = World(base, f"file://{base}/spool")
    tools = {"messages": [{"role": "user", "content": "?"}], "tools": [{"type": "function"}]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    write(world.spool, "one", [
        made(1),
        made(2, arm="student", adapter="a@1"),
        made(3, role="audit", parent_id=made(2)["id"]),
        made(4, status=500, completed=False, response_json=None),
        made(5, record_bp=0),
        made(6, route="other"),
        made(7, response_json=answer(message={"content": "cut"}, finish_reason="length")),
        made(8, request_body=json.dumps(tools).encode(), request=tools,
             response_json=answer(message=call, finish_reason="tool_calls")),
    ])  # fmt: skip
    world.look(3)
    old = b'{"model":"tickets","prompt":"once"}'
    write(world.spool, "two", [
        made(9), made(10, request_body=old, request={"prompt": "once"}, response_json=answer(text=" upon", finish_reason="stop")),
        made(86400 + 1),
    ])  # fmt: skip
    said = [
        {"feedback_id": "1", "id": made(1)["id"], "time": MORNING, "score": -1.0, "correction": "older"},
        {"feedback_id": "2", "id": made(1)["id"], "time": MORNING + 1, "correction": "better"},
        {"feedback_id": "3", "id": made(2)["id"], "time": MORNING + 1, "score": 1.0},
        {"feedback_id": "4", "id": made(7)["id"], "time": MORNING + 1, "correction": "whole"},
    ]
    drift_segment(world, "d", [said_of(made(1), 2.5, MORNING + 2)])
    (world.spool / "feedback" / "segments").mkdir(parents=True)
    (world.spool / "feedback" / "segments" / "f.jsonl").write_text("".join(json.dumps(one) + "\n" for one in said))
    return world.spool


@pytest.fixture
def log(folder: Path) -> Iterator[Log]:
    from graduand.gateway.logs.reading import Source

    with Log(Source.of(str(folder))) as opened:
        yield opened


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_training_reads(log: Log, tmp_path: Path) -> None:
    counts = export(log, Selection("tickets"), "prompt-completion", tmp_path / "out.jsonl")
    assert counts.as_json() == {
        "records": 9, "lines": 6, "corrected": 2,
        "left_out": {"not answered": 1, "payload not kept": 1, "calls a tool": 1},
    }  # fmt: skip
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row.completion for row in rows] == ["better", "answer 3", "whole", "answer 9", " upon", "answer 86401"]
    assert rows[4].prompt == "once"


def test_the_chat_form(log: Log, tmp_path: Path) -> None:
    counts = export(log, Selection("tickets", until=MORNING + 86400), "chat", tmp_path / "out.jsonl")
    assert (counts.lines, counts.left_out["no chat"]) == (5, 1)
    first, *_, tools, _ = lines(tmp_path / "out.jsonl")
    assert first == {
        "messages": [{"role": "user", "content": "question 1"}, {"role": "assistant", "content": "better"}]
    }
    assert tools["tools"] == [{"type": "function"}]
    assert tools["messages"][-1]["tool_calls"][0]["function"] == {"name": "f"}


def test_whole_records_with_their_copies_and_feedback(log: Log, tmp_path: Path) -> None:
    export(log, Selection("tickets", arm=None), "raw", tmp_path / "out.jsonl")
    by_id = {one["id"]: one for one in lines(tmp_path / "out.jsonl")}
    assert len(by_id) == 10
    served = by_id[made(2)["id"]]
    assert served["feedback"] == {"score": 1.0}
    assert [(copy["role"], copy["arm"]) for copy in served["copies"]] == [("audit", "teacher")]
    assert served["usage"] == made(2)["usage"]
    assert by_id[made(1)["id"]]["feedback"] == {"score": -1.0, "correction": "better"}
    assert by_id[made(1)["id"]]["drift"] == {"novelty_p": 0.25, "e_value": 2.5}
    assert served["drift"] is None


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection("tickets", arm="student"), 1),
        (Selection("tickets", roles=("audit",)), 1),
        (Selection("tickets", since=MORNING + 86400), 1),
        (Selection("tickets", arm=None, where="score > 0"), 2),
        (Selection("tickets", arm=None, where="usage.prompt_tokens > 1 -- really"), 10),
    ],
)
def test_what_is_selected(log: Log, tmp_path: Path, selection: Selection, count: int) -> None:
    assert export(log, selection, "raw", tmp_path / "out.jsonl").records == count


def test_mistakes(log: Log, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="the log has the routes other, tickets"):
        export(log, Selection("ticket"), "raw", tmp_path / "out.jsonl")
    with pytest.raises(ExportFailed, match="cannot write"):
        export(log, Selection("tickets"), "raw", Path("/proc/none/x.jsonl"))
    for where in ("nothing > 1", "true); DROP TABLE log; --"):
        with pytest.raises((QueryFailed, ConfigError)):
            export(log, Selection("tickets", where=where), "raw", tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match="--since: 'yesterday' is no day or time"):
        moment("yesterday", "--since")
    assert moment("2026-11-22", "") == MORNING
    assert not list(tmp_path.glob("*.jsonl"))


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.jsonl"
    command = ["logs", "export", "--from", str(folder), "--route", "tickets", "--out", str(out)]
    assert main([*command, "--since", "2026-11-22", "--until", "2026-11-23"]) == 0
    assert "5 lines of 8 records, 2 with a correction" in capsys.readouterr().out
    assert main([*command, "--format", "chat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == 6
    assert main([*command, "--since", "never"]) == 2


def test_training_reads_parts_and_segments(folder: Path, tmp_path: Path) -> None:
    from graduand.training.data.logs import write_rows

    counts = write_rows(str(folder), "tickets", tmp_path / "rows.jsonl")
    assert (counts.records, counts.rows) == (11, 5)
    assert counts.left_out["payload not kept"] == 1
    assert [row.id for row in read_rows(tmp_path / "rows.jsonl")] == [made(n)["id"] for n in (1, 3, 9, 10, 86401)]
