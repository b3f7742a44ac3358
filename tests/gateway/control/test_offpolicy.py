"""`graduand rollout evaluate-policy` on a log: a canary's requests are weighed, a cut's are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graduand.gateway import cli
from graduand.gateway.control.study.offpolicy import Question, evaluate, moment
from graduand.gateway.errors import ConfigError
from graduand.gateway.logs.reading import Source
from graduand.gateway.model.routes import Route, Student, Teacher
from graduand.gateway.model.routing import STUDENT, decide
from graduand.rollout.offpolicy import CannotEvaluate
from tests.gateway.control.worlds import STUDENT_NAME, record

ROUTE = Route("triage", Teacher("openai", "gpt-4o"), Student("gpu", STUDENT_NAME), mode="canary", weight_bp=3000)
DOLLARS = {"teacher": 0.01, "student": 0.002}


def log(folder: Path, route: Route = ROUTE, users: int = 400, **more: Any) -> Source:
    """A log of so many users with two requests each: the student costs a fifth, and fails one time of ten."""
    rng, segments = np.random.default_rng(1), folder / "segments"
    segments.mkdir(parents=True, exist_ok=True)
    with (segments / "w0.jsonl").open("a") as out:
        for number in range(2 * users):
            decision = decide(route, f"user-{number // 2}", str(number), 1000.0)
            failed = decision.arm == STUDENT and rng.random() < 0.1
            arm, reason = ("teacher", "fallback:http_500") if failed else (decision.arm, decision.reason)
            one = record(f"id-{number}", 1000.0 + number, decision, arm, reason, "yes", "?", None)
            cost = DOLLARS[decision.arm] + DOLLARS["teacher"] * failed
            shares = {"arm_probability": decision.probability, "cost": cost, "unit": decision.unit or None}
            out.write(json.dumps({**one, **shares, **more}) + "\n")
    return Source.of(str(folder))


def test_a_canarys_requests_say_what_half_of_the_users_would_have_cost(tmp_path: Path) -> None:
    found = evaluate(log(tmp_path), Question("triage", 50.0, "cost"))
    truth = 0.5 * 0.01 + 0.5 * (0.002 + 0.1 * 0.01)
    assert [one["method"] for one in found["estimates"]] == ["ips", "snips", "dr"]
    for one in found["estimates"]:
        assert one["value"] == pytest.approx(truth, abs=one["high"] - one["low"])  # twice the half interval: one log
        assert (one["units"], one["requests"], one["reward"]) == (400, 800, "cost")
    assert found["means"].startswith("dollars")


def test_a_request_that_fell_back_is_the_students(tmp_path: Path) -> None:
    found = evaluate(log(tmp_path), Question("triage", 100.0, "answered"))
    assert found["estimates"][1]["value"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("mode", ["teacher", "student"])
def test_what_was_not_drawn_is_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(CannotEvaluate, match="probabilities do not cover"):
        evaluate(log(tmp_path, replace(ROUTE, mode=mode)), Question("triage", 50.0, "cost"))


def test_a_cut_by_confidence_is_refused(tmp_path: Path) -> None:
    cut = replace(ROUTE, mode="hybrid", threshold={"threshold": {}})
    with pytest.raises(CannotEvaluate, match="decides without drawing"):
        evaluate(log(tmp_path, cut), Question("triage", 50.0, "cost"))


def test_only_the_time_asked_for_counts(tmp_path: Path) -> None:
    source = log(tmp_path, replace(ROUTE, mode="teacher"), users=50)
    with (tmp_path / "segments" / "w0.jsonl").open() as lines:
        early = len(lines.readlines())
    later = log(tmp_path / "later", users=300)
    text = (tmp_path / "later" / "segments" / "w0.jsonl").read_text()
    moved = [
        json.dumps({**json.loads(line), "time": 5000.0, "id": f"later-{at}"})
        for at, line in enumerate(text.splitlines())
    ]
    (tmp_path / "segments" / "w1.jsonl").write_text("\n".join(moved) + "\n")
    with pytest.raises(CannotEvaluate):
        evaluate(source, Question("triage", 50.0, "cost"))
    found = evaluate(source, Question("triage", 50.0, "cost", since=5000.0))
    assert (early, found["estimates"][0]["requests"]) == (100, 600)
    assert later.url != source.url


def test_the_command_prints_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path / "log")
    command = ["rollout", "evaluate-policy", "--from", str(tmp_path / "log"), "--route", "triage", "--weight", "50"]
    assert cli.main([*command, "--reward", "cost"]) == 0
    shown = capsys.readouterr().out
    assert "dollars a request" in shown
    assert "snips" in shown
    assert cli.main([*command, "--reward", "cost", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == "cost"
    assert cli.main([*command, "--reward", "costs"]) == 2
    assert "Did you mean 'cost'" in capsys.readouterr().err
    assert cli.main([*command[:5], "nobody", *command[6:], "--reward", "cost"]) == 1


@pytest.mark.parametrize(("weight", "reward"), [(101.0, "cost"), (-1.0, "cost"), (50.0, "joy")])
def test_strange_questions_are_refused(tmp_path: Path, weight: float, reward: str) -> None:
    with pytest.raises(ConfigError):
        evaluate(log(tmp_path, users=1), Question("triage", weight, reward))


def test_moments() -> None:
    assert moment("1970-01-02T00:00:00+00:00") == 86400.0
    with pytest.raises(ConfigError, match="no ISO date"):
        moment("yesterday")
