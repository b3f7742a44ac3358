"""Whatever a rollout learns from, and in whatever order, its certificate is confirmed: the lines are all that it learnt from."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control import asking
from graduand.gateway.control.certificate import parts
from graduand.gateway.control.certificate.verify import Status, verdict
from graduand.gateway.logs import seal
from graduand.gateway.logs.shipper import Shipped
from graduand.gateway.logs.target import Target
from graduand.gateway.processes.holding import Holding
from graduand.rollout.state import Phase
from tests.gateway.control.certificate.conftest import SHORT, Case, issued
from tests.gateway.control.judges import JudgeServer
from tests.gateway.control.test_judging import TEXT, look_until
from tests.gateway.control.worlds import World

Json = dict[str, Any]
FED = re.compile(r"\bledger\.(pair|answered|unit|tick|follow|label)\(")
GATEWAY = Path(parts.__file__).parents[2]


def test_nothing_but_the_journal_feeds_a_ledger() -> None:
    """Or there would be evidence of which no line tells."""
    fed = {path.name for path in GATEWAY.rglob("*.py") if FED.search(path.read_text())}
    assert fed == {"journal.py"}


def confirmed(world: World) -> Json:
    certificate = issued(world)
    findings = Case(certificate, world.folder / "logs").verify()
    assert verdict(findings) is Status.OK, [one for one in findings if one.status is not Status.OK]
    return certificate


def test_days_a_hold_fallbacks_and_times(tmp_path: Path) -> None:
    """Whole cycles of a day with a hold in one, users who come again, answers that fail, a gate about times."""
    world = World(tmp_path, named=True, users=40)
    gates = ["agreement 0.6", {"latency": {"slo": "1s", "within": 0.5}}]
    steps = [{"shadow": {"pairs": 20}}, {"full": {"requests": 5, "dwell": "3s"}}]
    world.start(gates=gates, steps=steps, audit=1.0, cycle="24h", stale_after="30d")
    world.look(3)
    for hour in range(24 * 9):
        if world.phase is Phase.PROMOTED:
            break
        if hour == 30:
            world.verb("pause")
        if hour == 33:
            world.verb("resume")
        world.ask(3, broken=hour % 100 == 99)
        world.look(2, step_s=1800)
    assert world.phase is Phase.PROMOTED, world.row.state.note
    certificate = confirmed(world)
    assert {gate["signal"].partition(":")[0] for gate in certificate["claims"][-1]["gates"]} == {"agreement", "latency"}
    assert certificate["claims"][-1]["cycles"] >= 2


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    yield server
    server.close()


def test_free_text(tmp_path: Path, judge: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the judge said is in the evidence; said otherwise or erased it is refused or not confirmed."""
    monkeypatch.setattr(asking, "REST_S", 0.01)
    world = World(tmp_path, upstreams={"judge": judge.upstream()}, named=True)
    short = {"requests": 5, "dwell": "1s"}
    steps = [{"shadow": {"pairs": 15}}, {"full": short}]
    world.start(task=TEXT, gates=[{"score": {"p0": 0.2}}], steps=steps, audit=1.0)
    world.look(3)
    for phase in (Phase.FULL, Phase.PROMOTED):
        while world.phase is not phase:
            world.ask(10, agree=0.9)
            look_until(world, lambda: world.waiting == 0)
            world.look(1, step_s=5)
    certificate = confirmed(world)
    case = Case(certificate, world.folder / "logs")
    lines = case.lines()
    said = next(one for one in lines if one["kind"] == "verdict")
    was = said["text"]
    for text, status in ((was + "!", Status.REFUSED), (None, Status.UNCONFIRMED), (was, Status.OK)):
        said["text"] = text
        case.write_lines(lines)
        assert case.verdict() is status


def test_an_incumbent(tmp_path: Path) -> None:
    world = World(tmp_path, mode="student", named=True)
    world.start(**{**SHORT, "gates": ["agreement 0.6", {"incumbent": {"p0": 0.3}}]})
    world.look(3)
    for _ in range(60):
        if world.phase is Phase.PROMOTED:
            break
        world.ask(40, agree=0.98, incumbent=0.5)
        world.look(1, step_s=3)
    assert world.phase is Phase.PROMOTED
    confirmed(world)


def test_another_teacher_in_the_middle(tmp_path: Path) -> None:
    """The evidence starts anew, and its account of alpha with it."""
    world = World(tmp_path, named=True)
    world.start(**SHORT)
    world.look(3)
    world.ask(12)
    world.look()
    row = world.row
    row.renewal = "another teacher"
    with world.store.transaction():
        from graduand.gateway.control import moves

        moves.renew(world.store, row, "another teacher", world.now, world.settings.routes)
    for _ in range(30):
        world.ask(12)
        world.look(1, step_s=2)
    certificate = confirmed(world)
    assert certificate["account"]["number"] == 2
    assert {claim["basis"] for claim in certificate["claims"]} == {2}


# Lines on their way into the log.


def test_parts_that_were_shipped_are_named(tmp_path: Path) -> None:
    world = World(tmp_path, named=True)
    world.start(**SHORT)
    world.look(3)
    for _ in range(30):
        world.ask(12)
        world.look(1, step_s=2)
    segment = tmp_path / "logs" / "segments" / "w0.jsonl"
    target = Target(world.settings.logs)
    import hashlib

    shipped = []
    for part in seal.seal(segment, "log").parts:
        data = part.encoded()
        target.put(part.key, data)
        shipped.append(Shipped(part.key, hashlib.sha256(data).hexdigest(), {world.row.id: len(part.lines)}))
    Holding(tmp_path / "logs", world.new_store).shipped(shipped)
    world.look()
    segment.unlink()
    confirmed(world)
    case = Case(issued(world), tmp_path / "logs")
    [path] = (tmp_path / "logs").glob("dt=*/**/*.parquet")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"parquet-cpp", b"parquet-cpq", 1))
    assert data != path.read_bytes()
    assert [one.line for one in case.verify() if one.status is Status.REFUSED] == ["parts"]
    path.unlink()
    assert {"records", "parts"} <= {one.line for one in case.verify() if one.status is Status.REFUSED}


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("at", range(4))
def test_whoever_ships_lines_may_be_killed(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps; whoever comes next makes the same part, and no line is lost or there twice."""
    world = World(tmp_path, named=True)
    world.start(**SHORT)
    world.look(3)
    world.ask(12)
    world.look()
    target = Target(world.settings.logs)
    steps = 0

    def step(real: Any) -> Any:
        def run(*given: Any) -> Any:
            nonlocal steps
            if steps == at:
                raise Killed
            steps += 1
            return real(*given)

        return run

    with monkeypatch.context() as patched:
        for owner, name in ((world.store, "write_batch"), (target, "put"), (world.store, "write_batch_done")):
            patched.setattr(owner, name, step(getattr(owner, name)))
        if at < 3:
            with pytest.raises(Killed):
                parts.ship(world.store, target)
    world.ask(12)
    world.look()  # more lines, which belong to the next batch
    parts.ship(world.store, Target(world.settings.logs))
    parts.ship(world.store, Target(world.settings.logs))
    lines = Case({}, tmp_path / "logs").lines()
    assert [one["number"] for one in lines] == list(range(1, len(lines) + 1))
    trail = world.row.trail
    assert trail is not None
    assert len(lines) == trail.number
    assert world.store.evidence_waits() == []
