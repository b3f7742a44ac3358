"""A small world in which everything happens that a dashboard shows: the demo's tickets, asked by users who never stop.

Real are the gateway, its rollout and the engine with a managed adapter (if there is one); teacher and students replay
recorded answers, and one student fails on purpose. Nothing is trained, so it is up in seconds: `make observe ARGS=--small`,
and the tests.
"""

import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import yaml

from examples.demo.servers import DidNotStart, Servers, free_port
from examples.demo.tickets import QUEUE, TASKS, URGENCY, Task, Ticket, corpus
from examples.observe.flaky import FlakyStudent
from examples.observe.untrained import untrained
from examples.observe.users import Users

SEED = 11
TICKETS = 400
TEACHER, STUDENT = "gpt-4o-recorded", "tickets@3f9c1a0b22de"
WRONG = 0.02  # share of tickets on which the student differs from the teacher
BASE = "smollm2-135m"
PAUSE_S = 0.04
READY_WITHIN_S = 120.0

Json = dict[str, Any]


class World:
    """Everything but Prometheus. `start` it inside a `Servers` block, `close` it before the block ends."""

    def __init__(self, folder: Path, servers: Servers, *, engine: bool) -> None:
        self._folder = folder
        self._servers = servers
        self._adapter = untrained(folder / "adapters" / "urgency", BASE, SEED) if engine else ""
        ports = [free_port(port) for port in (8080, 8081, 8090, 8000, 8001)]
        self._gateway, self.admin, self._teacher, self._engine, flaky = (f"127.0.0.1:{port}" for port in ports)
        self._flaky = FlakyStudent(ports[4])
        self._flaky_url = f"http://{flaky}/v1"
        self._open = ExitStack()
        self._open.callback(self._flaky.close)

    @property
    def base_url(self) -> str:
        """Where clients ask."""
        return f"http://{self._gateway}/v1"

    @property
    def admin_url(self) -> str:
        """The admin plane."""
        return f"http://{self.admin}"

    def start(self, say: Callable[[str], None], **more: Any) -> None:
        """Start the servers, the rollout and the users; `more` are further keys of the configuration."""
        tickets = corpus(SEED, TICKETS)
        answers = self._folder / "answers.jsonl"
        answers.write_text("".join(json.dumps(line) + "\n" for line in _recorded(tickets)))
        self._servers.start(
            "teacher", "recorded-teacher", "--answers", str(answers), "--listen", self._teacher,
            ready=f"http://{self._teacher}/health",
        )  # fmt: skip
        if self._adapter:
            say("loading the base model into the engine (the first time it is converted, which takes a minute)")
            self._servers.start(
                "engine", "engine", "--model", BASE, "--listen", self._engine, ready=f"http://{self._engine}/health"
            )
        file = self._folder / "gateway.yaml"
        file.write_text(yaml.safe_dump({**self._configuration(), **more}, sort_keys=False))
        self._servers.start("gateway", "serve", "--config", str(file), ready=f"http://{self._gateway}/readyz")
        if self._adapter:
            self._add_adapter()
        self._begin_rollout()
        names = [*[QUEUE.name] * 6, "ticket-flaky", "ticket-strict", URGENCY.name, URGENCY.name]
        self._open.enter_context(Users(self.base_url, names, tickets, PAUSE_S))

    def close(self) -> None:
        """Stop asking."""
        self._open.close()

    def _configuration(self) -> Json:
        recorded = {"kind": "openai", "base_urls": [f"http://{self._teacher}/v1"]}
        teacher = {"upstream": "openai", "model": TEACHER}
        flaky = {"upstream": "flaky", "adapter": "flaky@000000000000"}
        upstreams: Json = {
            "openai": recorded,
            "gpu": {**recorded, "gpu_hour": 1.2},
            "flaky": {"kind": "openai", "base_urls": [self._flaky_url], "gpu_hour": 0.6},
        }
        routes: Json = {
            QUEUE.name: {
                "teacher": teacher, "student": {"upstream": "gpu", "adapter": STUDENT}, "unit": "user",
                "task": {"kind": "label", "labels": list(QUEUE.labels)}, "checks": ["not_empty", {"label": "flag"}],
            },
            "ticket-flaky": {"teacher": teacher, "student": flaky, "mode": "student", "retries": 1},
            "ticket-strict": {
                "teacher": teacher, "student": flaky, "mode": "student", "retries": 0, "on_student_failure": "error",
            },
            URGENCY.name: {"teacher": teacher},
        }  # fmt: skip
        if self._adapter:
            upstreams["engine"] = {
                "kind": "vllm",
                "base_urls": [f"http://{self._engine}/v1"],
                "gpu_hour": 0.4,
                "slots": 4,
            }
            routes[URGENCY.name] = {
                "teacher": teacher, "student": {"upstream": "engine", "adapter": self._adapter}, "mode": "shadow",
                "shadow_sample": 2, "timeouts": {"first_token_s": 60, "idle_s": 60},
            }  # fmt: skip
        return {
            "listen": self._gateway, "admin": self.admin, "state": f"sqlite:///{self._folder / 'state.db'}",
            "logs": f"file://{self._folder / 'logs'}", "upstreams": upstreams, "routes": routes,
            "prices": {TEACHER: {"input": 2.5, "output": 10, "cached_input": 1.25}},
        }  # fmt: skip

    def _add_adapter(self) -> None:
        """Register it; the fleet manager loads and proves it before anybody asks."""
        path = self._folder / "adapters" / "urgency"
        with httpx.Client(base_url=self.admin_url, timeout=30, trust_env=False) as admin:
            new = {"name": self._adapter, "path": str(path), "upstream": "engine"}
            admin.post("/v1/adapters", json=new).raise_for_status()
            until = time.monotonic() + READY_WITHIN_S
            while _states(admin) != ["ready"]:
                if time.monotonic() > until:
                    raise DidNotStart(f"the adapter is not ready after {READY_WITHIN_S:.0f} s: {_states(admin)}")
                time.sleep(0.2)

    def _begin_rollout(self) -> None:
        step = {"dwell": "20s", "requests": 60}
        spec = {
            "route": QUEUE.name, "student": STUDENT, "gates": ["agreement 0.9"], "audit": 0.2, "cycle": "none",
            "steps": [{"shadow": {"pairs": 300}}, {"canary": {"weight": 10, **step}}, {"canary": {"weight": 50, **step}},
                      {"full": step}],
        }  # fmt: skip
        body = {"spec": spec, "why": "to see one"}
        httpx.post(f"{self.admin_url}/v1/rollouts", json=body, timeout=30, trust_env=False).raise_for_status()


def _states(admin: httpx.Client) -> list[str]:
    adapters = admin.get("/v1/adapters").raise_for_status().json()["adapters"]
    return [place["state"] for one in adapters for place in one["replicas"]]


def _recorded(tickets: list[Ticket]) -> list[Json]:
    """What teacher and student say; the student is wrong now and then."""
    source = random.Random(SEED)
    lines = []
    for ticket in tickets:
        for task in TASKS:
            right = task.answer(ticket)
            wrong = source.choice((source.choice(task.labels), "I cannot tell"))
            says = wrong if source.random() < WRONG else right
            for model, answer in ((TEACHER, right), (STUDENT, says)):
                lines.append(
                    {"model": model, "messages": task.messages(ticket), "answer": _spoken(task, answer, model)}
                )
    return lines


def _spoken(task: Task, answer: str, model: str) -> str:
    """Urgency is answered by the teacher in a few words, so that streams have more than one token."""
    return f"I would call it {answer}." if task is not QUEUE and model == TEACHER else answer
