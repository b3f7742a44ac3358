"""Shipping: every record lands exactly once, whatever the store does and wherever the shipper is stopped."""

import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.errors import ConfigError
from graduand.gateway.logs import journal, seal, shipper
from graduand.gateway.logs.journal import Journal
from graduand.gateway.logs.reading import Reader, Source
from graduand.gateway.logs.segment import LogWriter, SegmentFile
from graduand.gateway.logs.shipper import Shipper
from graduand.gateway.logs.target import Target, TargetError
from graduand.gateway.model.recording import DEFAULT, RecordPolicy
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile
from tests.gateway.logs.lines import MORNING, made, write
from tests.gateway.logs.store import BUCKET, S3


class Free:
    """Readers that need nothing."""

    needed: frozenset[str] = frozenset()

    def done_with(self, segments: Iterable[Path]) -> set[str]:
        return {one.name for one in segments} - self.needed

    def forget(self, names: Iterable[str]) -> None:
        pass


class World:
    """A spool, a target, and a shipper whose clock is ours."""

    def __init__(self, folder: Path, url: str | None = None, policy: RecordPolicy = DEFAULT) -> None:
        self.spool = folder / "spool"
        self.url = url or f"file://{folder}/target"
        self.policy = policy
        self.now = MORNING + 86400
        self.readers = Free()
        self.metrics = Metrics(SeriesFile(folder / "s.series"))
        self.folder = folder
        self.shipper = self.new_shipper()

    def new_shipper(self) -> Shipper:
        self.shipper = Shipper(
            self.spool, self.policy, lambda: Target(self.url, timeout_s=5), self.readers, self.metrics, lambda: self.now
        )
        return self.shipper

    def look(self, times: int = 1, step_s: float = 100) -> None:
        for _ in range(times):
            self.now += step_s
            self.shipper.look()

    def landed(self) -> list[dict[str, Any]]:
        return list(Reader(Source(self.url, None)))

    def ids(self) -> Counter[str]:
        return Counter(one["id"] for one in self.landed())

    def total(self, name: str, *labels: str) -> float:
        return Totals(self.folder).sums().get((name, labels), [0.0])[0]

    def segments(self) -> list[str]:
        return sorted(path.name for path in (self.spool / "segments").iterdir())


def own(folder: Path) -> str:
    """A prefix that no other test has: what was given up there may still land when the next one has begun."""
    return f"s3://{BUCKET}/{folder.name}"


