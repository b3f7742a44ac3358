"""The asker: a judge that fails rests, longer each time, and is then asked one question."""

import time
from collections.abc import Iterator

import pytest

from graduand.gateway.control.asking import AT_ONCE, LONGEST_REST_S, JudgeClient, JudgeQuestion, JudgeReply
from graduand.gateway.model.routes import Replica, Upstream
from graduand.rollout.answers.judge import prompts
from tests.gateway.control.judges import JudgeServer

FIRST, _ = prompts("polite", "Q", "yes", "no")


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    yield server
    server.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reply(asker: JudgeClient, question: JudgeQuestion) -> JudgeReply:
    asker.offer(question)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if found := asker.replies():
            return found[0]
        time.sleep(0.002)
    raise AssertionError("no reply")


def test_rests_grow_and_end(judge: JudgeServer) -> None:
    clock = Clock()
    asker = JudgeClient(clock, jitter=lambda: 0.5)
    question = JudgeQuestion((1, 0), judge.upstream(), "judge-1", FIRST)
    assert asker.room("judge", "judge-1") == AT_ONCE
    judge.mode = "down"
    rests = []
    for _ in range(12):
        found = reply(asker, question)
        assert (found.text, found.problem, found.final) == (None, "http_500", False)
        assert asker.room("judge", "judge-1") == 0
        began = clock.now
        while asker.room("judge", "judge-1") <= 0:
            clock.now += 0.25
        rests.append(clock.now - began)
        assert asker.room("judge", "judge-1") == 1
    assert rests[:4] == [0.5, 1, 2, 4]
    assert rests[-1] == LONGEST_REST_S
    judge.mode = "fair"
    assert reply(asker, question) == JudgeReply((1, 0), "Let me see.\nVERDICT: A")
    assert asker.room("judge", "judge-1") == AT_ONCE
    asker.close()


def test_questions_that_fail_together_are_one_failure(judge: JudgeServer) -> None:
    clock = Clock()
    asker = JudgeClient(clock, jitter=lambda: 0.5)
    judge.mode = "down"
    for number in range(AT_ONCE):
        asker.offer(JudgeQuestion((number, 0), judge.upstream(), "judge-1", FIRST))
    came, until = 0, time.monotonic() + 30
    while came < AT_ONCE and time.monotonic() < until:
        came += len(asker.replies())
        time.sleep(0.002)
    assert (came, asker.room("judge", "judge-1")) == (AT_ONCE, 0)
    clock.now = 0.5
    assert asker.room("judge", "judge-1") == 1
    asker.close()


def test_what_an_answer_took_is_told(judge: JudgeServer) -> None:
    spent: list[tuple[str, int, int]] = []
    asker = JudgeClient(spent=lambda question, prompt, completion: spent.append((question.route, prompt, completion)))
    judge.mode = "fair"
    reply(asker, JudgeQuestion((1, 0), judge.upstream(), "judge-1", FIRST, "triage"))
    judge.mode = "page"
    reply(asker, JudgeQuestion((2, 0), judge.upstream(), "judge-1", FIRST, "triage"))
    assert spent == [("triage", 40, 6)]
    asker.close()


@pytest.mark.parametrize(("mode", "problem", "final"), [("refusing", "http_400", True), ("page", "malformed", False)])
def test_what_is_wrong_with_a_question_is_final(judge: JudgeServer, mode: str, problem: str, final: bool) -> None:
    asker = JudgeClient()
    judge.mode = mode
    found = reply(asker, JudgeQuestion((1, 0), judge.upstream(), "judge-1", FIRST))
    assert (found.text, found.problem, found.final) == (None, problem, final)
    asker.close()


def test_nobody_there() -> None:
    asker = JudgeClient()
    nobody = Upstream("judge", "openai", (Replica("http", "127.0.0.1", 9, "/v1"),))
    assert reply(asker, JudgeQuestion((1, 0), nobody, "judge-1", FIRST)).problem == "ConnectError"
    asker.close()
