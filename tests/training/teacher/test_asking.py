"""Asking: each answer is paid for once, faults are retried or said, budgets hold, nothing becomes a class by itself."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.rollout.answers.answers import Label, Unparsed
from graduand.training.data import labels
from graduand.training.data.samples import Sample, of_text
from graduand.training.teacher.asking import (
    MOST_FAILURES_IN_A_ROW,
    TRIES,
    Clock,
    Tally,
    TeacherClient,
    TeacherError,
    questions,
)
from graduand.training.teacher.ledger import AnswerLedger, label
from graduand.training.teacher.limits import Budget
from graduand.training.teacher.prompts import AS_IS, Prompt
from tests.training.quiet import Quiet
from tests.training.teacher.fake import Fake, Fault, chat, error

TASK = labels.task_of({"labels": ["0", "1"]})
HOW = Prompt(AS_IS)


class Waits:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep, lambda: 0.0)


def samples(count: int) -> list[Sample]:
    return [of_text(f"s{n}", f"question {n}") for n in range(count)]


Ask = Callable[..., Tally]


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def ask(fake: Fake, tmp_path: Path, waits: Waits) -> Ask:
    """Ask the fake about some samples, with a ledger opened anew each time, as by another process."""

    def run(rows: list[Sample], budget: Budget | None = None, concurrency: int = 4, **teacher: Any) -> Tally:
        ledger = AnswerLedger(tmp_path / "ledger.jsonl")
        try:
            who = fake.teacher(**teacher)
            asker = TeacherClient(who, ledger, budget or Budget(), Quiet(), waits.clock)
            return asyncio.run(asker.ask(questions(rows, who, HOW), concurrency))
        finally:
            ledger.close()

    return run


def entries(tmp_path: Path) -> dict[str, Any]:
    ledger = AnswerLedger(tmp_path / "ledger.jsonl")
    ledger.close()
    return {entry.sample: entry for entry in ledger.entries.values()}


def test_each_answer_is_asked_for_once(ask: Ask, fake: Fake, tmp_path: Path) -> None:
    fake.delay_s = 0.05
    first = ask(samples(12), concurrency=3)
    assert (first.asked, first.known, first.open) == (12, 0, {})
    assert 1 < fake.most_at_once <= 3
    again = ask([*samples(12), of_text("other id", "question 3"), of_text("new", "question new")])
    assert (again.asked, again.known) == (1, 12)
    assert len(fake.requests) == 13
    kept = entries(tmp_path)["s5"]
    assert (kept.raw, kept.finish, kept.served_model, kept.tokens_exact) == ("1", "stop", "fake-1", True)
    assert kept.dollars == pytest.approx((20 * 10 + 5 * 30) / 1e6)
    assert fake.requests[0]["max_tokens"] == 10
    assert ask(samples(1), model="fake-2").asked == 1
    assert ask(samples(1), parameters={"max_tokens": 10, "temperature": 1}).asked == 1


PASSING = {
    "500": error(500),
    "503": error(503),
    "429": error(429),
    "408": error(408),
    "hang up": Fault(hang_up=True),
    "empty object": Fault(body=b"{}"),
    "html": Fault(body=b"<html>"),
    "list": Fault(body=b"[]"),
    "no choices": Fault(body=b'{"choices": []}'),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_passing_faults_are_retried(ask: Ask, fake: Fake, fault: Fault, waits: Waits, tmp_path: Path) -> None:
    fake.script = [fault, fault]
    found = ask(samples(1))
    assert (found.asked, found.retries, found.open) == (1, 2, {})
    assert waits.slept == [0.5, 1.0]
    assert entries(tmp_path)["s0"].raw == "1"


def test_retry_after_is_honoured_for_all_who_ask(ask: Ask, fake: Fake, waits: Waits) -> None:
    fake.script = [error(429, retry_after="7")]
    assert ask(samples(3), concurrency=1).asked == 3
    assert waits.slept == [7.0]
    waits.slept.clear()
    fake.script = [error(429, retry_after_ms="2500")]
    ask([of_text("x", "more")])
    assert waits.slept == [2.5]


def test_requests_per_minute_are_kept(ask: Ask, waits: Waits) -> None:
    assert ask(samples(5), concurrency=1, requests_per_minute=30).asked == 5
    assert waits.slept == [2.0] * 4


def test_what_keeps_failing_stays_open(ask: Ask, fake: Fake, tmp_path: Path) -> None:
    fake.script = [error(500)] * TRIES
    found = ask(samples(2), concurrency=1)
    assert found.asked == 1
    assert "status 500" in found.open["s0"]
    assert set(entries(tmp_path)) == {"s1"}
    assert ask(samples(2)).asked == 1


def test_a_dead_endpoint_is_given_up(ask: Ask, fake: Fake) -> None:
    fake.script = [error(503)] * 10_000
    found = ask(samples(200), concurrency=2)
    assert found.asked == 0
    assert len(found.open) == 200
    assert len(fake.requests) <= (MOST_FAILURES_IN_A_ROW + 2) * TRIES


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (error(401), "does not let us ask.*check api_key"),
        (error(404, "model_not_found"), "check base_url and model"),
        (error(429, "insufficient_quota"), "does not let us ask"),
    ],
)
def test_our_own_mistakes_end_the_run_at_once(ask: Ask, fake: Fake, fault: Fault, complaint: str, waits: Waits) -> None:
    fake.script = [fault] * 100
    with pytest.raises(TeacherError, match=complaint):
        ask(samples(50), concurrency=4)
    assert len(fake.requests) <= 8
    assert waits.slept == []


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_kept_and_is_no_class(ask: Ask, fake: Fake, status: int, tmp_path: Path) -> None:
    fake.script = [error(status)]
    assert ask(samples(1)).asked == 1
    assert ask(samples(1)).known == 1
    found = label(TASK, entries(tmp_path)["s0"])
    assert isinstance(found, Unparsed)
    assert f"status {status}" in found.reason


def test_nothing_but_refusals_is_a_mistake_of_ours(ask: Ask, fake: Fake) -> None:
    fake.script = [error(400)] * 1000
    found = ask(samples(100), concurrency=1)
    assert len(fake.requests) == MOST_FAILURES_IN_A_ROW
    assert len(found.open) == 100 - MOST_FAILURES_IN_A_ROW


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (chat("1", finish="length"), "cut off by max_tokens"),
        (chat("1", finish="content_filter"), "finish_reason 'content_filter'"),
        (chat(None), "the teacher refused: no text"),
        (chat(""), "empty"),
        (chat("1 or 0"), "'1 or 0' is none of the labels"),
    ],
)
def test_an_unreadable_answer_is_never_a_class(
    ask: Ask, fake: Fake, answer: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    fake.answer = lambda body: answer
    ask(samples(1))
    assert label(TASK, entries(tmp_path)["s0"]) == Unparsed(reason)


def test_a_good_answer_is_read(ask: Ask, fake: Fake, tmp_path: Path) -> None:
    fake.answer = lambda body: chat("The answer is: 0", usage=False)
    ask(samples(1))
    entry = entries(tmp_path)["s0"]
    assert label(TASK, entry) == Label("0")
    assert not entry.tokens_exact
    assert entry.prompt_tokens > 0


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_budget_is_never_exceeded_and_more_money_goes_on(
    ask: Ask, fake: Fake, concurrency: int, tmp_path: Path
) -> None:
    fake.delay_s = 0.01
    budget = Budget(most_tokens=400)
    rows = [of_text(f"s{n}", f"a question that is longer than most, number {n}") for n in range(50)]
    found = ask(rows, budget, concurrency)
    assert found.over_budget
    assert 0 < budget.tokens <= 400
    assert found.asked == len(fake.requests) >= 10
    assert found.asked + len(found.open) == 50
    rest = ask(rows)
    assert rest.asked + rest.known == 50
    dollars = Budget(most_dollars=0.002)
    more = [of_text(f"d{n}", f"a question about dollars that is long, number {n}") for n in range(50)]
    assert ask(more, dollars, concurrency).over_budget
    assert 0.001 < dollars.dollars <= 0.002


def test_questions_are_the_same_whatever_the_id_and_differ_by_prompt_and_repeat(fake: Fake) -> None:
    who = fake.teacher()
    two = [of_text("a", "x"), of_text("b", "x")]
    assert len(questions(two, who, HOW)) == 1
    assert len(questions(two, who, HOW, repeats=2)) == 2
    keys = {
        questions(two, who, HOW)[0].key,
        questions(two, who, Prompt("p", "Classify."))[0].key,
        questions(two, who.at(0.5), HOW)[0].key,
        questions(two, replace(who, model="other"), HOW)[0].key,
    }
    assert len(keys) == 4
    assert questions(two, replace(who, base_url="http://elsewhere/v1"), HOW)[0].key in keys
