"""A judge is tried before a rollout begins, over a real connection."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from graduand.gateway.control import asking, trial
from graduand.rollout.answers import planted
from graduand.rollout.answers.tasks import Judge
from tests.gateway.control.judges import JudgeServer

TO = Judge("judge", "judge-1", 1.0, 100)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setattr(asking, "REST_S", 0.01)
    server = JudgeServer()
    yield server
    server.close()


def test_a_fair_judge_passes(judge: JudgeServer) -> None:
    assert trial.problems(TO, {"judge": judge.upstream()}) == ()
    assert sum(judge.asked.values()) == 2 * len(planted.pairs())


@pytest.mark.parametrize(
    ("mode", "says"),
    [("biased", "planted pairs of kind swapped"), ("babbling", "kind identical"), ("down", "could not be tried"),
     ("refusing", "http_400")],
)  # fmt: skip
def test_others_do_not(judge: JudgeServer, mode: str, says: str) -> None:
    judge.mode = mode
    found = trial.problems(TO, {"judge": judge.upstream()})
    assert any(says in problem for problem in found), found


def test_a_judge_that_nobody_can_reach_is_a_problem() -> None:
    assert "does not have" in trial.problems(replace(TO, upstream="gone"), {})[0]


def test_an_outage_of_a_moment_is_waited_for(judge: JudgeServer) -> None:
    whole, failures = judge.reply, iter([True, True])

    def reply(body: dict[str, object]) -> tuple[int, bytes]:
        return (503, b"{}") if next(failures, False) else whole(body)

    judge.reply = reply  # type: ignore[method-assign]
    assert trial.problems(TO, {"judge": judge.upstream()}) == ()
