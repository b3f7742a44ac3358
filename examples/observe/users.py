"""Users who never stop: they ask about tickets until they are sent home. For `make observe`, which wants traffic to see."""

import random
import threading
from collections.abc import Sequence
from typing import Any

import httpx

from examples.demo.tickets import QUEUE, TASKS, Ticket

USERS = 5_000
ASKERS = 4
MISTYPED = "ticket-qeue"


class Users:
    """Ask the models `names`, each as often as it is listed, until left. Half of them stream; one in twenty does not say
    who it is, and one in a hundred mistypes the model's name."""

    def __init__(self, base_url: str, names: Sequence[str], tickets: Sequence[Ticket], pause_s: float) -> None:
        self._base_url, self._names, self._tickets, self._pause_s = base_url, names, tickets, pause_s
        self._leaving = threading.Event()
        self._askers = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(ASKERS)]

    def __enter__(self) -> "Users":
        for asker in self._askers:
            asker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for asker in self._askers:
            asker.join(30)

    def _ask(self, number: int) -> None:
        source = random.Random(number)
        with httpx.Client(base_url=self._base_url, timeout=60, trust_env=False) as client:
            while not self._leaving.wait(self._pause_s):
                try:
                    client.post("/chat/completions", json=self._request(source))
                except httpx.HTTPError:
                    self._leaving.wait(0.5)  # the gateway is being stopped, or a stream was cut as it should

    def _request(self, source: random.Random) -> dict[str, Any]:
        name, ticket = source.choice(self._names), source.choice(self._tickets)
        task = next((one for one in TASKS if one.name == name), QUEUE)
        body: dict[str, Any] = {
            "model": MISTYPED if source.random() < 0.01 else name, "messages": task.messages(ticket), "max_tokens": 8,
            "temperature": 0, "stream": source.random() < 0.5,
        }  # fmt: skip
        if source.random() < 0.95:
            body["user"] = f"user-{source.randrange(USERS)}"
        return body
