"""The monitor on a log that the test writes, by a clock that the test moves: killed anywhere it has seen every record
once, and when it cannot keep up it says what it left out."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from graduand.gateway.control import verdicts
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.model.routes import Replica, Route, Settings, Student, Teacher, Upstream
from graduand.gateway.monitor import loop, observed
from graduand.gateway.monitor.loop import Monitor
from graduand.gateway.monitor.panel import Panel
from graduand.gateway.monitor.store import MonitorStore, read_to
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.sqlite import SqliteStore
from graduand.monitoring import metrics as m
from graduand.monitoring.drift import files
from graduand.monitoring.drift.reference import Reference, build, calibration_report
from graduand.monitoring.embedding.named import load
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile
from tests.monitoring.texts import prompts, recipes, tickets

Json = dict[str, Any]
ADAPTER = "triage@3f9c1a0b22de"
USUAL, FOREIGN = tickets(900), recipes(150)
STATIC = load("static")


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build(prompts(USUAL[:500]), STATIC)


read = TypeAdapter(Monitors).validate_python


class World:
    """One route, its log, and a monitor that can be killed."""

    def __init__(self, folder: Path, made: Reference | None, **monitors: Any) -> None:
        self.folder, self.now, self.asked = folder, 1_000_000_000.0, 0
        if made is not None:
            files.write(made, folder, calibration_report(made, 1000))
            monitors["reference"] = str(folder)
        upstream = Upstream("u", "openai", (Replica("http", "127.0.0.1", 1, "/v1"),))
        route = Route("triage", Teacher("u", "gpt-4o"), Student("u", ADAPTER), monitors=read(monitors))
        self.settings = Settings(
            {"u": upstream}, {"triage": route}, state=f"sqlite:///{folder}/state.db", logs=f"file:///{folder}/logs"
        )
        (folder / "logs" / "segments").mkdir(parents=True)
        self.metrics = Metrics(SeriesFile(folder / "monitor.series"))
        self.starts = 0
        self.monitor = self.start()

    def start(self) -> Monitor:
        self.starts += 1
        self.monitor = Monitor(self.settings, f"monitor-{self.starts}", lambda: self.now, self.metrics)
        return self.monitor

    def log(self, records: list[Json], file: str = "w0") -> None:
        with (self.folder / "logs" / "segments" / f"{file}.jsonl").open("a") as out:
            out.writelines(json.dumps(one) + "\n" for one in records)

    def asks(self, texts: list[str], **more: Any) -> list[Json]:
        found = []
        for text in texts:
            self.asked += 1
            found.append(record(self.asked, text, self.now, **more))
        return found

    def look(self) -> None:
        self.now += loop.TELL_EVERY_S
        while self.monitor.look():
            pass

    def documents(self, kind: str) -> dict[str, Json]:
        store = SqliteStore(self.folder / "state.db")
        found = Documents(store).all(kind)
        store.close()
        return found

    def reading(self, monitor: str) -> Json:
        return next(one for one in self.documents(verdicts.DRIFT).values() if one["monitor"] == monitor)

    def metric(self, family: m.Family, *labels: str) -> float:
        return Totals(self.folder).sums().get((family.name, labels), [0.0])[0]


def record(number: int, text: str, at: float, **more: Any) -> Json:
    return {
        "id": f"id-{number}", "parent_id": None, "role": "served", "time": at, "route": "triage", "arm": "student",
        "assigned_arm": "student", "reason": "student", "adapter": ADAPTER, "fallback_reason": None, "completed": True,
        "bytes_released_before_verdict": 9, "status": 200, "error": None, "client_disconnected": False,
        "request_json": json.dumps({"messages": [{"role": "user", "content": text}]}),
        "response_json": json.dumps({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}),
        "usage": {"prompt_tokens": 1, "completion_tokens": 3, "kind": "exact"}, "verdicts": [], **more,
    }  # fmt: skip


def test_drift_becomes_an_alarm_with_a_reason(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, novelty={"false_alarm_every": 1000})
    world.log(world.asks(USUAL[500:800]))
    world.look()
    assert not world.documents(verdicts.ALARM)
    assert world.reading("novelty")["n"] == 300
    world.log(world.asks(FOREIGN[:40]))
    world.look()
    alarms = list(world.documents(verdicts.ALARM).values())
    assert alarms[0]["monitor"] == "novelty"
    assert "requests are unlike what triage@3f9c1a0b22de was trained on" in alarms[0]["detail"]
    assert "at most one false alarm in 1,000" in alarms[0]["detail"]
    labels = ("triage", ADAPTER, "novelty")
    assert world.metric(m.DRIFT_EVALUATED, *labels) == 340
    assert world.metric(m.DRIFT_ALARMS, *labels) == len([one for one in alarms if one["monitor"] == "novelty"])
    assert world.metric(m.DRIFT_THRESHOLD, *labels) == 2000


def test_records_count_in_the_order_in_which_they_came(tmp_path: Path, reference: Reference) -> None:
    """Drift that ended, read at once of two workers' files, the calm one's first: the last alarm is where the drift was."""
    world = World(tmp_path, reference, novelty={"false_alarm_every": 1000}, outputs=False)
    drifted = world.asks(FOREIGN[:60])
    world.now += 60
    world.log(world.asks(USUAL[500:800]), "20010909T014640Z-1-00000")
    world.log(drifted, "20010909T014641Z-2-00000")
    world.look()
    assert world.reading("novelty")["n"] == 360
    assert {one["monitor"] for one in world.documents(verdicts.ALARM).values()} >= {"novelty"}
    assert max(one["n"] for one in world.documents(verdicts.ALARM).values() if one["monitor"] == "novelty") <= 60


def of_teacher(world: World, texts: list[str]) -> list[Json]:
    return world.asks(texts, arm="teacher", assigned_arm="teacher", reason="teacher", adapter=None)


def test_a_reference_set_is_made_of_the_log_where_there_is_none(tmp_path: Path) -> None:
    """The first N answers of the teacher, whoever is killed meanwhile; the student's answers and what failed are none."""
    world = World(tmp_path, None, reference={"from_log": 300}, novelty={"false_alarm_every": 1000}, outputs=False)
    world.look()
    world.log(of_teacher(world, USUAL[:200]) + world.asks(FOREIGN[:50]))
    world.log(world.asks(FOREIGN[50:100], arm="teacher", completed=False, error="timeout"))
    world.look()
    world.start()  # another monitor goes on
    world.look()
    assert "200 of 300 answers of the teacher" in world.reading("inputs")["problem"]
    assert world.metric(m.DRIFT_MISSING, "triage") == 1
    world.log(of_teacher(world, USUAL[200:350]))
    world.look()
    world.look()
    assert world.metric(m.DRIFT_MISSING, "triage") == 0
    place = tmp_path / "logs" / "references" / "triage"
    made = files.read(place)
    again = build(prompts(USUAL[:300]), STATIC)
    assert (made.rows, made.points.tolist(), made.scores.tolist()) == (
        300,
        again.points.tolist(),
        again.scores.tolist(),
    )
    assert world.start()._store.count_gathered("triage") == 0
    digest = made.digest
    world.log(of_teacher(world, USUAL[350:800]))
    world.look()
    assert not world.documents(verdicts.ALARM)
    world.log(world.asks(FOREIGN[:60]))
    world.look()
    assert "novelty" in {one["monitor"] for one in world.documents(verdicts.ALARM).values()}
    assert files.read(place).digest == digest, "made once"


