"""One real promotion by a controller in a made-up world, its certificate and its log; each test gets a copy of the log."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.control.certificate import issue
from graduand.gateway.control.certificate.verify import Finding, Status, verdict, verify
from graduand.gateway.logs import schema, seal
from graduand.gateway.model import canonical
from graduand.rollout.state import Phase
from tests.gateway.control.worlds import World

Json = dict[str, Any]


# A bound so low that few requests prove it.
SHORT: Json = {
    "steps": [
        {"shadow": {"pairs": 20, "t_max": "1h"}},
        {"canary": {"weight": 50, "requests": 5, "dwell": "3s"}},
        {"full": {"requests": 5, "dwell": "3s"}},
    ],
    "gates": ["agreement 0.6"],
    "audit": 1.0,
}


def promoted(world: World, **changes: Any) -> Json:
    """Let the world's student be promoted; the certificate."""
    world.start(**{**SHORT, **changes})
    world.look(3)
    for _ in range(30):
        if world.phase is Phase.PROMOTED:
            break
        world.ask(12, agree=0.97)
        world.look(1, step_s=2)
    assert world.phase is Phase.PROMOTED
    return issued(world)


def issued(world: World) -> Json:
    """A certificate as whoever asks the admin plane gets it."""
    certificate: Json = json.loads(json.dumps(issue.issue(world.store, world.row.id, world.settings.logs, world.now)))
    return certificate


@dataclass
class Case:
    """A certificate and the folder with its log, both a test's own."""

    certificate: Json
    log: Path

    def verify(self, **more: Any) -> list[Finding]:
        return verify(canonical.dumps(self.certificate), str(self.log), **more)

    def verdict(self, **more: Any) -> Status:
        return verdict(self.verify(**more))

    @property
    def segment(self) -> Path:
        """The requests' records."""
        [found] = (self.log / "segments").glob("*.jsonl")
        return found

    def records(self) -> list[Json]:
        return [json.loads(line) for line in self.segment.read_bytes().splitlines()]

    def write_records(self, records: list[Json]) -> None:
        self.segment.write_text("".join(json.dumps(one) + "\n" for one in records))

    def lines(self) -> list[Json]:
        """The evidence."""
        import pyarrow.parquet as pq

        found = [row for part in self._parts() for row in map(schema.record_of, pq.read_table(part).to_pylist())]
        return [{name: value for name, value in row.items() if name != "extra"} for row in found]

    def write_lines(self, lines: list[Json]) -> None:
        shutil.rmtree(self.log / "evidence")
        if lines:
            part = seal.evidence_part(tuple(json.dumps(one).encode() + b"\n" for one in lines))
            (self.log / part.key).parent.mkdir(parents=True)
            (self.log / part.key).write_bytes(part.encoded())

    def ship(self) -> None:
        """Make parts of the segments, as a shipper does."""
        for part in seal.seal(self.segment, "log").parts:
            (self.log / part.key).parent.mkdir(parents=True, exist_ok=True)
            (self.log / part.key).write_bytes(part.encoded())
        shutil.rmtree(self.log / "segments")

    def _parts(self) -> list[Path]:
        return sorted((self.log / "evidence").rglob("*.parquet"), key=lambda path: path.name)


@pytest.fixture(scope="module")
def promotion(tmp_path_factory: pytest.TempPathFactory) -> Case:
    world = World(tmp_path_factory.mktemp("world"), named=True)
    return Case(promoted(world), world.folder / "logs")


@pytest.fixture
def case(promotion: Case, tmp_path: Path) -> Case:
    """The log is somewhere else."""
    shutil.copytree(promotion.log, tmp_path / "elsewhere")
    return Case(json.loads(json.dumps(promotion.certificate)), tmp_path / "elsewhere")
