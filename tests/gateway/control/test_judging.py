"""Free text: each pair is judged in both orders and learnt from once, whatever happens to judge and controller."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.admin.requests import about_judge
from graduand.gateway.control import asking, judging, labels
from graduand.gateway.control.store.rollouts import LEASE_S
from graduand.gateway.control.study import planning
from graduand.gateway.model.routes import Route, Teacher
from graduand.rollout.answers import tasks
from graduand.rollout.labelling import BLOCK
from graduand.rollout.spec import file as specfile
from graduand.rollout.state import Hold, Phase
from tests.gateway.control.judges import JudgeServer
from tests.gateway.control.worlds import SPEC, TASK, World

TEXT = {"kind": "text", "rubric": "the answer is yes", "judge": {"upstream": "judge", "model": "judge-1"}}


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    yield server
    server.close()


@pytest.fixture
def world(tmp_path: Path, judge: JudgeServer, monkeypatch: pytest.MonkeyPatch, state: str) -> World:
    monkeypatch.setattr(asking, "REST_S", 0.01)
    return World(tmp_path, state=state, upstreams={"judge": judge.upstream()})


def started(world: World, **changes: Any) -> None:
    world.start(**{"task": TEXT, "gates": ["score 0.3"], **changes})
    world.look(3)
    assert world.phase is Phase.SHADOW


def look_until(world: World, there: Callable[[], bool], within_s: float = 30.0) -> None:
    """Look on while the judge answers; the world's clock hardly moves."""
    until = time.monotonic() + within_s
    world.look(1)
    while not there():
        assert time.monotonic() < until, (world.row.state.phase, world.row.counts, world.waiting)
        world.look(1, step_s=0.001)
        time.sleep(0.002)


def test_both_orders_once_each(world: World, judge: JudgeServer) -> None:
    started(world, steps=[{"shadow": {"pairs": 1000}}, "full"])
    for number in range(20):
        world.ask(1, agree=0.5, prompt=f"question {number}")
    world.look(1)
    assert world.row.ledger.pairs == 0
    look_until(world, lambda: world.waiting == 0)
    assert world.row.ledger.pairs == 20
    assert world.proof("score").n == 20
    # Where both said the same, the two orders are the same text, so it is asked twice.
    assert sum(judge.asked.values()) == 40
    assert judge.seen[0]["path"] == "/v1/chat/completions"
    assert (judge.seen[0]["key"], judge.seen[0]["model"]) == ("Bearer secret", "judge-1")
    assert "the answer is yes" in judge.seen[0]["messages"][0]["content"]
    assert judge.most_at_once <= asking.AT_ONCE


def test_people_may_be_asked_about_free_text_too(world: World) -> None:
    """Whether a judge likes an answer is the cheap guess about whether it is right."""
    started(world, gates=["score 0.3", {"correctness": {"p0": 0.6, "labels": 60}}], harm=[{"score": {"p0": 0.01}}])
    for number in range(2 * BLOCK):
        world.ask(1, agree=0.05, prompt=f"question {number}")
    look_until(world, lambda: world.waiting == 0)
    drawn = labels.wait(world.store, world.row)
    found = [labels.question(world.store, world.row, draw.guess.record) for draw in drawn]
    assert len(drawn) == 2
    assert {draw.guess.kind for draw in drawn} <= {"equal", "worse"}
    assert all(one is not None and one.conversation.startswith("question") for one in found)


def test_score_gates_learn_from_verdicts(world: World) -> None:
    started(world, gates=["score 0.4"], harm=[{"score": {"p0": 0.01}}], steps=[{"shadow": {"pairs": 1000}}, "full"])
    world.ask(50, agree=0.4)  # ties while they agree, then worse
    look_until(world, lambda: world.row.ledger.pairs == 50)
    score = world.proof("score").gate
    assert (score.n, score.mean) == (50, pytest.approx(0.5 * 39 / 50))


def test_a_good_student_is_promoted_on_scores_alone(world: World) -> None:
    short = {"requests": 10, "dwell": "1s"}
    started(world, gates=[{"score": {"p0": 0.3}}], steps=[{"shadow": {"pairs": 60}}, {"full": short}], audit=1.0)
    assert {gate.signal for gate in world.row.state.spec.harm} == {"score", "errors"}
    assert world.row.state.spec.watch.signal == "score"
    world.ask(100)
    look_until(world, lambda: world.phase is Phase.FULL)
    world.ask(50)
    look_until(world, lambda: world.waiting == 0)
    world.look(1, step_s=5)
    assert world.phase is Phase.PROMOTED
    world.ask(20)
    look_until(world, lambda: world.row.ledger.watch.gate.n > 0)


def test_a_worse_student_never_serves_and_its_verdicts_are_shown(world: World) -> None:
    started(world)
    world.ask(100, agree=0.3)
    look_until(world, lambda: world.phase is Phase.ROLLING_BACK)
    assert "harm gate score" in world.row.state.note
    shown = world.store.disagreements(world.row.id)[0]
    assert (shown["teacher"], shown["student"]) == ("yes", "no")
    assert [text.splitlines()[-1] for text in shown["verdicts"]] == ["VERDICT: A", "VERDICT: B"]
    assert "teacher's answer is better" in shown["why"]
    world.served()
    world.look(2)
    assert (world.phase, world.waiting) == (Phase.ROLLED_BACK, 0)  # nothing is asked for a rollout at rest


