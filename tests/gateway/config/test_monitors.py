"""The configuration's monitors: defaults, what is refused and how, and what `check` says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from graduand.gateway.cli import main
from graduand.gateway.config import read as config
from graduand.gateway.errors import ConfigError
from graduand.gateway.model.monitors import ALL, MONITORS
from graduand.gateway.model.routes import settings_from_json, settings_to_json

Json = dict[str, Any]


def written(folder: Path, monitors: object) -> Path:
    data = {
        "upstreams": {"u": {"kind": "openai", "base_urls": ["http://127.0.0.1:1/v1"]}},
        "routes": {"triage": {"teacher": {"upstream": "u", "model": "gpt-4o"}, "monitors": monitors}},
    }
    path = folder / "graduand.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_everything_is_on_and_only_shown() -> None:
    found = ALL
    assert tuple(found.on) == MONITORS == ("novelty", "mix", "descriptors", "check_failures", "outputs")
    assert {one.action for one in found.on.values()} == {"flag"}
    assert {one.false_alarm_every for one in found.on.values()} == {10_000}


@pytest.mark.parametrize(
    ("monitors", "told"),
    [
        ({"noveltee": {}}, "unknown key 'routes.triage.monitors.noveltee'. Did you mean 'novelty'?"),
        (
            {"novelty": {"actoin": "hold"}},
            "unknown key 'routes.triage.monitors.novelty.actoin'. Did you mean 'action'?",
        ),
        ({"novelty": {"action": "panic"}}, "routes.triage.monitors.novelty.action"),
        ({"novelty": {"action": "lower"}}, "action lower needs share"),
        ({"novelty": {"action": "hold", "share": 5}}, "the other actions take none"),
        ({"mix": {"action": "lower", "share": 0.001}}, "finer than the steps of 0.01 percent"),
        ({"mix": {"action": "lower", "share": 100}}, "routes.triage.monitors.mix.share"),
        ({"novelty": {"false_alarm_every": 5}}, "routes.triage.monitors.novelty.false_alarm_every"),
        ({"novelty": True}, "routes.triage.monitors.novelty"),
        ({"reference": {"from_log": 5}}, "routes.triage.monitors.reference"),
        ({"reference": {"from_lgo": 500}}, "Did you mean 'from_log'?"),
        ({"reference": "/nowhere"}, "there is no reference set at /nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, monitors: Json, told: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid configuration") as refused:
        config.load(written(tmp_path, monitors), {})
    assert told in str(refused.value)


def test_they_travel_to_the_processes(tmp_path: Path) -> None:
    given = {"novelty": {"action": "lower", "share": 2.5, "resume": "auto"}, "mix": False}
    settings = config.load(written(tmp_path, given), {})
    assert settings_from_json(settings_to_json(settings)) == settings
    found = settings.routes["triage"].monitors.on
    assert ("mix" in found, found["novelty"].share_bp, found["novelty"].auto) == (False, 250, True)


def test_check_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        tmp_path, {"novelty": {"action": "teacher"}, "mix": {"action": "lower", "share": 5, "resume": "auto"}}
    )
    assert main(["check", "--config", str(path)]) == 0
    said = capsys.readouterr().out
    assert "novelty (at most one false alarm in 10,000 requests) gives the route to the teacher" in said
    assert (
        "mix (at most one false alarm in 10,000 requests) lowers the student to 5%, until 2000 requests are clean"
        in said
    )
