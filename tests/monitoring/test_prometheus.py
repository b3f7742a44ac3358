"""Prometheus' own judgement of the rules: their form, and that each alert fires where it should and nowhere else."""

import subprocess
from pathlib import Path

import pytest
import yaml

from examples.observe.prometheus import NoPrometheus, binary
from tests.monitoring.test_grafana import RULES, alerts

FOLDER = RULES.parent
TESTS = sorted((FOLDER / "tests").glob("*.test.yml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return binary("promtool")
    except NoPrometheus as error:
        pytest.skip(str(error))


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


def test_the_rules_are_rules(promtool: str) -> None:
    run(promtool, "check", "rules", *sorted(RULES.glob("*.yml")))
    run(promtool, "check", "config", FOLDER / "prometheus.yml")


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("file", TESTS, ids=[path.stem for path in TESTS])
def test_alerts_fire_and_stay_silent(promtool: str, file: Path) -> None:
    run(promtool, "test", "rules", file)


def test_every_alert_is_tested_both_ways() -> None:
    fired, silent = set(), set()
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for one in case["alert_rule_test"]:
                (fired if one["exp_alerts"] else silent).add(one["alertname"])
    assert fired == silent == {rule["alert"] for rule in alerts()}