def test_a_judge_that_contradicts_itself_proves_nothing_and_ends_the_rollout(world: World, judge: JudgeServer) -> None:
    """It always says "A": a student that says nonsense would be as good as the teacher, if that were a tie."""
    judge.mode = "biased"
    started(world)
    world.ask(60, agree=0.0)
    look_until(world, lambda: world.phase is not Phase.SHADOW)
    assert world.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert "contradicts itself" in str(world.store.events(world.row.id)[-1])
    assert "harm" not in str(world.store.events(world.row.id)[-1])  # a missing outcome proves no harm
    wrong, pairs = judging.contradictions(world.row)
    assert 4 <= wrong == pairs <= 60


def test_a_judge_may_contradict_itself_now_and_then(world: World, judge: JudgeServer) -> None:
    asked = judge.verdict

    def sometimes(question: str) -> str:
        return "VERDICT: A" if "question 7" in question else asked(question)

    judge.verdict = sometimes  # type: ignore[method-assign]
    started(world, steps=[{"shadow": {"pairs": 1000}}, "full"])
    for number in range(80):
        world.ask(1, agree=0.5, prompt=f"question {number}")
    look_until(world, lambda: world.waiting == 0)
    assert judging.contradictions(world.row) == (11, 80)  # question 7 and 70 to 79
    assert judging.unreliable(world.row) == ""
    assert world.phase is Phase.SHADOW


def test_babble_is_neither_pass_nor_fail(world: World, judge: JudgeServer) -> None:
    judge.mode = "babbling"
    started(world, stale_after="60s")
    world.ask(60)
    look_until(world, lambda: world.waiting == 0)
    assert world.row.counts["unscored: judge"] == 60
    assert (world.proof("score").gate.mean, world.row.ledger.pairs) == (0, 60)
    world.look(5, step_s=30)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.NO_DATA)
    judge.mode = "fair"
    world.ask(400)
    look_until(world, lambda: world.phase is Phase.CANARY)


@pytest.mark.parametrize("mode", ["down", "page"])
def test_while_the_judge_is_away_nothing_moves_and_nothing_is_lost(world: World, judge: JudgeServer, mode: str) -> None:
    judge.mode = mode
    started(world, stale_after="60s", steps=[{"shadow": {"pairs": 1000}}, "full"])
    world.ask(60, agree=0.5, broken=False)
    look_until(world, lambda: sum(judge.asked.values()) >= 5)
    assert (world.waiting, world.row.ledger.pairs) == (60, 0)
    world.look(5, step_s=30)
    assert (world.phase, world.row.state.hold) == (Phase.HOLD, Hold.NO_DATA)
    assert sum(count for what, count in world.row.counts.items() if what.startswith("judge failed")) >= 5
    judge.mode = "fair"
    world.ask(40)
    look_until(world, lambda: world.waiting == 0)
    print(
        world.row.state.phase,
        world.row.state.hold,
        world.row.state.note,
        world.row.ledger.held,
        world.row.ledger.step,
        world.row.counts,
    )
    assert (world.row.ledger.pairs, world.proof("score").n) == (100, 100)
    assert world.row.counts.get("unscored: judge could not be asked", 0) == 0


def test_students_that_failed_wait_for_their_turn(world: World, judge: JudgeServer) -> None:
    """While the judge is away, failures are all there is: to count them first would roll back a good student."""
    judge.mode = "down"
    started(world)
    world.ask(5)
    lines = world.lines(60)
    broken = [line.replace('"content\\": \\"yes', '"content\\": \\"') if '"shadow"' in line else line for line in lines]
    with (world.folder / "logs" / "segments" / "w0.jsonl").open("a") as out:
        out.write("\n".join(broken) + "\n")
    look_until(world, lambda: sum(judge.asked.values()) >= 3)
    assert (world.phase, world.row.ledger.pairs, world.waiting) == (Phase.SHADOW, 0, 65)
    judge.mode = "fair"
    look_until(world, lambda: world.phase is Phase.ROLLING_BACK)
    assert world.row.ledger.unparsed > 50


def test_what_the_judge_refuses_is_unscored(world: World, judge: JudgeServer) -> None:
    judge.mode = "refusing"
    started(world)
    world.ask(3)
    look_until(world, lambda: world.waiting == 0)
    assert world.row.counts["unscored: judge could not be asked"] == 3
    assert world.row.counts["judge failed: http_400"] == 6
    assert (world.proof("score").n, world.proof("score").gate.mean) == (3, 0.0)