def test_one_prompt_again_and_again_makes_no_reference_set(tmp_path: Path) -> None:
    """Such as a probe's: it is said, others are waited for, and the rest is watched meanwhile."""
    world = World(tmp_path, None, reference={"from_log": 100})
    world.look()
    world.log(of_teacher(world, USUAL[:1] * 150))
    world.look()
    world.look()
    assert "100 prompts, 1 of them different, are too few for a reference set" in world.reading("inputs")["problem"]
    assert world.metric(m.DRIFT_MISSING, "triage") == 1
    assert world.reading("outputs")["n"] == 0
    world.log(of_teacher(world, USUAL[:100]))
    world.look()
    world.look()
    assert files.read(tmp_path / "logs" / "references" / "triage").rows == 100
    assert world.metric(m.DRIFT_MISSING, "triage") == 0


def test_an_adapters_own_reference_set_goes_before_the_log(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, None, reference={"from_log": 64})
    files.write(reference, tmp_path, calibration_report(reference, 1000))
    world.monitor._state.add_adapter(ADAPTER, "u", str(tmp_path), who="test")
    world.log(of_teacher(world, USUAL[:100]))
    world.look()
    world.look()
    assert world.reading("novelty")["n"] == 100
    assert not (tmp_path / "logs" / "references").exists()