@pytest.fixture(params=["file", "s3"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "s3":
        request.getfixturevalue("s3")
        return World(tmp_path, own(tmp_path))
    return World(tmp_path)


def test_parts_have_every_record_as_it_was(world: World) -> None:
    """By hour and route, whole, also above 100 kB; the segment goes when the target has all of it."""
    records = [made(n, route="a/b" if n % 2 else "tickets") for n in range(10)]
    records += [made(5000, response_json=json.dumps({"choices": [], "text": "x" * 300_000 + "ü\u2028\\"}))]
    write(world.spool, "one", records)
    world.look()
    landed = {one["id"]: one for one in world.landed()}
    assert len(landed) == len(records) == len(world.landed())
    for one in records:
        back = landed[one["id"]]
        assert back == one
    keys = sorted(key.rpartition("/")[0] for key in Target(world.url).listed())
    day = "dt=2026-11-22"
    assert keys == [f"{day}/hour=00/route=a%2Fb", f"{day}/hour=00/route=tickets", f"{day}/hour=01/route=tickets"]
    world.look()
    assert world.segments() == []
    assert world.total("graduand_log_waiting_bytes") == 0
    assert world.total("graduand_log_parts", "uploaded") == 3


def test_a_segment_is_never_shipped_twice(world: World) -> None:
    """The keys come from the records: done again after a crash, the same parts are there."""
    path = write(world.spool, "one", [made(n) for n in range(5)])
    data = path.read_bytes()
    world.look()
    before = {key: Target(world.url).get(key) for key in Target(world.url).listed()}
    for name in ("one", "copy"):
        (world.spool / "segments" / f"{name}.jsonl").write_bytes(data)
        (world.spool / "segments" / f"{name}.jsonl.shipped").unlink(missing_ok=True)
        world.new_shipper().look()
    assert {key: Target(world.url).get(key) for key in Target(world.url).listed()} == before
    assert set(world.ids().values()) == {1}


class Killed(BaseException):
    """Stops a shipper as kill -9 does: nothing after it runs."""


def test_killed_between_any_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step that changes something outside is where it dies, one run after the other."""
    world = World(tmp_path)
    names = {name: [made(1000 * place + n, route=f"r{n % 2}") for n in range(4)] for place, name in enumerate("ab")}
    steps, dies_at = [0], [10**9]

    def counted(real: Any) -> Any:
        def step(*arguments: Any, **more: Any) -> Any:
            steps[0] += 1
            if steps[0] == dies_at[0]:
                raise Killed
            done = real(*arguments, **more)
            steps[0] += 1
            if steps[0] == dies_at[0]:
                raise Killed
            return done

        return step

    monkeypatch.setattr(Target, "put", counted(Target.put))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(shipper, "_write_whole", counted(shipper._write_whole))
    for place in range(1, 100):
        for name, records in names.items():
            write(world.spool, name, records)
        steps[0], dies_at[0] = 0, place
        killed = False
        for _ in range(4):
            try:
                world.new_shipper()
                world.look(2)
            except Killed:
                killed = True
        assert world.segments() == []
        assert world.ids() == {one["id"]: 1 for records in names.values() for one in records}
        if not killed:
            break
    assert place > 16


FAULTS = [{"error": 0.5}, {"reset": 0.5}, {"lost": 0.5}, {"error": 0.2, "reset": 0.2, "lost": 0.2, "slow": 0.2}]


@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: "+".join(faults))
def test_a_store_that_fails(tmp_path: Path, s3: S3, faults: dict[str, float]) -> None:
    s3.slow_s = 0.02
    world = World(tmp_path, own(tmp_path))
    wanted = set()
    for number in range(6):
        records = [made(1000 * number + n, route=f"r{n % 2}") for n in range(4)]
        wanted |= {one["id"] for one in records}
        write(world.spool, f"s{number}", records)
    s3.faults = faults
    for _ in range(200):
        world.look()
        if not world.segments():
            break
    assert all(s3.seen[name] > 0 for name in faults)
    s3.faults = {}
    assert world.ids() == dict.fromkeys(wanted, 1)
    assert world.segments() == []
    assert world.total("graduand_log_parts", "failed") > 0
    assert world.total("graduand_log_lag_seconds") == 0


def test_a_store_that_hangs_is_given_up_and_tried_again(tmp_path: Path, s3: S3) -> None:
    world = World(tmp_path, own(tmp_path))
    world.shipper = Shipper(
        world.spool,
        world.policy,
        lambda: Target(world.url, timeout_s=0.3),
        world.readers,
        world.metrics,
        lambda: world.now,
    )
    write(world.spool, "one", [made(1)])
    s3.faults, s3.slow_s = {"slow": 1.0}, 1.5
    world.look()
    assert world.total("graduand_log_parts", "failed") == 1
    assert world.total("graduand_log_waiting_bytes") > 0
    assert world.total("graduand_log_lag_seconds") == pytest.approx(world.now - MORNING - 1, abs=1)
    s3.faults = {}
    for _ in range(50):  # one may be too slow again, for the machine stands still
        world.look()
        if not world.segments():
            break
    assert len(world.ids()) == 1


def test_it_waits_longer_the_longer_a_store_fails(tmp_path: Path, s3: S3) -> None:
    world = World(tmp_path, own(tmp_path))
    write(world.spool, "one", [made(1)])
    s3.faults = {"error": 1.0}
    tries = []
    for _ in range(400):
        before = s3.seen["error"]
        world.look(step_s=0.5)
        if s3.seen["error"] > before:
            tries.append(world.now)
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert 5 <= len(tries) <= 12
    assert gaps[-1] >= 20 > gaps[0]
    assert len(world.segments()) == 1


def test_segments_stay_while_somebody_reads_them(world: World) -> None:
    write(world.spool, "one", [made(1)])
    world.readers.needed = frozenset({"one.jsonl"})
    world.look(3)
    assert world.segments() == ["one.jsonl", "one.jsonl.shipped"]
    assert world.total("graduand_log_waiting_bytes") == 0
    world.readers.needed = frozenset()
    world.look()
    assert world.segments() == []


def test_an_open_segment_is_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    file = SegmentFile(world.spool / "segments", "w0-1", 60)
    file.write(memoryview(json.dumps(made(1)).encode() + b"\n"))
    world.look(3)
    assert world.landed() == []
    assert world.total("graduand_log_waiting_bytes") > 0
    file.close()
    world.look(3)
    assert len(world.landed()) == 1


def test_damage_is_put_aside_and_the_rest_is_shipped(tmp_path: Path) -> None:
    world = World(tmp_path)
    path = write(world.spool, "one", [made(1)], cut=b'{"id": "cut of')
    path.write_bytes(b"\x00\x00 no record\n" + path.read_bytes())
    world.look(3)
    assert len(world.landed()) == 1
    assert world.segments() == ["one.damaged"]
    assert (world.spool / "segments" / "one.damaged").read_bytes() == b"\x00\x00 no record\n"


def test_what_no_column_holds_comes_back_too(tmp_path: Path) -> None:
    """A record of a newer version, and one whose fields have other types."""
    world = World(tmp_path)
    strange = {
        **made(1), "trace_id": "abc", "status": "200", "usage": {"prompt_tokens": 2**70, "new": 1},
        "verdicts": [{"name": "json", "version": None, "score": 1, "label": "ok", "latency_ms": 0.5, "action": "flag"}],
        "cost": {"dollars": 1}, "drift": {"novelty_p": 0.5, "e_value": 2.0},
    }  # fmt: skip
    write(world.spool, "one", [strange, made(2)])
    world.look()
    back = world.landed()[0]
    del back["timings"], strange["timings"]
    assert back == strange


def test_retention(world: World) -> None:
    world.policy = RecordPolicy(keep_days=2)
    world.new_shipper()
    for day in range(6):
        write(world.spool, f"day{day}", [made(day, at=MORNING + day * 86400 + 5)])
    (world.spool / "feedback" / "segments").mkdir(parents=True)
    said = {"feedback_id": "f", "id": "x", "time": MORNING, "score": 1.0}
    (world.spool / "feedback" / "segments" / "f.jsonl").write_text(json.dumps(said) + "\n")
    world.now = MORNING + 5 * 86400 + 60
    world.look(2, step_s=4000)  # a store under load may take a part at the second attempt only
    days = {key.partition("dt=")[2][:10] for key in Target(world.url).listed()}
    assert days == {"2026-11-25", "2026-11-26", "2026-11-27"}
    assert world.total("graduand_log_parts", "deleted") == 4
    world.look(2, step_s=4000)
    assert world.total("graduand_log_parts", "deleted") == 4


def killed_writer(world: World, records: list[dict[str, Any]], in_segment: int, half: int = 0) -> Path:
    """What a worker leaves that was killed when `in_segment` records and `half` bytes more were in its segment, and the
    journal had not yet been told of the last of them."""
    ring = Journal(world.spool / "journal" / "w0-77-5f5e100.ring")
    data = [json.dumps(one).encode() + b"\n" for one in records]
    positions = [ring.put(line) for line in data]
    ring.commit(positions[max(0, in_segment - 2)])
    path = write(world.spool, "20261122T000000Z-w0-77-00000", [])
    path.write_bytes(b"".join(data[:in_segment]) + data[in_segment][:half])
    ring._words.release()
    ring._map.close()
    os.close(ring._file)
    return ring.path


@pytest.mark.parametrize(("in_segment", "half"), [(0, 0), (0, 10), (3, 0), (3, 17), (9, 1)])
def test_what_a_killed_worker_left_is_recovered_once(tmp_path: Path, in_segment: int, half: int) -> None:
    world = World(tmp_path)
    records = [made(n) for n in range(10)]
    path = killed_writer(world, records, in_segment, half)
    world.look(3)
    missing = {records[0]["id"]} if in_segment == 0 else set()  # told of the first one before it was written
    assert world.ids() == {one["id"]: 1 for one in records if one["id"] not in missing}
    assert not path.exists()


def test_a_shipper_that_dies_in_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    records = [made(n) for n in range(10)]
    killed_writer(world, records, 4, 5)
    real, steps = Path.unlink, [0]

    def unlink(path: Path, missing_ok: bool = False) -> None:
        steps[0] += 1
        if steps[0] == 1:
            raise Killed
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(Killed):
        world.look()
    world.new_shipper()
    world.look(3)
    assert world.ids() == {one["id"]: 1 for one in records}


def test_recovered_records_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graduand.gateway.logs.places.MEMORY", tmp_path)
    world = World(tmp_path, policy=RecordPolicy(redact=("email",)))
    from graduand.gateway.logs import places

    folder = places.journals(world.spool, world.policy)
    assert folder is not None
    assert world.spool not in folder.parents
    ring = Journal(folder / "w0-77-5f5e100.ring")
    ring.put(json.dumps(made(1, request_body=b'{"messages": "ann@example.com"}')).encode() + b"\n")
    ring._words.release()
    ring._map.close()
    os.close(ring._file)
    (world.spool / "segments").mkdir(parents=True)
    world.look(2)
    [landed] = world.landed()
    assert landed["request_json"] == '{"messages":"[redacted:email]"}'


def test_a_journal_that_is_being_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipper that looks in the moment before the lock must not take it for a dead worker's."""
    real, seen = journal.fcntl.flock, []

    def flock(file: int, how: int) -> None:
        monkeypatch.setattr(journal.fcntl, "flock", real)
        seen.extend(journal.left_behind(tmp_path))
        real(file, how)

    monkeypatch.setattr(journal.fcntl, "flock", flock)
    ring = Journal(tmp_path / "w0-1-0.ring")
    assert seen == []
    assert list(journal.left_behind(tmp_path)) == []
    ring.put(b"{}\n")
    ring.close()
    assert list(journal.left_behind(tmp_path)) == [ring.path]
    stale = tmp_path / "w0-2-0.making"
    stale.touch()
    os.utime(stale, (1, 1))
    list(journal.left_behind(tmp_path))
    assert not stale.exists()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.binary(max_size=90), st.booleans()), max_size=60))
