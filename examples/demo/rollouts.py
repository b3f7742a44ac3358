"""The demo's rollouts: their specification, and how they are followed on the terminal until they come to rest.

Nothing here moves a route: that is the gateway's controller, on evidence. The demo only brings traffic and looks on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console, Group
from rich.live import Live

from examples.demo.tickets import Task
from graduand.gateway.commands.screen import picture

Json = dict[str, Any]
LOOK_EVERY_S = 0.5
# Small enough for a processor that answers a dozen requests a second; production wants more pairs and days, not seconds.
# `plan` reckons with the last hour's mean traffic, which training interrupts: the times are what that takes, twice over.
STEPS: list[object] = [
    {"shadow": {"pairs": 100, "t_max": "15m"}},
    {"canary": {"weight": 5, "requests": 5, "dwell": "4s", "t_max": "15m"}},
    {"canary": {"weight": 10, "requests": 20, "dwell": "4s", "t_max": "15m"}},
    {"canary": {"weight": 50, "requests": 40, "dwell": "4s", "t_max": "15m"}},
    {"full": {"requests": 40, "dwell": "4s", "t_max": "15m"}},
]


class Stopped(RuntimeError):
    """A rollout did not get where the demo expected it; the message has its reasons."""


@dataclass(slots=True)
class Rollout:
    """One rollout as it was seen last."""

    task: Task
    id: str
    status: Json = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def left(self, event: Json) -> tuple[str, float, float]:
        """The step that `event` ended: its name, and from when to when."""
        entered = [one for one in self.events if one["event"] in ("prechecked", "advance")]
        number = next(at for at, one in enumerate(entered) if one["version"] == event["version"]) - 1
        return str(self.status["steps"][number]["name"]), entered[number]["at"], event["at"]


def write_spec(folder: Path, task: Task, student: str) -> Path:
    """The rollout's file."""
    spec = {
        "route": task.name, "student": student, "steps": STEPS, "gates": [{"agreement": {"p0": 0.8}}], "audit": 1.0,
        "cycle": "none",
        "task": {"kind": "label", "labels": list(task.labels)},
    }  # fmt: skip
    path = folder / f"rollout-{task.name}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=120))
    return path


def newest(admin_url: str, task: Task) -> Rollout:
    """The rollout that was started last on a task's route."""
    found = _get(admin_url, f"/v1/rollouts?route={task.name}")["rollouts"]
    return Rollout(task, str(found[0]["id"]))


def follow(
    console: Console, admin_url: str, rollouts: list[Rollout], done: Callable[[Rollout], bool], within_s: float,
    told: Callable[[Rollout, Json], None],
) -> None:  # fmt: skip
    """Look on until all are `done`; `told` hears of each event once. Raises Stopped if one ends elsewhere."""
    until = time.monotonic() + within_s
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            for rollout in rollouts:
                _look(admin_url, rollout, told)
            if console.is_terminal:
                live.update(Group(*(picture(rollout.status) for rollout in rollouts)), refresh=True)
            if all(done(rollout) for rollout in rollouts):
                return
            for rollout in rollouts:
                _check(rollout, done, late=time.monotonic() > until)
            time.sleep(LOOK_EVERY_S)


def refresh(admin_url: str, rollout: Rollout) -> None:
    """Where it is now; its new events are left for `follow` to tell."""
    rollout.status = _get(admin_url, f"/v1/rollouts/{rollout.id}")


def _look(admin_url: str, rollout: Rollout, told: Callable[[Rollout, Json], None]) -> None:
    refresh(admin_url, rollout)
    events = _get(admin_url, f"/v1/rollouts/{rollout.id}/history")["events"]
    known, rollout.events = len(rollout.events), events
    for event in events[known:]:
        told(rollout, event)


def _check(rollout: Rollout, done: Callable[[Rollout], bool], *, late: bool) -> None:
    waiting = rollout.status["hold"] not in (None, "no_data", "lease_lost")
    over = rollout.phase in ("promoted", "rolled_back", "aborted", "superseded") or waiting
    if not done(rollout) and (over or late):
        reasons = "\n".join(f"  - {reason}" for reason in rollout.status["reasons"])
        raise Stopped(f"{rollout.id} is in {rollout.phase}, and the demo expected it to get further:\n{reasons}")


def _get(admin_url: str, path: str) -> Json:
    answer = httpx.get(f"{admin_url}{path}", timeout=10, trust_env=False)
    answer.raise_for_status()
    data: Json = answer.json()
    return data
