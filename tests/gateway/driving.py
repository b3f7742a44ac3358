"""Traffic over kept raw connections, and what became of each request."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.running import Gateway
from tests.gateway.speaking import Answer, Client, chat, request

# A gateway that drains waits for longer than this before it closes a connection that is quiet.
STOOD_STILL_S = 0.1


@dataclass
class Got:
    """One request: when it was sent, when answered, and how."""

    sent_at: float
    ended_at: float
    user: str
    status: int
    number: str
    arm: str
    reason: str
    whole: bool


@dataclass
class Driver:
    """Threads with a connection each. `cut`: connections that closed with a request under way; `late`: before there was
    one, for this very process stood still between its look at the connection and its request."""

    gateway: Gateway
    got: list[Got] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    refused: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, bodies: Iterable[tuple[str, bytes]], connections: int) -> None:
        """Send every request once, over so many connections."""
        source, lock = iter(bodies), threading.Lock()

        def take() -> Iterator[tuple[str, bytes]]:
            while not self.stopping.is_set():
                with lock:
                    one = next(source, None)
                if one is None:
                    return
                yield one

        threads = [threading.Thread(target=self._drive, args=(take,)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _drive(self, take: Callable[[], Iterator[tuple[str, bytes]]]) -> None:
        client: Client | None = None
        for user, data in take():
            looked_at = time.monotonic()
            if client is not None and client.dropped:
                client.close()
                client = None
            if client is None:
                try:
                    client = self.gateway.client()
                except OSError:
                    self.refused += 1
                    self.stopping.wait(0.02)
                    continue
            if not self._ask(client, user, data, looked_at):
                client.close()
                client = None
        if client is not None:
            client.close()

    def _ask(self, client: Client, user: str, data: bytes, looked_at: float) -> bool:
        """Send one request and read its answer; return whether the connection can be used again."""
        sent_at = sent_by = time.monotonic()
        try:
            client.send(data)
            sent_by = time.monotonic()
            answer: Answer = client.read()
        except OSError as error:
            (self.late if sent_by - looked_at > STOOD_STILL_S else self.cut).append(f"{user}: {error!r}")
            return False
        headers = answer.headers
        self.got.append(
            Got(
                sent_at, time.monotonic(), user, answer.status, headers.get("x-graduand-id", ""),
                headers.get("x-graduand-arm", ""), headers.get("x-graduand-reason", ""), answer.whole,
            )
        )  # fmt: skip
        return answer.whole and headers.get("connection") != "close"


def requests_of(users: Iterable[str], model: str, **more: Any) -> Iterator[tuple[str, bytes]]:
    for user in users:
        yield user, request(chat(model, user=user, **more))


@contextlib.contextmanager
def traffic(gateway: Gateway, model: str, connections: int = 8, **more: Any) -> Iterator[Driver]:
    """Requests without pause while the block runs; all have ended after it."""
    driver = Driver(gateway)

    def users() -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"user-{number % 200}"

    thread = threading.Thread(target=driver.run, args=(requests_of(users(), model, **more), connections))
    thread.start()
    try:
        yield driver
    finally:
        driver.stopping.set()
        thread.join()