def test_a_journal_gives_back_what_was_not_committed(steps: list[tuple[bytes, bool]]) -> None:
    """Whatever the lengths, around the ring's end and when it is full."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "RING_BYTES", 256)
        ring = Journal(Path(folder) / "w0-1-0.ring")
        waiting: list[tuple[bytes, int]] = []
        for data, commits in steps:
            position = ring.put(data)
            used = sum(len(line) + 4 for line, _ in waiting)
            assert bool(position) == (used + len(data) + 4 <= 256)
            waiting += [(data, position)] if position else []
            if commits and waiting:
                ring.commit(waiting.pop(0)[1])
            assert journal.uncommitted(ring.path) == [line for line, _ in waiting]
        ring.close()


def test_the_journal_of_a_live_worker_is_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = LogWriter(world.spool, name="w0-1")
    assert list(journal.left_behind(world.spool / "journal")) == []
    for number in range(5):
        writer.append(made(number))
    writer.close()
    assert list((world.spool / "journal").iterdir()) == []
    world.look(2)
    assert len(world.ids()) == 5


@pytest.mark.parametrize("url", ["http://x/y", "s3://", "ftp://a/b", "file://host/x", "s3://key@bucket/x", "logs", ""])
def test_other_targets_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is not supported; use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET"):
        Target(url)


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    with pytest.raises(TargetError, match="cannot put"):
        Target("s3://no-such-bucket/x").put("a", b"")


def test_google_speaks_the_same_contract() -> None:
    """No server of Google's kind is here to ask: that the address is understood is what can be known."""
    assert "gs://bucket/prefix" in Target("gs://bucket/prefix").url


