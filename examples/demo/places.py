"""Where the demo's parts are, and the gateway's configuration that says so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from examples.demo.servers import free_port
from examples.demo.tickets import TASKS, Task

TEACHER = "gpt-4o-recorded"
# What OpenAI asks for gpt-4o, dollars for a million tokens; and a rented machine with two cores, dollars an hour.
PRICES = {TEACHER: {"input": 2.5, "output": 10}}
MACHINE_HOUR = 0.05


@dataclass(frozen=True, slots=True)
class Places:
    """The folder (absolute) and each server's HOST:PORT."""

    folder: Path
    gateway: str
    admin: str
    teacher: str
    engine: str

    @classmethod
    def free(cls, folder: Path) -> "Places":
        """The usual ports where they are free."""
        return cls(folder.resolve(), *(f"127.0.0.1:{free_port(port)}" for port in (8080, 8081, 8090, 8000)))

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    @property
    def base_url(self) -> str:
        return f"http://{self.gateway}/v1"

    @property
    def admin_url(self) -> str:
        return f"http://{self.admin}"


def write_configuration(places: Places, student: str, shadow_sample: int) -> None:
    """The gateway's file: a route a task, with `student` standing by."""
    configuration = {
        "listen": places.gateway,
        "admin": places.admin,
        "state": f"sqlite:///{places.folder / 'state.db'}",
        "logs": f"file://{places.logs}",
        "upstreams": {
            "teacher": {"kind": "openai", "base_urls": [f"http://{places.teacher}/v1"]},
            "engine": {"kind": "vllm", "base_urls": [f"http://{places.engine}/v1"], "gpu_hour": MACHINE_HOUR},
        },
        "routes": {task.name: _route(task, student, shadow_sample) for task in TASKS},
        "prices": PRICES,
    }
    places.config.write_text(yaml.safe_dump(configuration, sort_keys=False))


def _route(task: Task, student: str, shadow_sample: int) -> dict[str, Any]:
    return {
        "teacher": {"upstream": "teacher", "model": TEACHER},
        "student": {"upstream": "engine", "adapter": student},
        "mode": "teacher",
        "unit": "user",
        "shadow_sample": shadow_sample,
        "task": {"kind": "label", "labels": list(task.labels)},
        # Flagged, not acted on: the demo shows what students answer by themselves.
        "checks": [{"not_empty": "flag"}, {"label": "flag"}],
        "timeouts": {"first_token_s": 60, "idle_s": 60},
    }