def test_a_pair_that_no_judge_can_answer_does_not_hold_up_the_others(world: World, judge: JudgeServer) -> None:
    whole = judge.reply
    judge.reply = lambda body: (500, b"{}") if "poison" in str(body) else whole(body)  # type: ignore[method-assign]
    started(world, steps=[{"shadow": {"pairs": 1000}}, "full"])
    world.ask(1, prompt="poison")
    world.ask(60)
    look_until(world, lambda: world.waiting == 0)
    assert world.row.counts["unscored: judge could not be asked"] == 1
    assert world.proof("score").n == 61


def test_sample_and_budget(world: World, judge: JudgeServer) -> None:
    to = {**TEXT["judge"], "sample": 0.5, "max_per_day": 20}  # type: ignore[dict-item]
    started(world, task={**TEXT, "judge": to}, steps=[{"shadow": {"pairs": 1000}}, "full"])
    world.ask(100)
    look_until(world, lambda: world.waiting == 0)
    outside, over = (
        world.row.counts[f"not judged: {why}"] for why in ("outside the sample", "the day's budget is used up")
    )
    assert 30 <= outside <= 70
    # What was drawn and found no budget is a missing outcome, or the day's first would stand for all of it.
    assert (over, world.row.ledger.pairs) == (100 - outside - 20, 100 - outside)
    world.now += 86400
    world.ask(100)
    look_until(world, lambda: world.waiting == 0 and sum(judge.asked.values()) == 80)


@pytest.mark.parametrize(
    ("pairs", "per_s", "most_per_day", "seconds"),
    [(1000, 2.0, 2000, 1000), (2000, 2.0, 2000, 2000), (2001, 2.0, 2000, 86401), (1000, 0.01, 10**9, 200_000)],
)
def test_plans_reckon_with_the_budget(pairs: int, per_s: float, most_per_day: int, seconds: float) -> None:
    to = {**TEXT["judge"], "sample": 0.5, "max_per_day": most_per_day}  # type: ignore[dict-item]
    sampling = planning.sampling(specfile.read(SPEC), tasks.read({**TEXT, "judge": to}), 1.0)
    assert sampling.seconds(pairs, per_s) == pytest.approx(seconds)


def test_plans_beside_an_incumbent_reckon_with_the_audit() -> None:
    spec = specfile.read({**SPEC, "gates": ["agreement", "incumbent"], "audit": 0.1})
    planned = planning.plan(spec, 10.0, 0.99, planning.sampling(spec, tasks.read(TASK), 1.0))
    shadow = planned["steps"][0]
    assert shadow["seconds"] == pytest.approx(shadow["observations"] / (10 * 0.1))
    assert any("on which the two students differ" in warning for warning in planned["warnings"])


def test_judges_of_the_teachers_own_family_are_warned_of() -> None:
    route = Route("r", Teacher("openai", "gpt-4o"))
    kin = {**TEXT, "judge": {"upstream": "judge", "model": "openai/gpt-4.1-mini"}}
    assert "own family" in about_judge(kin, route)[0]
    assert about_judge(TEXT, route) == about_judge(None, route) == []


def test_a_killed_controller_loses_no_pair_and_counts_none_twice(world: World, judge: JudgeServer) -> None:
    judge.delay_s = 0.005
    started(world, steps=[{"shadow": {"pairs": 1000}}, "full"])
    for number in range(60):
        world.ask(1, agree=0.5, prompt=f"question {number}")
    kills = 0
    while world.row.ledger.pairs < 60:
        before = sum(judge.asked.values())
        look_until(world, lambda before=before: sum(judge.asked.values()) > before + 9 or world.waiting == 0)  # type: ignore[misc]
        world.new_controller()  # what the last one had asked and not written is gone with it
        kills += 1
        world.look(1, step_s=LEASE_S + 1)
    assert kills > 3
    assert (world.waiting, world.row.ledger.pairs) == (0, 60)
    assert world.proof("score").n == 60
    # Only what was under way when it was killed is asked for again.
    assert 120 <= sum(judge.asked.values()) <= 120 + kills * 2 * asking.AT_ONCE


def test_pairs_of_an_earlier_attempt_are_dropped(world: World, judge: JudgeServer) -> None:
    judge.mode = "down"
    started(world)
    world.ask(10)
    world.look(1)
    assert world.waiting == 10
    world.verb("abort")
    assert world.waiting == 0
    judge.mode = "fair"
    world.verb("retry", salt="salt-2")
    world.look(3)
    time.sleep(0.05)
    world.ask(5)
    look_until(world, lambda: world.waiting == 0)
    assert world.row.ledger.pairs == 5


@pytest.mark.parametrize(
    ("weight_bp", "path", "share"),
    [
        (0, "copies", 1.0), (1000, "served", 1.0), (1000, "copies", 0.5 * 0.1 / 0.9), (500, "copies", 0.05 / 0.95),
        (9000, "copies", 0.5), (10_000, "served", 1.0),
    ],
)  # fmt: skip
def test_copies_beside_served_answers_are_judged_about_as_often(
    world: World, weight_bp: int, path: Any, share: float
) -> None:
    """`audit` is 0.05 of all traffic: half of what 10% serves, all of what 5% does."""
    started(world)
    row = world.row
    row.ledger.weight_bp = weight_bp
    assert judging.seen_share(row, path) == pytest.approx(share)
