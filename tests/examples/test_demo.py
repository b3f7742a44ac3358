"""The demo's files are what the gateway takes, and what `make observe` asks stands in the dashboards."""

from pathlib import Path

import pytest
import yaml

from examples.demo.places import MACHINE_HOUR, TEACHER, Places, write_configuration
from examples.demo.rollouts import write_spec
from examples.demo.tickets import QUEUE, TASKS, Task
from examples.observe.check import Finding, table
from examples.observe.dashboards import Asked
from graduand.gateway.config import read
from graduand.rollout.spec import file as specfile


def test_the_gateway_takes_the_demos_configuration(tmp_path: Path) -> None:
    places = Places(tmp_path, *(f"127.0.0.1:{port}" for port in (1, 2, 3, 4)))
    write_configuration(places, "base", shadow_sample=5)
    settings = read.load(places.config, {})
    assert settings.routes.keys() == {task.name for task in TASKS}
    assert (settings.upstreams["engine"].gpu_hour, settings.prices[TEACHER].output) == (MACHINE_HOUR, 10)
    assert settings.routes[QUEUE.name].checks, "answers are judged"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_demos_rollouts_are_rollouts(tmp_path: Path, task: Task) -> None:
    spec = specfile.read(yaml.safe_load(write_spec(tmp_path, task, "base").read_text()))
    assert [step.kind for step in spec.steps] == ["shadow", "canary", "canary", "canary", "full"]


def test_what_found_nothing_stands_out() -> None:
    found = (
        Finding(Asked("graduand-log", "Parts A", "x"), 2, "0.5"),
        Finding(Asked("graduand-log", "$route", "y"), 0, ""),
    )
    assert [one.empty for one in found] == [False, True]
    assert table([*found]).row_count == 2
    assert [row.style for row in table([*found]).rows] == ["", "red"]
