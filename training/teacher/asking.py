"""Asks a teacher many questions at once, through the openai client, until all are answered or the budget is spent.

Invariant: every answer is in the ledger before it counts; a question whose answer is there is not sent; each question
ends answered, refused (the endpoint says that this request will never be answered: kept, so that it is not asked again)
or open (nothing is kept, the next run asks it). Must never turn a failure into an answer.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from graduand.gateway.errors import ConfigError, GraduandError
from graduand.training.data.samples import Sample
from graduand.training.stages.progress import Progress
from graduand.training.teacher import prompts
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.ledger import Entry, key_of
from graduand.training.teacher.limits import LONGEST_RETRY_AFTER_S, Budget, estimated_tokens, retry_after_s, wait_s
from graduand.training.teacher.prompts import Prompt

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TRIES = 6
TIMEOUT_S = 120.0
# So many questions in a row that failed for good mean that the endpoint, not a question, is at fault.
MOST_FAILURES_IN_A_ROW = 10
# This request will never be answered. Not 404: a model that is missing there is a mistake of ours, said at once.
REFUSALS = (400, 413, 422)
FATAL = (401, 402, 403)


class TeacherError(GraduandError, RuntimeError):
    """A teacher cannot be asked, or not all that was asked was answered."""


@dataclass(frozen=True, slots=True)
class TeacherQuestion:
    """One request; `key` is the ledger's."""

    key: str
    sample: str
    messages: tuple[dict[str, str], ...]
    prompt: Prompt
    repeat: int


@dataclass(slots=True)
class Tally:
    """What became of the questions; `open` maps ids of samples that have no answer to the reason. `stopped` says why not
    all were asked."""

    asked: int = 0
    known: int = 0
    retries: int = 0
    open: dict[str, str] = field(default_factory=dict)
    over_budget: bool = False
    stopped: str = ""


