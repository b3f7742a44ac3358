"""SQL over a log: segments and parts together, each record once; the columns are a promise; the log is only read."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.cli import main
from graduand.gateway.errors import ConfigError
from graduand.gateway.logs import schema
from graduand.gateway.logs.query import Log, QueryFailed
from graduand.gateway.logs.reading import LogDamaged, Reader, Source
from tests.gateway.logs.lines import MORNING, made, write
from tests.gateway.logs.store import S3, URL
from tests.gateway.logs.test_shipping import World, drift_segment, said_of

# A column may be added at the end of a list, never changed: people's queries are written against these.
LOG_COLUMNS = """schema_version int64, id string, parent_id string, role string, time double, route string,
endpoint string, arm string, assigned_arm string, arm_probability double, unit_bucket int64, unit_hash int64,
rollout string, route_version int64, copy_wanted bool, reason string, fallback_reason string, adapter string,
adapter_digest string, base_model string, teacher_model string, served_model string, status int64,
prompt_sha256 string, request_json string, response_json string, stream bool, completed bool,
client_disconnected bool, bytes_released_before_verdict int64,
timings struct<queue_ms: double, overhead_ms: double, ttft_ms: double, total_ms: double>,
usage struct<prompt_tokens: int64, completion_tokens: int64, kind: string>, cost double,
attempts list<item: struct<upstream: string, arm: string, replica: string, outcome: string, ms: double,
model: string, span_id: string, ended_at: double, said: string>>,
verdicts list<item: struct<name: string, version: string, score: double, label: string, latency_ms: double,
action: string>>, drift struct<novelty_p: double, e_value: double>,
redaction struct<policy: string, spans: list<item: struct<kind: string, where: string, count: int64>>>, error string,
client int64, sampling_prob double, trace_id string, span_id string, parent_span_id string, trace_sampled bool,
unit int64, unit_missing bool, session string, sampled_p double, path string, client_key string,
upstream_request_id string, upstream_ms double"""
FEEDBACK_COLUMNS = """schema_version int64, feedback_id string, id string, time double, score double, label string,
correction string, comment string, who string"""
LABELS_COLUMNS = """schema_version int64, label_id string, id string, time double, route string, rollout string, basis int64,
step string, correct bool, teacher_correct bool, source string, who string, predicted double, mean double,
probability double, size int64, share double"""
DRIFT_COLUMNS = """schema_version int64, id string, time double, route string, adapter string, novelty_p double,
e_value double, evaluated_at double"""


@pytest.mark.parametrize(
    ("table", "promised"),
    [("log", LOG_COLUMNS), ("feedback", FEEDBACK_COLUMNS), ("labels", LABELS_COLUMNS), ("drift", DRIFT_COLUMNS)],
)
def test_the_columns(table: str, promised: str) -> None:
    *columns, extra = (f"{field.name} {field.type}" for field in schema.of(table))
    assert extra == "extra string"
    assert ", ".join(columns).startswith(" ".join(promised.split()))


def test_a_record_has_exactly_these_columns() -> None:
    assert set(made(1)) | {"extra"} == set(schema.of("log").names)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three days: the first two are shipped, the second is in its segment, too, the third is in a segment only."""
    return filled(World(tmp_path))


def filled(world: World) -> World:
    world.readers.needed = frozenset({"b.jsonl"})
    for day, name in enumerate("ab"):
        at = MORNING + day * 86400
        write(world.spool, name, [made(10 * day + n, at=at + 60 * n, route=f"r/{n % 2}") for n in range(4)])
    world.look(3)
    assert [name for name in world.segments() if name.endswith("jsonl")] == ["b.jsonl"]
    third = MORNING + 2 * 86400
    write(world.spool, "c", [made(20 + n, at=third + n, route="r/0") for n in range(3)], cut=b'{"id": "cut')
    return world


def source(world: World) -> Source:
    return Source(world.url, world.spool)


def rows(world: World, sql: str) -> list[Any]:
    with Log(source(world)) as log:
        return list(log.query(sql).fetchall())


