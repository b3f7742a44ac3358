"""The controller's gauges: what they say at each phase, and that they end with what they speak of."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from graduand.gateway.model.routes import Incumbent, Route, Student, Teacher
from graduand.gateway.telemetry import rollouts
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile
from graduand.rollout.state import Phase
from tests.gateway.control.worlds import STUDENT_NAME, World

Found = dict[tuple[str, ...], float]


def found(world: World) -> Found:
    standing = world.controller.standing()
    assert standing is not None
    return {(family.name.removeprefix("graduand_"), *labels): value
            for family, labels, value in rollouts.read(*standing, world.now)}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_without_a_rollout_only_shares(world: World) -> None:
    assert found(world) == {("share", "triage", "teacher"): 1, ("share", "triage", "student"): 0}


def test_a_rollouts_course(world: World) -> None:
    world.start()
    world.look(3)
    assert found(world)["rollout_phase", "triage", "shadow"] == 1
    world.served()
    world.ask(30, agree=0.9)
    world.look()
    page = found(world)
    assert page["agreement", "triage", STUDENT_NAME] == 1  # the first 30 of every hundred agree
    low, high = page["agreement_lower", "triage", STUDENT_NAME], page["agreement_upper", "triage", STUDENT_NAME]
    assert 0 < low < 1 <= high
    row = world.row
    evidence = row.ledger.snapshot().gates["agreement"].log_e
    assert page["rollout_evidence", "triage", "agreement"] == pytest.approx(evidence / math.log(10))
    assert page["rollout_evidence_threshold", "triage", "agreement"] == pytest.approx(math.log10(20 / row.state.share))
    assert {key[2] for key in page if key[0] == "rollout_evidence"} >= {
        "agreement",
        "harm:agreement of copies",
        "harm:errors as served",
    }
    assert page["rollout_step_age_seconds", "triage"] == pytest.approx(world.now - row.state.entered_at)
    world.ask(100)
    world.look(3)
    assert world.phase is Phase.CANARY
    page = found(world)
    assert ("rollout_phase", "triage", "shadow") not in page
    assert (page["share", "triage", "student"], page["share", "triage", "teacher"]) == (0.1, 0.9)
    assert ("rollout_evidence", "triage", "sample_ratio") in page


def test_held_and_rolled_back(world: World) -> None:
    world.start()
    world.look(3)
    world.verb("pause")
    world.now += 50
    page = found(world)
    assert (page["rollout_phase", "triage", "hold"], page["rollout_step_age_seconds", "triage"]) == (1, 50)
    world.verb("rollback")
    world.served()
    world.look(2)
    world.now += 9
    page = found(world)
    assert page["rollout_phase", "triage", "rolled_back"] == 1
    assert 9 <= page["rollout_step_age_seconds", "triage"] < 10
    assert not [key for key in page if key[0].startswith(("agreement", "rollout_evidence"))]


def test_only_the_leader_speaks(world: World) -> None:
    world.start()
    world.look(3)
    first = world.controller
    world.new_controller()
    assert world.controller.standing() is None
    assert first.standing() is not None
    world.now += 60  # the first one is gone
    assert world.controller.standing() is not None


def test_what_has_ended_is_not_exported(tmp_path: Path) -> None:
    metrics = Metrics(SeriesFile(tmp_path / "controller.series"))
    rollouts.export(metrics, [(m.ROLLOUT_PHASE, ("r", "shadow"), 1.0), (m.AGREEMENT, ("r", "a@1"), 0.5)])
    rollouts.export(metrics, [(m.ROLLOUT_PHASE, ("r", "canary"), 1.0)])
    left = {key: value for key, value in Totals(tmp_path).sums().items() if value}
    assert left == {(m.ROLLOUT_PHASE.name, ("r", "canary")): [1.0]}


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({"mode": "teacher"}, {"teacher": 1, "student": 0}),
        ({"mode": "shadow"}, {"teacher": 1, "student": 0}),
        ({"mode": "canary", "weight_bp": 2500}, {"teacher": 0.75, "student": 0.25}),
        ({"mode": "student"}, {"teacher": 0, "student": 1}),
        ({"mode": "hybrid"}, {"teacher": 1, "student": 0}),  # nobody knows yet how sure is sure enough
        ({"mode": "hybrid", "threshold": {"threshold": {}}}, {"teacher": 0, "student": 1}),
        ({"mode": "shadow", "incumbent": Incumbent("old@1")}, {"teacher": 0, "student": 0, "incumbent": 1}),
        ({"mode": "canary", "weight_bp": 100, "incumbent": Incumbent("old@1")},
         {"teacher": 0, "student": 0.01, "incumbent": 0.99}),
        ({"mode": "teacher", "incumbent": Incumbent("old@1")}, {"teacher": 1, "student": 0}),
    ],
)  # fmt: skip
def test_shares(changes: dict[str, object], shares: dict[str, float]) -> None:
    route = replace(Route("r", Teacher("o", "gpt-4o"), Student("gpu", "new@2")), **changes)  # type: ignore[arg-type]
    found = {labels[1]: value for family, labels, value in rollouts.read({"r": route}, [], 0.0)}
    assert found == pytest.approx(shares)