def test_sealing_is_a_function_of_the_records(tmp_path: Path) -> None:
    path = write(tmp_path, "one", [made(n) for n in range(50)])
    other = write(tmp_path, "two", [made(n) for n in range(50)])
    one, two = seal.seal(path, "log"), seal.seal(other, "log")
    assert [(part.key, part.encoded()) for part in one.parts] == [(part.key, part.encoded()) for part in two.parts]


def said_of(record: dict[str, Any], evidence: float, at: float) -> dict[str, Any]:
    return {
        "schema_version": 1, "id": record["id"], "time": record["time"], "route": record["route"], "adapter": "a@1",
        "novelty_p": 0.25, "e_value": evidence, "evaluated_at": at,
    }  # fmt: skip


def drift_segment(world: World, name: str, rows: list[dict[str, Any]]) -> None:
    folder = world.spool / "drift" / "segments"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_the_detector_said_is_shipped_and_expires(world: World) -> None:
    """Beside the log, by the hour of the request; never taken for records."""
    world.policy = RecordPolicy(keep_days=2)
    world.new_shipper()
    records = [made(0), made(3600), made(4 * 86400)]
    drift_segment(world, "d", [said_of(one, 2.0, MORNING + 5 * 86400 - 7) for one in records])
    world.now = MORNING + 5 * 86400
    world.shipper._wait_until = world.now + 1  # the store is away for now
    world.shipper.look()
    assert world.total("graduand_log_lag_seconds") == 7  # since it was said, not since the request
    assert world.landed() == []
    world.look(2)
    rows = list(Reader(Source(world.url, None), "drift"))
    assert world.landed() == []
    assert [(row["id"], row["e_value"]) for row in rows] == [(records[2]["id"], 2.0)]
    assert [key.rpartition("/")[0] for key in Target(world.url).listed()] == ["drift/dt=2026-11-26/hour=00"]
    assert world.total("graduand_log_parts", "deleted") == 2
    assert list((world.spool / "drift" / "segments").iterdir()) == []
