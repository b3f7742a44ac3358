"""Gold labels in a made-up world: they promote a good student and no bad one, each counts once and in order, and what nobody
says is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.admin import views
from graduand.gateway.control import labels
from graduand.gateway.control.labels import Verdict
from graduand.gateway.control.study import planning
from graduand.gateway.errors import ConfigError
from graduand.gateway.logs.labels import LabelLog
from graduand.gateway.logs.query import Log
from graduand.gateway.logs.reading import Source
from graduand.rollout.labelling import BLOCK, Labelling
from graduand.rollout.simulate.policy import Scenario
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Hold, Phase
from tests.gateway.control.worlds import SPEC, World

STEPS = [{"shadow": {"pairs": 20, "t_max": "1h"}}, {"full": {"requests": 20, "dwell": "1s"}}]
# Agreement asks for next to nothing, and the student of these worlds disagrees often: labels alone decide.
ASKED: dict[str, Any] = {
    "gates": ["agreement 0.3", {"correctness": {"p0": 0.6, "labels": 60}}],
    "harm": [{"agreement": {"p0": 0.1}}], "steps": STEPS, "audit": 1.0,
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, state: str) -> World:
    return World(tmp_path, state=state)


@pytest.fixture
def log(world: World) -> LabelLog:
    return LabelLog(world.folder / "logs", world.settings.record, "test")


def started(world: World, **changes: Any) -> None:
    world.start(**{**ASKED, **changes})
    world.look(3)
    assert world.phase is Phase.SHADOW


def labelling(world: World) -> Labelling:
    found = world.row.ledger.labelling
    assert found is not None
    return found


def say(world: World, log: LabelLog, record: str, verdict: Verdict) -> None:
    """One label of a draw that waits."""
    row = world.row
    draw = next(one for one in labels.wait(world.store, row) if one.guess.record == record)
    question = labels.question(world.store, row, record)
    assert question is not None
    with world.store.transaction():
        labels.give(world.store, log, row, draw, question.label(verdict, "ann", world.now), verdict)


def label_all(world: World, log: LabelLog, right: str) -> int:
    """A person who knows which answer is right, and is shown no more than that."""
    waiting = [draw.guess.record for draw in labels.wait(world.store, world.row)]
    for record in waiting:
        question = labels.question(world.store, world.row, record)
        assert question is not None
        good = [name for name, text in zip(labels.NAMES, question.answers, strict=False) if text == right]
        verdict: Verdict = "neither" if not good else "both" if len(good) == 2 else "A" if good == ["A"] else "B"
        say(world, log, record, verdict)
    return len(waiting)


def live_on(world: World, log: LabelLog, *, right: str, rounds: int = 12, agree: float = 0.7) -> None:
    for _ in range(rounds):
        world.ask(100, agree=agree)
        world.look(2, step_s=1)
        label_all(world, log, right)
        world.look(2, step_s=1)
        if world.phase not in (Phase.SHADOW, Phase.FULL):
            return


def rows(world: World) -> list[dict[str, Any]]:
    paths = (world.folder / "logs" / "labels" / "segments").glob("*.jsonl")
    return [json.loads(line) for path in sorted(paths) for line in path.read_text().splitlines()]


def test_labels_promote_a_student_that_is_right_where_the_teacher_is_not(world: World, log: LabelLog) -> None:
    """It differs from the teacher in half of the requests, and "no" is right in these: gold says what agreement cannot."""
    started(world, gates=["agreement 0.2", {"correctness": {"p0": 0.35, "labels": 100}}])
    live_on(world, log, right="no", agree=0.45, rounds=25)
    assert world.phase is Phase.PROMOTED
    kinds = [event.kind for _, _, event in world.store.events(world.row.id)]
    assert kinds == ["start", "prechecked", "advance", "advance"]
    assert "correctness" in world.row.state.note


def test_labels_do_not_promote_a_bad_student_whatever_the_teacher_says(world: World, log: LabelLog) -> None:
    """It agrees always, and the teacher is wrong: agreement alone would have promoted it at once."""
    started(world)
    live_on(world, log, right="no", agree=1.0)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.FUTILE)
    assert "0 of 60 labels say right" in world.row.state.note
    world.verb("resume")
    world.look(1)
    assert world.phase is Phase.SHADOW
    assert (labelling(world).budget, labelling(world).drawn) == (120, 60)


def test_without_labels_nothing_moves(world: World) -> None:
    started(world)
    for _ in range(8):
        world.ask(100)
        world.look(2)
    assert world.phase is Phase.SHADOW
    shown = labels.status(world.store, world.row)
    assert shown is not None
    assert (shown["drawn"], shown["waiting"], shown["counted"]) == (60, 60, 0)
    world.look(40, step_s=100)  # and silence is a hold, time that runs out never a promotion
    assert world.phase is Phase.HOLD


def test_draws_are_learnt_from_in_their_order(world: World, log: LabelLog) -> None:
    """Whoever labels the easy ones first has proved nothing yet."""
    started(world)
    world.ask(5 * BLOCK)
    world.look(2)
    waiting = [draw.guess.record for draw in labels.wait(world.store, world.row)]
    assert len(waiting) == 5
    for record in waiting[1:]:
        say(world, log, record, "both")
    world.look(2)
    assert (labelling(world).gate.n, len(labels.wait(world.store, world.row))) == (0, 1)
    say(world, log, waiting[0], "skip")
    world.look(2)
    assert (labelling(world).gate.n, labelling(world).gate.right, labelling(world).gate.skipped) == (5, 4, 1)
    assert [world.store.question(world.row, record) for record in waiting] == [None] * 5


def test_a_controller_that_is_killed_counts_each_label_once(world: World, log: LabelLog) -> None:
    started(world)
    world.ask(3 * BLOCK)
    world.look(2)
    label_all(world, log, "yes")
    before = labelling(world).gate.n
    world.new_controller()
    world.now += 60  # the lease of the one that died is over
    world.look(3)
    world.new_controller()
    world.now += 60
    world.look(3)
    assert (before, labelling(world).gate.n) == (0, 3)


def test_a_day_is_asked_about_when_it_is_over_and_counts_when_all_of_it_is_labelled(
    world: World, log: LabelLog
) -> None:
    day = 86_400.0
    started(world, cycle="24h", stale_after="3d", steps=[{"shadow": {"pairs": 20, "t_max": "7d"}}, "full"])
    for cycle in (1, 2):
        for _ in range(4):
            world.ask(50, agree=0.9)
            world.look(1, step_s=day / 5)
        world.look(2, step_s=day / 10)
        waiting = [draw.guess.record for draw in labels.wait(world.store, world.row)]
        assert len(waiting) == 30  # half of the labels, spread over the day
        assert min(int(one[3:]) for one in waiting) % 200 < 20
        assert max(int(one[3:]) for one in waiting) % 200 in (0, *range(180, 200))
        for record in waiting[:-1]:
            say(world, log, record, "both")
        world.look(2)
        assert labelling(world).gate.n == 30 * cycle - 1
        say(world, log, waiting[-1], "both")
        world.look(1)
        assert world.phase is (Phase.SHADOW if cycle == 1 else Phase.FULL)  # one day's labels say nothing about days


def test_a_day_with_a_hold_in_it_is_never_asked_about(world: World) -> None:
    started(world, cycle="24h", stale_after="3d", steps=[{"shadow": {"pairs": 20, "t_max": "7d"}}, "full"])
    world.ask(50)
    world.look(2)
    key = f"review:questions:{world.row.id}:1:shadow"
    assert len(world.store._hashes.all(key)) == 50
    world.verb("pause")
    assert world.store._hashes.all(key) == {}
    world.look(2, step_s=86_400)
    assert labels.wait(world.store, world.row) == []


def test_nobody_is_told_whose_an_answer_is(world: World) -> None:
    started(world)
    for _ in range(4):
        world.ask(100, agree=0.4)
        world.look(2)
    row = world.row
    found = [labels.question(world.store, row, draw.guess.record) for draw in labels.wait(world.store, row)]
    places = [one.student for one in found if one is not None and len(one.answers) == 2]
    assert len(places) > 15
    assert 0.2 < sum(places) / len(places) < 0.8  # the order tells nothing


def test_answers_that_are_the_same_are_one(world: World) -> None:
    started(world)
    world.ask(BLOCK)
    world.look(2)
    question = labels.next_for(world.store, world.row, "ann")
    assert question is not None
    assert (question.answers, question.label("A", "ann", 1.0).teacher_correct) == (("yes",), True)
    assert question.label("neither", "ann", 1.0).correct is False
    assert question.label("skip", "ann", 1.0).correct is None


def test_a_label_is_a_record_from_which_the_evidence_can_be_worked_out_again(world: World, log: LabelLog) -> None:
    started(world, gates=["agreement 0.3", {"correctness": {"p0": 0.6, "labels": 30}}])
    for _ in range(4):
        world.ask(100, agree=0.8)
        world.look(2)
        label_all(world, log, "yes")
        world.look(2)
        if world.phase is not Phase.SHADOW:
            break
    course = world.row.ledger.courses["shadow"]
    assert course.labelling is not None
    fresh = type(course.labelling.gate)(0.6, course.labelling.gate.floor)
    for row in rows(world)[: course.labelling.gate.n]:
        assert (row["rollout"], row["step"], row["source"], row["who"]) == (world.row.id, "shadow", "review", "ann")
        weight = 1 / (row["size"] * row["probability"])
        fresh.update(row["correct"], predicted=row["predicted"], mean=row["mean"], weight=weight, share=row["share"])
    assert fresh.log_e == course.labelling.gate.log_e > 0
    with Log(Source.of(str(world.folder / "logs"))) as found:
        [(count, right)] = found.query("SELECT count(*), count(*) FILTER (correct) FROM labels").fetchall()
    assert (count, right) == (len(rows(world)), sum(row["correct"] for row in rows(world)))


def test_what_the_student_did_not_answer_is_wrong_and_nobody_is_asked(world: World) -> None:
    started(world)
    lines = [line.replace('"error": null', '"error": "http_500"') if '"role": "shadow"' in line else line
             for line in world.lines(2 * BLOCK)]  # fmt: skip
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("\n".join(lines) + "\n")
    world.look(3)
    gate = labelling(world).gate
    assert (gate.n, gate.right, gate.skipped, labels.wait(world.store, world.row)) == (2, 0, 0, [])
    assert [(row["source"], row["correct"]) for row in rows(world)] == [("empty", False)] * 2


OUTCOMES = {"within": "60s", "right": ["accepted"]}


def served(world: World, **changes: Any) -> None:
    """A rollout that learns from outcomes, where the student answers everybody."""
    asked = {"correctness": {"p0": 0.6, "labels": 30, "outcomes": OUTCOMES}}
    started(world, **{"gates": ["agreement 0.3", asked], **changes})
    world.ask(100)
    world.look(2)
    assert world.phase is Phase.FULL


def tell(
    world: World, number: int, label: str | None = "accepted", score: float | None = None, late_s: float = 0
) -> None:
    with world.store.transaction():
        world.store.write_statement(f"id-{number}", world.now + late_s, score, label)


def test_outcomes_in_time_promote(world: World) -> None:
    served(world)
    for _ in range(10):
        first = world.asked + 1
        world.ask(100)
        for number in range(first, world.asked + 1):
            tell(world, number)
        world.look(2, step_s=1)
        assert labels.wait(world.store, world.row) == []  # nobody has to look
        if world.phase is not Phase.FULL:
            break
        world.look(1, step_s=60)
        world.look(2)
    assert world.phase is Phase.PROMOTED


@pytest.mark.parametrize("said", ["nothing", "late", "other", "taken back"])
def test_an_outcome_that_is_missing_or_bad_counts_as_wrong(world: World, said: str) -> None:
    served(world)
    first = world.asked + 1
    world.ask(4 * BLOCK)
    world.look(1, step_s=0.1)
    for number in range(first, world.asked + 1):
        if said == "late":
            tell(world, number, late_s=61)
        elif said == "other":
            tell(world, number, "rejected")
        elif said == "taken back":
            tell(world, number)
            tell(world, number, "rejected", late_s=1)
    world.look(1, step_s=30)
    assert labelling(world).gate.n == 0  # the deadline is not over
    world.look(2, step_s=31)
    gate = labelling(world).gate
    assert (gate.n, gate.right) == (4, 0)
    assert gate.skipped == (4 if said in ("nothing", "late") else 0)
    assert {row["source"] for row in rows(world)} == {"outcome"}


@pytest.mark.parametrize(("score", "right"), [(1.0, 4), (0.5, 4), (0.4, 0), (None, 0)])
def test_a_score_is_an_outcome(world: World, score: float | None, right: int) -> None:
    outcomes = {"within": "60s", "at_least": 0.5}
    served(world, gates=["agreement 0.3", {"correctness": {"p0": 0.6, "labels": 30, "outcomes": outcomes}}])
    first = world.asked + 1
    world.ask(4 * BLOCK)
    world.look(1)
    for number in range(first, world.asked + 1):
        tell(world, number, "thumbs_up", score)
    world.look(2, step_s=61)
    assert (labelling(world).gate.n, labelling(world).gate.right) == (4, right)


def test_statements_that_nobody_waits_for_are_forgotten(world: World) -> None:
    served(world)
    tell(world, 1)
    assert world.store.statements("id-1")
    world.look(2, step_s=labels.SLACK_S + 1000)
    assert world.store.statements("id-1") == []


def test_people_see_how_far_the_labels_are(world: World, log: LabelLog) -> None:
    started(world)
    world.ask(3 * BLOCK)
    world.look(2)
    say(world, log, labels.wait(world.store, world.row)[0].guess.record, "both")
    world.look(1)
    row = world.row
    shown = views.status(row, world.now, applied=True, leader=True, labels=labels.status(world.store, row))
    gate = next(one for one in shown["gates"] if one["name"] == "correctness")
    assert (gate["n"], gate["p0"], gate["reached"]) == (1, 0.6, False)
    assert "1 of 1 labels say right" in gate["note"]
    assert "2 drawn and not counted yet" in gate["note"]
    assert f"2 requests wait for a person's label: graduand review next {row.id}" in shown["reasons"]
    assert (shown["labels"]["waiting"], shown["labels"]["source"], shown["seconds_left"]) == (2, "review", None)


def test_a_plan_says_what_people_have_to_do_and_nothing_simulates_them() -> None:
    spec = specfile.read({**SPEC, "gates": ["agreement", {"correctness": {"p0": 0.95, "labels": 110}}]})
    [told] = [one for one in planning.plan(spec, 1.0, None)["warnings"] if one.startswith("correctness")]
    assert "label 110 drawn sessions in each of shadow, canary-10, full" in told
    assert "98.0% of the time" in told
    with pytest.raises(ConfigError, match="nobody labels what is made up"):
        planning.simulate(spec, Scenario(0.98), 1, 1)
