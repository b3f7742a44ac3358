"""One gateway with two workers for the tests that need a real one; each test has a route of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway.control import worlds
from tests.gateway.control.live import (
    BREAKING,
    GOOD,
    SLICED,
    TASK,
    TEACHER,
    UNSURE,
    FaultServer,
    Recorded,
    Rollouts,
    UnsureServer,
)
from tests.gateway.running import Gateway, route, upstream


@pytest.fixture(params=["sqlite", "redis"])
def state(request: pytest.FixtureRequest) -> str:
    """What a made-up world keeps its state in: nothing said is a file of its own."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("redis_server").url)


@pytest.fixture(autouse=True)
def _worlds_end() -> Iterator[None]:
    yield
    while worlds.OPEN:
        worlds.OPEN.pop().close()


@dataclass(frozen=True)
class Live:
    """What the tests talk to."""

    gateway: Gateway
    rollouts: Rollouts
    faults: FaultServer


ROUTES = {
    "good": GOOD, "sliced": SLICED, "breaking": BREAKING, "silent": GOOD, "verbs": GOOD, "killed": GOOD, "audited": GOOD,
    "hybrid": UNSURE, "unlearnt": UNSURE, "team/verbs": GOOD, "budgeted": GOOD,
}  # fmt: skip
PLACES = {BREAKING: "faults", UNSURE: "unsure"}


@contextmanager
def running(folder: Path, state: str = "") -> Iterator[Live]:
    """A gateway that keeps its state in a file of its own, or in `state`."""
    recorded, faults, unsure = Recorded(folder), FaultServer(), UnsureServer()
    routes = {
        name: {
            **route("teacher"),
            "teacher": {"upstream": "teacher", "model": TEACHER},
            "student": {"upstream": PLACES.get(student, "students"), "adapter": student},
            "unit": "user",
            "task": TASK,
        }
        for name, student in ROUTES.items()
    }
    routes["budgeted"]["shadow_budget"] = {"requests_per_day": 3}
    upstreams = {
        "teacher": upstream(f"{recorded.url}/v1"),
        "students": upstream(f"{recorded.url}/v1", kind="vllm"),
        "faults": upstream(f"{faults.url}/v1", kind="vllm"),
        "unsure": upstream(f"{unsure.url}/v1", kind="vllm"),
    }
    gateway = Gateway(folder, upstreams, routes, workers=2, **({"state": state} if state else {}))
    yield Live(gateway, Rollouts(gateway), faults)
    gateway.stop()
    faults.close()
    unsure.close()
    recorded.close()
    assert "Traceback" not in gateway.errors, gateway.errors


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("live")) as live:
        yield live