class Book(Protocol):
    """Where answers go: the ledger, or what a worker hands on to it."""

    entries: dict[str, Entry]

    def add(self, entry: Entry) -> None:
        """Keep one answer."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, given so that tests need not wait."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    spread: Callable[[], float] = random.random


class Failed(Exception):
    """The endpoint did not answer this time."""


def questions(samples: Sequence[Sample], teacher: Teacher, how: Prompt, repeats: int = 1) -> list[TeacherQuestion]:
    """What to ask about `samples`; equal questions are asked once."""
    found: dict[str, TeacherQuestion] = {}
    for repeat in range(repeats):
        for sample in samples:
            asked = prompts.messages(sample, how)
            key = key_of(prompts.messages_sha256(asked), teacher.model, teacher.parameters, repeat)
            found.setdefault(key, TeacherQuestion(key, sample.id, tuple(asked), how, repeat))
    return list(found.values())


def ask(
    asked: Sequence[TeacherQuestion],
    teacher: Teacher,
    ledger: Book,
    budget: Budget,
    concurrency: int,
    progress: Progress,
) -> Tally:
    """Ask what the ledger does not know yet, `concurrency` at a time, from this process."""
    return asyncio.run(TeacherClient(teacher, ledger, budget, progress).ask(asked, concurrency))


def reserve(question: TeacherQuestion, teacher: Teacher, budget: Budget) -> bool:
    """Set aside what the question costs at its worst; False if it does not fit into the budget."""
    prompt, completion = estimated_tokens(list(question.messages)), teacher.most_completion_tokens
    return budget.reserve(question.key, teacher.dollars(prompt, completion) or 0.0, prompt + completion)


def figures(teacher: Teacher, budget: Budget, tally: Tally) -> str:
    """The figures of a step as people read them."""
    spent = f"  ${budget.dollars:.4f}" if teacher.price else ""
    return f"{teacher.name}  {budget.tokens:,} tokens{spent}  {tally.retries} retries"


class TeacherClient:
    """One teacher being asked, by the clock not before `not_before`. It may be asked again, unless it gave up."""

    def __init__(
        self, teacher: Teacher, ledger: Book, budget: Budget, progress: Progress, clock: Clock | None = None,
        not_before: float = 0.0,
    ) -> None:  # fmt: skip
        self._teacher = teacher
        self._ledger = ledger
        self._budget = budget
        self._progress = progress
        self._clock = clock or Clock()
        self.tally = Tally()
        self._total = 0
        self._failures_in_a_row = 0
        self._stop = ""
        self._not_before = not_before

    async def ask(self, asked: Sequence[TeacherQuestion], concurrency: int) -> Tally:
        """Ask all questions whose answers are not in the ledger."""
        waiting = [question for question in asked if question.key not in self._ledger.entries]
        self.tally = Tally()
        self.tally.known, self._total = len(asked) - len(waiting), len(waiting)
        if not waiting:
            return self.tally
        line = iter(waiting)
        try:
            async with _client(self._teacher) as client, asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(waiting))):
                    group.create_task(self._worker(client, line))
        except BaseExceptionGroup as several:  # one is enough: the others failed by the same cause
            raise several.exceptions[0] from None
        for question in waiting:
            if question.key not in self._ledger.entries:
                self.tally.open.setdefault(question.sample, self._stop or "not asked")
        self.tally.stopped = self._stop
        return self.tally

    async def _worker(self, client: "AsyncOpenAI", line: Any) -> None:
        for question in line:
            if self._stop or not await self._one(client, question):
                return

    async def _one(self, client: "AsyncOpenAI", question: TeacherQuestion) -> bool:
        """Ask one question; False if no more are to be asked."""
        if not reserve(question, self._teacher, self._budget):
            self.tally.over_budget = True
            self._stop = "the budget is spent"
            return False
        try:
            entry = await self._persist(client, question)
        except Failed as error:
            self._budget.settle(question.key, 0.0, 0)
            return self._failed(question, str(error))
        except BaseException:
            self._budget.settle(question.key, 0.0, 0)
            raise
        self._budget.settle(question.key, entry.dollars or 0.0, entry.prompt_tokens + entry.completion_tokens)
        self._ledger.add(entry)
        self.tally.asked += 1
        self._progress.step(self.tally.asked, self._total, figures(self._teacher, self._budget, self.tally))
        if entry.refused:
            return self._in_a_row(entry.refused)
        self._failures_in_a_row = 0
        return True

    def _failed(self, question: TeacherQuestion, reason: str) -> bool:
        self.tally.open[question.sample] = reason
        return self._in_a_row(reason)

    def _in_a_row(self, reason: str) -> bool:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
            self._stop = f"{self._failures_in_a_row} questions in a row failed, the last with: {reason}"
        return not self._stop

    async def _persist(self, client: "AsyncOpenAI", question: TeacherQuestion) -> Entry:
        """One question with its retries."""
        for attempt in range(TRIES):
            await self._turn()
            try:
                return await self._send(client, question)
            except _Again as again:
                reason, told_s = str(again), again.retry_after_s
            if attempt + 1 == TRIES or self._stop:
                break
            if told_s is not None and told_s > LONGEST_RETRY_AFTER_S:
                raise Failed(f"{reason}, and asks to wait {told_s:.0f} s")
            self.tally.retries += 1
            pause_s = wait_s(attempt, told_s, self._clock.spread())
            if told_s is not None:  # meant for all who ask with this key, not for this one question
                self._not_before = max(self._not_before, self._clock.now() + told_s)
            await self._clock.sleep(pause_s)
        raise Failed(reason)

    async def _turn(self) -> None:
        """Wait until the endpoint may be asked again."""
        pause_s = self._not_before - self._clock.now()
        rate = self._teacher.requests_per_minute
        if rate is not None:
            self._not_before = max(self._not_before, self._clock.now()) + 60.0 / rate
        if pause_s > 0:
            await self._clock.sleep(pause_s)

    async def _send(self, client: "AsyncOpenAI", question: TeacherQuestion) -> Entry:
        import openai

        began = self._clock.now()
        try:
            answer = await client.chat.completions.create(
                model=self._teacher.model,
                messages=list(question.messages),  # type: ignore[arg-type]
                extra_body=dict(self._teacher.parameters),
            )
            return self._entry(question, answer, began)
        except openai.APIStatusError as error:
            return self._refused(question, error, began)
        except openai.APIConnectionError as error:  # timeouts are of this kind
            raise _Again(f"no answer ({type(error).__name__}: {error.__cause__ or error})") from error
        except (openai.OpenAIError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise _Again(f"the answer is no chat completion ({type(error).__name__}: {error})") from error

    def _refused(self, question: TeacherQuestion, error: Any, began: float) -> Entry:
        reason = f"status {error.status_code}: {error.message}"[:300]
        if error.status_code in FATAL or getattr(error, "code", None) == "insufficient_quota":
            raise TeacherError(
                f"teacher {self._teacher.name} does not let us ask: {reason}; check api_key and the account"
            )
        if error.status_code == 404 and getattr(error, "code", None) != "no_recorded_answer":
            raise TeacherError(f"teacher {self._teacher.name}: {reason}; check base_url and model")
        if error.status_code in REFUSALS or error.status_code == 404:
            return self._made(question, began, refused=reason)
        raise _Again(reason, retry_after_s(error.response.headers, self._clock.now())) from error

    def _entry(self, question: TeacherQuestion, answer: Any, began: float) -> Entry:
        choice = answer.choices[0]
        raw = choice.message.content
        if raw is None:  # a refusal or a tool call: an answer without words, which says nothing
            return self._made(question, began, refused=str(getattr(choice.message, "refusal", None) or "no text"))
        usage = answer.usage
        exact = usage is not None and usage.prompt_tokens is not None and usage.completion_tokens is not None
        counts = (
            (usage.prompt_tokens, usage.completion_tokens)
            if exact
            else (estimated_tokens(list(question.messages)), estimated_tokens([{"content": raw}]))
        )
        return self._made(
            question, began, raw=raw, finish=str(choice.finish_reason), counts=counts, exact=exact,
            cached=_cached_tokens(usage), served=str(answer.model or self._teacher.model),
        )  # fmt: skip

    def _made(
        self, question: TeacherQuestion, began: float, *, raw: str = "", finish: str = "", counts: tuple[int, int] = (0, 0),
        exact: bool = True, cached: int = 0, served: str = "", refused: str = "",
    ) -> Entry:  # fmt: skip
        now = self._clock.now()
        return Entry(
            key=question.key, sample=question.sample, teacher=self._teacher.name, model=self._teacher.model,
            served_model=served, prompt=question.prompt.name, prompt_version=question.prompt.version,
            parameters=dict(self._teacher.parameters), repeat=question.repeat, raw=raw, finish=finish,
            prompt_tokens=counts[0], completion_tokens=counts[1], tokens_exact=exact,
            dollars=self._teacher.dollars(*counts, cached), seconds=round(now - began, 3), time=now, refused=refused,
        )  # fmt: skip


def _cached_tokens(usage: Any) -> int:
    """How much of the prompt the provider had in its cache; 0 where it does not say."""
    found = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    return found if isinstance(found, int) and found > 0 else 0


class _Again(Exception):
    """The question can be tried again, after `retry_after_s` if the endpoint named a time."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def _client(teacher: Teacher) -> "AsyncOpenAI":
    try:
        from openai import AsyncOpenAI
    except ImportError as error:
        raise ConfigError("teachers are asked through the openai package: pip install 'graduand[training]'") from error
    # Its own retries are off: ours are counted, honour Retry-After for all workers, and end with the run.
    return AsyncOpenAI(base_url=teacher.base_url, api_key=teacher.secret(), max_retries=0, timeout=TIMEOUT_S)
