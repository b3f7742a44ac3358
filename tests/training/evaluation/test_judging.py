"""Free text before a judge that really answers: both orders, what cannot be read is unscored, nothing is asked twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.cli import main
from graduand.gateway.errors import ConfigError
from graduand.rollout.answers import tasks
from graduand.rollout.answers.judge import Judged
from graduand.training.data.frozen import freeze
from graduand.training.data.samples import Sample, of_text, write_samples
from graduand.training.evaluation import judging
from graduand.training.evaluation.judging import Judge
from graduand.training.teacher.asking import TeacherError
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.labelling import Purse
from tests.gateway.control.judges import JudgeServer
from tests.training.quiet import Quiet

TASK = tasks.read({"kind": "text", "rubric": "polite"})


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    judge = JudgeServer()
    yield judge
    judge.close()


def judge_at(server: JudgeServer, folder: Path) -> Judge:
    model = Teacher("fair", f"{server.url}/v1", "another-family", None, None, {"temperature": 0})
    return Judge(model, Purse(folder / "ledger.jsonl", None, None, 4))


def outcome(server: JudgeServer, folder: Path, wanted: str, said: str) -> Judged:
    sample = of_text("1", "Where is it?")
    (found,) = judge_at(server, folder).judged(TASK, [sample], [wanted], [said], Quiet())
    return found


@pytest.mark.parametrize(
    ("mode", "wanted", "said", "score"),
    [
        ("fair", "yes", "no", 0.0),
        ("fair", "no", "yes", 1.0),
        ("fair", "yes", "yes indeed", 0.5),
        ("biased", "yes", "no", None),  # it takes what stands first: it contradicts itself
        ("babbling", "yes", "no", None),
        ("refusing", "yes", "no", None),
        ("fair", "yes", " ", 0.0),  # needs no judge
        ("fair", " ", "yes", None),
    ],
)
def test_verdicts(
    server: JudgeServer, tmp_path: Path, mode: str, wanted: str, said: str, score: float | None
) -> None:  # fmt: skip
    server.mode = mode
    found = outcome(server, tmp_path, wanted, said)
    assert found.score == score
    assert bool(found.unscored) is (score is None)


def test_both_orders_are_asked_by_the_rubric(server: JudgeServer, tmp_path: Path) -> None:
    outcome(server, tmp_path, "yes", "no")
    assert len(server.asked) == 2
    assert all("polite" in seen["messages"][0]["content"] for seen in server.seen)
    assert {seen["model"] for seen in server.seen} == {"another-family"}


def test_nothing_is_asked_twice(server: JudgeServer, tmp_path: Path) -> None:
    assert outcome(server, tmp_path, "yes", "no") == outcome(server, tmp_path, "yes", "no")
    assert sum(server.asked.values()) == 2


def test_a_budget_that_is_spent_reports_nothing(server: JudgeServer, tmp_path: Path) -> None:
    judge = judge_at(server, tmp_path)
    poor = Judge(judge.model, Purse(tmp_path / "ledger.jsonl", None, 10, 4))
    with pytest.raises(TeacherError, match="1 rows were not judged"):
        poor.judged(TASK, [of_text("1", "Where?")], ["yes"], ["no"], Quiet())


def test_figures_leave_out_what_is_unscored() -> None:
    found = judging.figures([Judged(1.0), Judged(0.5), Judged(0.0), Judged(None, "babble")])
    assert (found["judged"], found["judge_unscored"], found["as_good"], found["judge_score"]) == (3, 1, 2 / 3, 0.5)
    assert judging.figures([Judged(None, "babble")])["as_good"] is None


def frozen(folder: Path) -> Path:
    """Two rows as the trained student knows them: it answers B, then A."""
    chats = [
        Sample(str(n), messages=({"role": "system", "content": "Which?"}, {"role": "user", "content": "ab"[n] * 4}),
               gold=gold) for n, gold in enumerate(("no", "A"))
    ]  # fmt: skip
    write_samples(folder / "tests" / "texts.jsonl", chats)
    freeze(folder / "tests", {"texts": chats})
    return folder / "tests"


def evaluate(trained: Path, folder: Path, *more: str) -> list[str]:
    where = ["--adapter", str(trained), "--tests", str(frozen(folder)), "--out", str(folder / "runs"), "--threads", "1"]
    return ["train", "evaluate", "--json", *where, "--most-tokens", "4", *more]


def teachers(server: JudgeServer, folder: Path) -> str:
    path = folder / "teachers.yaml"
    path.write_text(f"teachers: {{fair: {{base_url: '{server.url}/v1', model: another-family}}}}")
    return str(path)


def test_the_command_judges(
    trained: Path, server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--task", "{kind: text}", "--judge", "fair", "--teachers", teachers(server, tmp_path)]
    assert main(evaluate(trained, tmp_path, *told)) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    row = figures["rows"][0]
    assert (row["judged"], row["better"], row["tie"], row["as_good"]) == (2, 1, 1, 1.0)
    lines = (Path(figures["path"]) / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["judge"] for line in lines] == [1.0, 0.5]
    assert "Judged by fair" in (Path(figures["path"]) / "report.md").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--task", "{labels: [A, B]}", "--judge", "fair", "--teachers", "t.yaml"], "free text"),
        (["--task", "{kind: text}", "--judge", "fair"], "--teachers"),
    ],
)
def test_what_cannot_be_judged_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(evaluate(trained, tmp_path, *more)) == ConfigError.exit_code
    assert said in capsys.readouterr().err