def test_each_record_once(world: World) -> None:
    assert rows(world, "SELECT count(*), count(DISTINCT id) FROM log") == [(11, 11)]
    assert rows(world, "SELECT dt, count(*) FROM log GROUP BY dt ORDER BY dt") == [
        ("2026-11-22", 4), ("2026-11-23", 4), ("2026-11-24", 3),
    ]  # fmt: skip
    assert rows(world, "SELECT route, hour, count(*) FROM log GROUP BY ALL ORDER BY ALL") == [
        ("r/0", "00", 7), ("r/1", "00", 4),
    ]  # fmt: skip
    assert rows(world, "SELECT DISTINCT usage.kind, timings.total_ms, attempts[1].outcome FROM log") == [
        ("exact", 12.0, "ok")
    ]
    assert len(list(Reader(source(world)))) == 11
    times = [one["time"] for one in Reader(source(world)) if one["route"] == "r/0"]
    assert times == sorted(times)


def test_days_and_routes_keep_parts_closed(world: World) -> None:
    for condition in ("dt = '2026-11-22'", "route = 'r/1'"):
        [(_, plan)] = rows(world, f"EXPLAIN ANALYZE SELECT count(*) FROM log WHERE {condition} AND completed")
        assert "Total Files Read: 2" in plan


def test_over_a_bucket(tmp_path: Path, s3: S3) -> None:
    world = World(tmp_path, URL)
    drift_segment(world, "d", [said_of(made(0, at=MORNING), 2.0, MORNING)])
    world = filled(world)
    assert rows(world, "SELECT count(*), count(DISTINCT id) FROM log") == [(11, 11)]
    with Log(Source.of(URL)) as log:
        assert log.query("SELECT count(*) FROM log WHERE route = 'r/1'").fetchall() == [(4,)]
        assert log.query("SELECT count(drift), max(drift.e_value) FROM log").fetchall() == [(1, 2.0)]


def test_an_empty_log(tmp_path: Path) -> None:
    for one in (Source.of(str(tmp_path)), Source(f"file://{tmp_path}/nothing", tmp_path / "nothing")):
        with Log(one) as log:
            assert log.query(
                "SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM feedback), (SELECT count(*) FROM drift)"
            ).fetchall() == [(0, 0, 0)]


REFUSED = [
    "DROP TABLE log", "INSERT INTO log SELECT * FROM log", "COPY log TO '/tmp/x'", "SELECT 1; SELECT 2", "", "SET threads = 1",
    "ATTACH '/tmp/x.db'", "EXPLAIN ANALYZE COPY log TO '/tmp/x'", "UPDATE log SET id = 1", "PRAGMA version",
]  # fmt: skip


@pytest.mark.parametrize("sql", REFUSED)
def test_the_log_is_only_read(world: World, sql: str) -> None:
    with pytest.raises(ConfigError, match="a query is one SELECT"):
        rows(world, sql)


@pytest.mark.parametrize("sql", ["SELEC", "SELECT nothing FROM log", "SELECT * FROM logs", "SELECT 1 / 'a'"])
def test_mistakes_in_a_query(world: World, sql: str) -> None:
    with pytest.raises(QueryFailed, match="The tables are log, feedback, labels, drift and evidence"):
        rows(world, sql)


def test_damage_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "one", [made(1)])
    path.write_bytes(b"rubbish\n" + path.read_bytes())
    with pytest.raises(LogDamaged, match=r"one\.jsonl, line 1 is not JSON"):
        Log(Source.of(str(tmp_path)))
    path.unlink()
    part = tmp_path / "dt=2026-11-22" / "hour=00" / "route=r" / "x.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"rubbish")
    with pytest.raises(LogDamaged, match=r"x\.parquet .* is no part of a log"):
        list(Reader(Source.of(str(tmp_path))))


def test_feedback_counts_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    said = {"feedback_id": "f1", "id": "a", "time": MORNING, "score": 1.0, "who": "ann"}
    folder = world.spool / "feedback" / "segments"
    folder.mkdir(parents=True)
    (folder / "one.jsonl").write_text(json.dumps(said) + "\n")
    world.look(3)
    later = {**said, "time": MORNING + 9}
    other = {**said, "feedback_id": "f2", "score": 0.0}
    (folder / "two.jsonl").write_text(json.dumps(later) + "\n" + json.dumps(other) + "\n")
    assert rows(world, "SELECT feedback_id, score FROM feedback ORDER BY ALL") == [("f1", 1.0), ("f2", 0.0)]


