"""The scheduler over a model of a few lines: which requests move in which step, and how they end."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel

from graduand.gateway.engine.metrics import Metrics
from graduand.gateway.engine.model import Span
from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.engine.scheduler import PROMPT_BUDGET_ALONE, PROMPT_BUDGET_SHARED, Event, Job, Scheduler

END = 0
WORDS = ["<end>", "a", "b", "c", "d"]


class Cache:
    def __init__(self) -> None:
        self.length = 0

    def fork(self) -> "Cache":
        other = Cache()
        other.length = self.length
        return other


class Counting:
    """Answers a, b, c, d, a, ... by position; waits for `gate` before each step and keeps what it was fed."""

    ends = frozenset([END])

    def __init__(self) -> None:
        self.tokenizer: Any = type("Tokenizer", (), {})()
        self.tokenizer.backend_tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, "a"))
        self.tokenizer.backend_tokenizer.decoder = Fuse()
        self.gate = threading.Semaphore(0)
        self.steps: list[list[int]] = []
        self.fails = False

    def new_cache(self, capacity: int) -> Cache:
        return Cache()

    def forward(self, spans: list[Span]) -> list[torch.Tensor]:
        self.gate.acquire()
        self.steps.append([len(span.tokens) for span in spans])
        if self.fails:
            raise RuntimeError("out of memory")
        for span in spans:
            span.cache.length += len(span.tokens)
        rows = [1 + span.cache.length % 4 for span in spans if span.wants_logits]
        return [torch.nn.functional.one_hot(torch.tensor(row), len(WORDS)).float() * 50 for row in rows]

    def allow(self, steps: int) -> None:
        self.gate.release(steps)


class Client:
    def __init__(self, prompt: int, tokens: int, **options: Any) -> None:
        self.events: list[Event] = []
        options = {"temperature": 0.0} | options
        self.job = Job([1] * prompt, Sampling(max_tokens=tokens, **options), None, self.events.extend)

    @property
    def ended(self) -> int:
        return sum(event.finish_reason is not None for event in self.events)

    def text(self, choice: int = 0) -> str:
        return "".join(event.text for event in self.events if event.choice == choice)


@pytest.fixture
def model() -> Counting:
    return Counting()


@pytest.fixture
def scheduler(model: Counting) -> Iterator[Scheduler]:
    scheduler = Scheduler(model, Metrics("m", max_sequences=4, context=100), max_sequences=4)  # type: ignore[arg-type]
    scheduler.start()
    yield scheduler
    model.allow(1000)
    scheduler.stop()


def test_a_short_request_overtakes_a_long_one(scheduler: Scheduler, model: Counting, until: Any) -> None:
    long, short = Client(3, 500), Client(3, 2)
    scheduler.submit(long.job)
    model.allow(3)
    until(lambda: len(long.events) == 3)
    scheduler.submit(short.job)
    model.allow(4)
    until(lambda: short.ended)
    assert not long.ended
    assert len(long.events) <= 7


def test_a_long_prompt_is_read_beside_running_answers(scheduler: Scheduler, model: Counting, until: Any) -> None:
    running, reader = Client(3, 500), Client(1000, 1)
    scheduler.submit(running.job)
    model.allow(2)
    until(lambda: len(running.events) == 2)
    scheduler.submit(reader.job)
    model.allow(5)
    until(lambda: len(running.events) >= 7)
    shared = [step for step in model.steps if len(step) == 2]
    assert shared
    assert all(sorted(step) == [1, PROMPT_BUDGET_SHARED] for step in shared)


def test_prompts_share_the_budget_and_the_shortest_goes_first(
    scheduler: Scheduler, model: Counting, until: Any
) -> None:
    blocker = Client(1, 1)
    scheduler.submit(blocker.job)
    until(lambda: scheduler._running)
    readers = [Client(length, 1) for length in (500, 10, 500)]
    for reader in readers:
        scheduler.submit(reader.job)
    model.allow(2)
    until(lambda: readers[1].ended)
    assert sum(model.steps[1]) == PROMPT_BUDGET_ALONE
    assert sorted(model.steps[1]) == [10, 59, 59]


def test_waits_for_a_place_in_order_of_arrival(scheduler: Scheduler, model: Counting, until: Any) -> None:
    first, second, third = Client(2, 3, n=3, temperature=1.0), Client(2, 1, n=2, temperature=1.0), Client(2, 1)
    for client in (first, second, third):
        scheduler.submit(client.job)
    model.allow(3)
    until(lambda: first.ended == 3)
    assert not second.events
    assert not third.events, "a later request that would fit must not overtake the one before it"
    model.allow(2)
    until(lambda: second.ended == 2 and third.ended == 1)


def test_every_choice_continues_the_same_prompt(scheduler: Scheduler, model: Counting, until: Any) -> None:
    client = Client(2, 4, n=3, temperature=0.1)
    scheduler.submit(client.job)
    model.allow(20)
    until(lambda: client.ended == 3)
    assert {client.text(choice) for choice in range(3)} == {"cdab"}
    assert sum(model.steps[0]) == 2, "the prompt is read once"


def test_more_choices_than_places_run_alone(scheduler: Scheduler, model: Counting, until: Any) -> None:
    client = Client(2, 2, n=9, temperature=1.0)
    scheduler.submit(client.job)
    model.allow(10)
    until(lambda: client.ended == 9)


@pytest.mark.parametrize(
    ("options", "text", "reason", "stop"),
    [
        ({}, "cdabc", "length", None),
        ({"stop": ("ab",)}, "cd", "stop", "ab"),
        ({"stop": ("bx",)}, "cdabc", "length", None),
        ({"logit_bias": {END: 100.0}}, "", "stop", None),
        ({"logit_bias": {END: 100.0}, "ignore_eos": True}, "<end>" * 0, "length", None),
    ],
)
def test_how_a_choice_ends(
    scheduler: Scheduler, model: Counting, until: Any, options: dict[str, Any], text: str, reason: str, stop: str | None
) -> None:
    client = Client(2, 5, **options)
    scheduler.submit(client.job)
    model.allow(10)
    until(lambda: client.ended)
    if "ignore_eos" not in options:
        assert client.text() == text
    assert (client.events[-1].finish_reason, client.events[-1].stop_reason) == (reason, stop)


def test_a_cancelled_request_frees_its_place(scheduler: Scheduler, model: Counting, until: Any) -> None:
    clients = [Client(2, 500, n=4, temperature=1.0), Client(2, 1), Client(2, 1)]
    for client in clients:
        scheduler.submit(client.job)
    model.allow(1)
    until(lambda: clients[0].events)
    scheduler.cancel(clients[0].job)
    scheduler.cancel(clients[1].job)
    model.allow(3)
    until(lambda: clients[2].ended)
    assert not clients[0].ended
    assert not clients[1].events, "a waiting request is dropped as well"


def test_a_failing_step_ends_its_requests_and_no_more(scheduler: Scheduler, model: Counting, until: Any) -> None:
    broken, fine = Client(2, 5, n=2, temperature=1.0), Client(2, 1)
    model.fails = True
    scheduler.submit(broken.job)
    model.allow(1)
    until(lambda: broken.ended == 2)
    assert [event.finish_reason for event in broken.events] == ["error", "error"]
    assert all(event.error for event in broken.events)
    model.fails = False
    scheduler.submit(fine.job)
    model.allow(1)
    until(lambda: fine.ended)
    assert fine.events[-1].error is None


def test_stopping_answers_what_is_left(model: Counting, until: Any) -> None:
    scheduler = Scheduler(model, Metrics("m", max_sequences=4, context=100), max_sequences=1)  # type: ignore[arg-type]
    scheduler.start()
    clients = [Client(2, 500), Client(2, 5)]
    for client in clients:
        scheduler.submit(client.job)
    model.allow(1)
    until(lambda: clients[0].events)
    stopping = threading.Thread(target=scheduler.stop)
    stopping.start()
    while stopping.is_alive():  # the step under way has to end first
        model.allow(1)
        stopping.join(0.01)
    assert [client.events[-1].finish_reason for client in clients] == ["error", "error"]
