"""A field is declared once: the log, its parts, queries, exports, redaction and the documentation follow."""

import json
from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow.parquet as pq
import pytest

from graduand.gateway.logs import reference, schema
from graduand.gateway.logs.export import Selection, export
from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Reader, Source
from graduand.gateway.logs.redaction import Redactor
from graduand.gateway.logs.segment import LogWriter
from graduand.gateway.model import fields, reader
from graduand.gateway.model.fields import Field, Record, own
from graduand.gateway.model.recording import RecordPolicy
from tests.gateway.logs.lines import made, write
from tests.gateway.logs.test_shipping import World

LOG = fields.TABLES["log"]


class Seen(Record):
    """A record with two more fields."""

    unit_key: Annotated[str | None, own("a keyed hash of the unit")]
    note: Annotated[str | None, Field("what somebody said")]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fields.TABLES, "log", Seen)


def seen(number: int, **more: Any) -> dict[str, Any]:
    return {**made(number), "unit_key": f"key {number}", "note": "by ann@example.org", **more}


def test_a_field_is_added_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    write(world.spool, "old", [made(1)])
    world.look(3)  # a part from before the field was there
    monkeypatch.setitem(fields.TABLES, "log", Seen)
    source = Source(world.url, world.spool)
    with Log(source) as log:  # nothing but old parts
        assert log.query("SELECT id, unit_key FROM log").fetchall() == [(made(1)["id"], None)]
    writer = LogWriter(world.spool, name="w")
    writer.append(seen(2))
    writer.close()
    with Log(source) as log:
        query = "SELECT unit_key FROM log ORDER BY id"
        assert log.query(query).fetchall() == [(None,), ("key 2",)]  # in a segment
        world.look(3)
        assert log.query("SELECT count(*) FROM log WHERE unit_key = 'key 2'").fetchall() == [(1,)]
    newest = max((tmp_path / "target").rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    assert pq.read_table(newest)["unit_key"].to_pylist() == ["key 2"]
    with Log(source) as log:  # old and new parts
        assert log.query(query).fetchall() == [(None,), ("key 2",)]
        export(log, Selection("tickets"), "raw", tmp_path / "raw.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "raw.jsonl").read_text().splitlines()]
    assert [line["unit_key"] for line in lines] == [None, "key 2"]
    assert "extra" not in lines[1]
    assert [one.get("unit_key") for one in Reader(source)] == [None, "key 2"]


@pytest.mark.usefixtures("added")
def test_redaction_and_the_page_know_it() -> None:
    line, _, spans = Redactor(RecordPolicy(redact=("email",))).line(orjson.dumps(seen(1, unit_key="a@example.org")))
    found = json.loads(line)
    assert (found["unit_key"], found["note"], spans) == ("a@example.org", "by [redacted:email]", 1)
    assert "| `unit_key` | text, or null | a keyed hash of the unit |\n" in reference.page(reference.PAGE.read_text())


def test_the_page_is_fresh() -> None:
    text = reference.PAGE.read_text()
    assert text == reference.page(text), "stale: python -m graduand.gateway.logs.reference"
    assert reference.table(LOG) in text


def test_a_record_that_was_built_has_exactly_the_declared_fields() -> None:
    declared = [one.name for one in fields.of(Record)]
    assert made(1).keys() == set(declared)
    assert schema.of("log").names == [*declared, "extra"]
    assert all(one.field.about for table in fields.TABLES.values() for one in fields.of(table))


def test_what_was_read_is_a_record_or_nothing() -> None:
    whole = made(1)
    assert reader.record_of(whole) == whole
    assert reader.record_of({**whole, "later": 1}) == {**whole, "later": 1}
    older = reader.record_of({"id": "1", "role": "served", "route": "r"})
    assert older is not None
    assert (older["drift"], older["verdicts"], older["usage"]["completion_tokens"]) == (None, [], 0)
    for strange in (
        None,
        7,
        [],
        {},
        {"id": "1"},
        {**whole, "id": None},
        {**whole, "usage": None},
        {**whole, "status": "200"},
    ):
        assert reader.record_of(strange) is None
    assert reader.read(b"{") is None