def test_killed_anywhere_it_has_seen_every_record_once(
    tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills before, inside and after each transaction: state and alarms are those of a monitor that was never killed."""
    rng, ways = random.Random(4), ("never", "often")
    records = World(tmp_path / "made", None).asks([*USUAL[500:700], *FOREIGN[:60], *USUAL[700:760]])
    found, kills = {}, 0
    for way in ways:
        folder = tmp_path / way
        folder.mkdir()
        world = World(folder, reference, novelty={"false_alarm_every": 1000})
        for start in range(0, len(records), 40):
            world.log(records[start : start + 40])
            for where in rng.sample(("commit", "undelivered", "delivered"), 2) if way == "often" else ():
                with monkeypatch.context() as patch:
                    patch.setattr(MonitorStore, where, _killed)
                    try:
                        world.look()
                    except KeyboardInterrupt:
                        kills += 1
                world.start()
            world.look()
        states = {key: MonitorStore(folder / "logs", "test", 0.0).panel(key) for key in _keys(folder)}
        found[way] = (json.dumps(states), sorted(world.documents(verdicts.ALARM)), world.reading("novelty")["n"])
    assert kills >= 10
    assert found["often"] == found["never"]
    assert found["never"][2] == len(records)
    assert found["never"][1]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _keys(folder: Path) -> Iterator[str]:
    import sqlite3

    yield from (key for (key,) in sqlite3.connect(folder / "logs" / "monitor.db").execute("SELECT key FROM panels"))


def test_behind_it_leaves_out_and_counts(tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.tail, "look", lambda folder, offsets, since: _look(folder, offsets, since, most=20_000))
    world = World(tmp_path, reference, novelty={}, mix=False, descriptors=False)
    world.log(world.asks(USUAL[500:900] * 3))
    world.now += 3600  # an hour's backlog
    while world.monitor.look():
        assert world.metric(m.MONITOR_LAG) == pytest.approx(3600, abs=10)
    assert world.metric(m.MONITOR_LAG) == 0
    left_out = world.metric(m.MONITOR_SHED, "triage")
    world.now += 10
    world.look()
    seen = world.reading("novelty")["n"]
    assert seen + left_out == 1200
    assert left_out > seen
    for _ in range(10):  # up to date, it looks at every record again
        world.look()
    world.log(world.asks(USUAL[500:530]))
    world.look()
    assert world.metric(m.MONITOR_SHED, "triage") == left_out


_look = loop.tail.look


def test_without_a_reference_set_it_says_so_and_watches_answers(tmp_path: Path) -> None:
    world = World(tmp_path, None)
    world.log(world.asks(USUAL[:10]))
    world.look()
    assert "was not registered by graduand adapters add" in world.reading("inputs")["problem"]
    assert world.metric(m.DRIFT_MISSING, "triage") == 1
    assert world.reading("outputs")["n"] == 10


def test_it_is_found_beside_a_registered_adapter(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, None)
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    files.write(reference, adapters, calibration_report(reference, 1000))
    store = SqliteStore(tmp_path / "state.db")
    store.add_adapter(ADAPTER, "u", str(adapters), who="ann")
    world.log(world.asks(USUAL[500:510]))
    world.look()
    assert (world.reading("novelty")["n"], world.metric(m.DRIFT_MISSING, "triage")) == (10, 0)


def test_another_reference_set_begins_anew(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference)
    world.log(world.asks(USUAL[500:510]))
    world.look()
    files.write(build(prompts(USUAL[:400]), STATIC, seed=9), tmp_path, {})
    world.start()
    world.log(world.asks(USUAL[510:513]))
    world.look()
    assert world.reading("novelty")["n"] == 3


def test_gauges_of_an_adapter_that_went_are_not_exported(tmp_path: Path, reference: Reference) -> None:
    """An alarm about the student before would stay active for ever."""
    world = World(tmp_path, reference, novelty={"false_alarm_every": 1000})
    world.log(world.asks(FOREIGN[:60]))
    world.look()
    before = ("triage", ADAPTER, "novelty")
    assert world.metric(m.DRIFT_VALUE, *before) > 0
    route = replace(world.settings.routes["triage"], student=Student("u", "triage@000000000001"))
    world.monitor.settings = replace(world.settings, routes={"triage": route})
    world.look()
    known = Totals(tmp_path).sums()
    gauges = (m.DRIFT_VALUE, m.DRIFT_THRESHOLD, m.DRIFT_ACTIVE)
    assert not [family.name for family in gauges if (family.name, before) in known]
    assert (m.DRIFT_VALUE.name, ("triage", "triage@000000000001", "novelty")) in known
    assert world.metric(m.DRIFT_EVALUATED, *before) == 60, "what was counted stays"


def test_rubbish_in_the_log_is_passed_over(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference)
    rubbish = [
        {}, {"id": 3}, {"id": "a", "route": "triage", "time": "late"}, {"id": "b", "route": "nowhere", "time": 1.0},
        {"id": "c", "route": "triage", "time": 1.0}, record(1, "x", 1.0, request_json="{"), record(2, "x", 1.0, usage=7),
        record(3, "x", 1.0, verdicts=[None, 3]), record(4, "x", 1.0, response_json=None, verdicts=None),
        record(5, "x", 1.0, request_json=None), record(6, "x", 1.0, usage={"completion_tokens": "many"}),
    ]  # fmt: skip
    world.log(rubbish)
    with (tmp_path / "logs" / "segments" / "w0.jsonl").open("ab") as out:
        out.write(b"\xff\x00 no json\n[]\n\n")
    world.log(world.asks(USUAL[500:505]))
    world.look()
    assert world.reading("outputs")["n"] >= 5
    assert world.monitor.look() is False


def test_offsets_are_there_for_whoever_deletes_segments(tmp_path: Path) -> None:
    assert read_to(tmp_path / "logs") is None
    world = World(tmp_path, None)
    world.log(world.asks(USUAL[:5]))
    world.look()
    segment = tmp_path / "logs" / "segments" / "w0.jsonl"
    assert read_to(tmp_path / "logs") == {"w0.jsonl": segment.stat().st_size}
    segment.unlink()
    world.now += loop.TIDY_EVERY_S + 1
    world.log(world.asks(USUAL[5:9]), file="w1")
    world.look()
    assert set(read_to(tmp_path / "logs") or ()) == {"w1.jsonl"}


def verdict(label: str) -> list[Json]:
    return [{"name": "schema", "version": "1", "score": None, "label": label, "latency_ms": 0.1, "action": "flag"}]


def test_checks_that_fail_more_for_the_student_raise_an_alarm() -> None:
    panel = Panel("triage", ADAPTER, read({"outputs": False}), None, None)
    rng = random.Random(2)
    for number in range(2000):
        student = number % 2 == 0
        failed = rng.random() < (0.12 if student and number > 800 else 0.02)
        arm: Json = (
            {} if student else {"arm": "teacher", "assigned_arm": "teacher", "reason": "control", "adapter": None}
        )
        panel.take(record(number, "x", 5.0, verdicts=verdict("empty" if failed else "pass"), **arm))
    first, *_ = panel.take_alarms()
    assert first.monitor == "check_failures"
    assert 400 < first.n < 700  # student answers; from the 400th on they fail


def test_answers_that_fail_more_than_before_raise_an_alarm() -> None:
    panel = Panel("triage", ADAPTER, read({"check_failures": False}), None, None)
    for number in range(1200):
        broken = number > 600 and number % 3 == 0
        fallback: Json = (
            {"arm": "teacher", "reason": "fallback:http_500", "fallback_reason": "http_500"} if broken else {}
        )
        panel.take(record(number, "x", 5.0, **fallback))
    [first, *_] = panel.take_alarms()
    assert (first.monitor, "student's failures" in first.detail) == ("outputs", True)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, observed.Checked(True, False)),
        ({"verdicts": verdict("refusal")}, observed.Checked(True, True)),
        ({"verdicts": []}, None), ({"verdicts": None}, None), ({"adapter": "other@1234567"}, None),
        ({"arm": "teacher", "reason": "control"}, observed.Checked(False, False)),
        ({"arm": "teacher", "reason": "fallback:check:schema"}, None),  # the harder half: no fair comparison
        ({"role": "held_back", "reason": "check:schema", "verdicts": verdict("invalid")}, observed.Checked(True, True)),
    ],
)  # fmt: skip
def test_what_checks_said_is_read_null_safely(more: Json, expected: object) -> None:
    assert observed.checked(record(1, "x", 1.0, **{"verdicts": verdict("pass"), **more}), ADAPTER) == expected


def test_settings_that_change_nothing_keep_the_panel(tmp_path: Path, reference: Reference) -> None:
    world = World(tmp_path, reference, novelty={"action": "hold"})
    world.log(world.asks(USUAL[500:510]))
    world.look()
    route = replace(
        world.settings.routes["triage"], monitors=read({"reference": str(tmp_path), "novelty": {"action": "teacher"}})
    )
    world.monitor.settings = replace(world.settings, routes={"triage": route})
    world.log(world.asks(USUAL[510:515]))
    world.look()
    assert world.reading("novelty")["n"] == 15
