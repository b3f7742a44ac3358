"""The demo's clients: the real openai package, pointed at the gateway, asking about tickets."""

import itertools
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import openai
from rich.progress import Progress

from examples.demo.tickets import Task, Ticket

CLIENTS = 8
USERS = 500
# A customer's rest between two questions: a hundred and twenty requests a second at most.
PAUSE_S = 0.06


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client saw: who answered by the gateway's header, what, and after how many seconds; or its error."""

    task: Task
    ticket: Ticket
    user: str
    arm: str
    answer: str
    seconds: float
    error: str | None = None
    at: float = 0.0  # when it had come, seconds since 1970

    @property
    def agrees(self) -> bool:
        """Whether the answer is what the teacher says of this ticket."""
        return self.answer.strip() == self.task.answer(self.ticket)


def ask_all(base_url: str, pairs: Iterable[tuple[Task, Ticket]], label: str, progress: Progress) -> list[Reply]:
    """Ask about every pair, several clients at a time; the users differ from ticket to ticket."""
    client = openai.OpenAI(base_url=base_url, api_key="demo", max_retries=0, timeout=120)
    asked = list(pairs)
    bar = progress.add_task(label, total=len(asked))

    def one(pair: tuple[int, tuple[Task, Ticket]]) -> Reply:
        at, (task, ticket) = pair
        reply = _ask(client, task, ticket, f"user-{at % USERS}")
        progress.advance(bar)
        return reply

    with ThreadPoolExecutor(CLIENTS) as pool:
        replies = list(pool.map(one, enumerate(asked)))
    client.close()
    return replies


class Customers:
    """Ask on and on in the background, each time as another user, until left."""

    def __init__(self, base_url: str, tickets: list[Ticket], tasks: tuple[Task, ...]) -> None:
        self.replies: list[Reply] = []
        self._client = openai.OpenAI(base_url=base_url, api_key="demo", max_retries=0, timeout=120)
        self._next = enumerate(itertools.cycle([(task, ticket) for ticket in tickets for task in tasks]))
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> "Customers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def between(self, task: Task, begun: float, ended: float) -> list[Reply]:
        """The replies of one task that came in this time."""
        return [reply for reply in [*self.replies] if reply.task is task and begun <= reply.at < ended]

    def _run(self) -> None:
        while not self._leaving.wait(PAUSE_S):
            with self._lock:
                number, (task, ticket) = next(self._next)
            self.replies.append(_ask(self._client, task, ticket, f"customer-{number}"))


def _ask(client: openai.OpenAI, task: Task, ticket: Ticket, user: str) -> Reply:
    began = time.perf_counter()
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=task.name,
            messages=task.messages(ticket),  # type: ignore[arg-type]
            user=user,
            temperature=0,
            max_tokens=8,
        )
        answer = raw.parse().choices[0].message.content or ""
    except openai.OpenAIError as error:
        return Reply(task, ticket, user, "-", "", time.perf_counter() - began, str(error), time.time())
    seconds = time.perf_counter() - began
    return Reply(task, ticket, user, raw.headers["x-graduand-arm"], answer, seconds, at=time.time())