def test_what_the_detector_said_stands_in_the_log(tmp_path: Path) -> None:
    """Said twice, the last word counts, whether it is in a part or waits; a record without one has null."""
    world = World(tmp_path)
    records = [made(n, at=MORNING + n * 1800) for n in range(6)]
    write(world.spool, "one", records[:4])
    drift_segment(world, "a", [said_of(one, 1.0, MORNING + 1) for one in records[:4]])
    drift_segment(world, "b", [said_of(records[1], 2.0, MORNING + 2)])
    world.look(3)
    assert not list((world.spool / "drift" / "segments").iterdir())
    write(world.spool, "two", records[4:])
    drift_segment(world, "c", [said_of(records[2], 3.0, MORNING + 3), said_of(records[4], 4.0, MORNING + 4)])
    wanted = [1.0, 2.0, 3.0, 1.0, 4.0, None]
    assert rows(world, "SELECT drift.e_value FROM log ORDER BY time") == [(one,) for one in wanted]
    assert rows(world, "SELECT drift FROM log ORDER BY time LIMIT 1") == [({"novelty_p": 0.25, "e_value": 1.0},)]
    assert rows(world, "SELECT id, e_value, adapter, dt, hour FROM drift ORDER BY time LIMIT 2") == [
        (records[0]["id"], 1.0, "a@1", "2026-11-22", "00"), (records[1]["id"], 2.0, "a@1", "2026-11-22", "00"),
    ]  # fmt: skip
    assert rows(world, "SELECT count(*), count(DISTINCT id) FROM drift") == [(5, 5)]
    assert rows(world, "SELECT count(*) FROM log") == [(6,)]


def test_a_query_reads_no_more_of_the_drift_than_it_asks_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    records = [made(n, at=MORNING + n * 86400) for n in range(4)]
    write(world.spool, "one", records)
    drift_segment(world, "a", [said_of(one, 1.0, MORNING + 1) for one in records])
    world.look(3)

    def read(sql: str) -> list[str]:
        [(_, plan)] = rows(world, f"EXPLAIN ANALYZE {sql}")
        return re.findall(r"Total Files Read: (\d+)", plan)

    assert read("SELECT count(*) FROM log WHERE completed") == ["4"]
    assert read("SELECT avg(drift.e_value) FROM log") == ["4", "4"]
    assert read("SELECT avg(drift.e_value) FROM log WHERE dt = '2026-11-23'") == ["1", "1"]
    assert read("SELECT avg(e_value) FROM drift WHERE dt = '2026-11-23'") == ["1"]


def test_commands(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "logs",
        "query",
        "SELECT id, time, request_json FROM log ORDER BY time LIMIT 2",
        "--from",
        str(world.spool),
    ]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["id"].endswith("0b")
    assert main([*command, "--csv"]) == 0
    table = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert table[0] == ["id", "time", "request_json"]
    assert len(table) == 3
    assert main(command) == 0
    assert "request_json" in capsys.readouterr().out
    assert main(["logs", "query", "SELECT 1"]) == 2
    assert "Give --config FILE or --from URL" in capsys.readouterr().err
    assert main(["logs", "query", "SELECT 1", "--from", "http://x"]) == 2
    assert "is not supported; use file:///PATH" in capsys.readouterr().err
    assert main(["logs", "query", "SELECT 1", "--from", "/nowhere"]) == 2
    assert main(["logs", "query", "DELETE FROM log", "--from", str(world.spool)]) == 2
    assert main(["logs", "query", "SELECT x FROM log", "--from", str(world.spool)]) == 1


def test_times_with_a_zone_are_shown(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["logs", "query", "SELECT to_timestamp(min(time)) AS first FROM log", "--from", world.url, "--json"]) == 0
    )
    assert "2026-11-22" in capsys.readouterr().out
