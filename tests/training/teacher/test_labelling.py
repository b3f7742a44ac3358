"""Labelling by command: several teachers, what stays unlabelled, a kill in the middle, and the real recorded teacher."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from graduand.gateway.cli import main
from graduand.training.data.samples import of_text, read_samples, write_samples
from tests.gateway.running import RecordedTeacher
from tests.training.teacher.fake import Fake, chat, error

TASK = "{labels: [a, b]}"


def setting(tmp_path: Path, fake: Fake, rows: int = 6, **more: Any) -> list[str]:
    write_samples(tmp_path / "rows.jsonl", [of_text(f"s{n}", f"question {n}", gold="ab"[n % 2]) for n in range(rows)])
    one = {"base_url": f"{fake.url}/v1", "price": {"input": 10, "output": 30}, "parameters": {"max_tokens": 10}, **more}
    teachers = {name: {**one, "model": name} for name in ("first", "second", "third")}
    (tmp_path / "teachers.yaml").write_text(yaml.safe_dump({"teachers": teachers}))
    return ["--data", str(tmp_path / "rows.jsonl"), "--task", TASK, "--teachers", str(tmp_path / "teachers.yaml"),
            "--out", str(tmp_path / "runs")]  # fmt: skip


def number(body: dict[str, Any]) -> int:
    return int(body["messages"][-1]["content"].split()[-1])


def test_one_teacher(tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    options = setting(tmp_path, fake)
    fake.answer = lambda body: chat("a" if number(body) < 3 else "no idea" if number(body) == 3 else "Answer: B")
    assert main(["train", "label", *options, "--use", "first", "--about", "Say a or b.", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    folder = Path(figures["path"])
    rows = read_samples(folder)
    assert [(row.id, row.completion) for row in rows] == [
        ("s0", "a"),
        ("s1", "a"),
        ("s2", "a"),
        ("s4", "b"),
        ("s5", "b"),
    ]
    assert rows[3].answers == {"first": "Answer: B"}
    (left,) = read_samples(folder / "unlabelled.jsonl")
    assert (left.id, left.completion, left.notes) == ("s3", None, {"unlabelled": "'no idea' is none of the labels"})
    assert figures["gold"]["right"] == 3
    assert figures["ledger"]["tokens"] == 150
    system = fake.requests[0]["messages"][0]["content"]
    assert system == "Say a or b.\nAnswer one of: a, b, and nothing else."
    assert main(["train", "label", *options, "--use", "first", "--about", "Say a or b."]) == 0
    assert "already made" in capsys.readouterr().err
    assert len(fake.requests) == 6


def test_a_vote_and_a_chain(tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    options = setting(tmp_path, fake)
    said = {"first": "aabb?a", "second": "abbb?a", "third": "abbabb"}
    fake.answer = lambda body: chat(said[body["model"]][number(body)])

    def labelled(*more: str) -> dict[str, str | None]:
        before = len(fake.requests)
        assert main(["train", "label", *options, *more, "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        figures["asked"] = len(fake.requests) - before
        found.append(figures)
        return {row.id[1:]: row.completion for row in read_samples(Path(figures["path"]))}

    found: list[dict[str, Any]] = []
    chained = labelled("--combine", "chain", "--agree", "2")
    assert chained == {"0": "a", "1": "b", "2": "b", "3": "b", "5": "a"}
    assert found[0]["unlabelled"] == {"no 2 teachers agree: b": 1}
    assert found[0]["asked"] == 6 + 6 + 2  # the third only where the two disagree or cannot be read
    assert labelled("--combine", "vote") == {"0": "a", "1": "b", "2": "b", "3": "b", "4": "b", "5": "a"}
    assert found[1]["asked"] == 4  # the rest is in the ledger
    assert labelled("--combine", "vote", "--use", "first,second") == {"0": "a", "2": "b", "3": "b", "5": "a"}
    assert found[2]["unlabelled"] == {"a tie: a, b": 1, "'?' is none of the labels": 1}


def test_reasons_are_kept(tmp_path: Path, fake: Fake) -> None:
    options = setting(tmp_path, fake, rows=2)
    fake.answer = lambda body: chat('{"reason_for": "x", "reason_against": "y", "queue": "b"}')
    options[options.index(TASK)] = "{labels: [a, b], field: queue}"
    assert main(["train", "label", *options, "--use", "first", "--prompt", "cot"]) == 0
    row = read_samples(tmp_path / "runs" / "label")[0]
    assert row.completion == '{"queue": "b"}'
    assert json.loads(row.notes["explanation:first"])["reason_for"] == "x"
    assert '"queue", which is a or b' in fake.requests[0]["messages"][0]["content"]


def test_free_text_is_kept_as_it_is(tmp_path: Path, fake: Fake) -> None:
    options = setting(tmp_path, fake, rows=3)
    del options[2:4]
    fake.answer = lambda body: chat(f"Text {number(body)}", finish="length" if number(body) == 1 else "stop")
    assert main(["train", "label", *options]) == 2
    assert main(["train", "label", *options, "--use", "second"]) == 0
    assert [row.completion for row in read_samples(tmp_path / "runs" / "label")] == ["Text 0", "Text 2"]
    assert [{"role": "user", "content": "question 0"}] in [body["messages"] for body in fake.requests]


def test_a_budget_ends_the_run_and_the_next_goes_on(
    tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "label", *setting(tmp_path, fake, rows=20), "--use", "first", "--concurrency", "1"]
    fake.answer = lambda body: chat("a")
    assert main([*command, "--budget-tokens", "300"]) == 1
    complaint = capsys.readouterr().err
    assert "the budget is spent" in complaint
    assert "run the same command again to go on, with a larger budget" in complaint
    assert not (tmp_path / "runs" / "label").exists()
    spent = len(fake.requests)
    assert 5 <= spent <= 12
    assert main([*command, "--budget-tokens", "300"]) == 1  # the cap is on all runs together
    assert len(fake.requests) <= spent + 1
    assert main(command) == 0
    assert len(fake.requests) == 20


def test_killed_in_the_middle_it_goes_on(tmp_path: Path, fake: Fake) -> None:
    command = [sys.executable, "-m", "graduand", "train", "label", *setting(tmp_path, fake, rows=60), "--use", "first"]
    killed = threading.Event()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if len(fake.requests) > 30:  # the rest is not to be had before it is killed, however late that is
            killed.wait(120)
        return chat("a")

    fake.answer, ledger = answer, tmp_path / "runs" / "teacher.ledger.jsonl"
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "."}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (ledger.is_file() and ledger.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait(60)
    killed.set()
    kept = ledger.read_bytes().count(b"\n")
    asked = len(fake.requests)
    assert 0 < kept < 60
    assert main(command[3:]) == 0
    assert len(fake.requests) - asked == 60 - kept  # nothing that was kept is asked again
    assert len(read_samples(tmp_path / "runs" / "label")) == 60


def test_mistakes(tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    options = setting(tmp_path, fake, api_key={"env": "GRADUAND_NO_SUCH_KEY"})
    for more, complaint in (
        (["--use", "frist"], "has no teacher 'frist'. Did you mean 'first'"),
        (["--use", "first"], "the environment variable GRADUAND_NO_SUCH_KEY is not set"),
        (["--prompt", "simpel"], "no prompt 'simpel'; there are as-is, simple, cot. Did you mean 'simple'"),
        (["--teachers", "nowhere.yaml"], "cannot read the teachers"),
    ):
        assert main(["train", "label", *options, *more]) == 2
        assert complaint in capsys.readouterr().err
    options = setting(tmp_path, fake, price=None)
    assert main(["train", "label", *options, "--budget-dollars", "1"]) == 2
    assert "needs a price for first" in capsys.readouterr().err
    (tmp_path / "teachers.yaml").write_text("teachers: {a: {base_url: x, modle: y}}")
    assert main(["train", "label", *options]) == 2
    assert "unknown key 'modle'. Did you mean 'model'" in capsys.readouterr().err
    options = setting(tmp_path, fake)
    fake.script = [error(401)] * 9
    assert main(["train", "label", *options]) == 1
    assert "does not let us ask" in capsys.readouterr().err


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway's own recorded teacher: right in 3 of 4, reasons make it right in all, one prompt unknown to it."""
    folder = tmp_path_factory.mktemp("recorded")
    with (folder / "answers.jsonl").open("w") as file:
        for n in range(11):
            text, right = f"question {n}", "ab"[n % 2]
            file.write(json.dumps({"model": "plain", "text": text, "answer": right if n % 4 else "b"}) + "\n")
            file.write(json.dumps({"model": "wise", "text": text, "answer": f"Because.\n{right}"}) + "\n")
    teacher = RecordedTeacher(folder / "answers.jsonl")
    yield teacher.url
    teacher.close()


def test_the_grid_on_the_recorded_teacher(recorded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = setting(tmp_path, Fake(url=recorded), rows=12)
    teachers = {
        name: {"base_url": f"{recorded}/v1", "model": name, "price": {"input": 1, "output": 2}}
        for name in ("plain", "wise")
    }
    (tmp_path / "teachers.yaml").write_text(yaml.safe_dump({"teachers": teachers}))
    assert main(["train", "teacher", *options, "--temperatures", "0,0.3", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    cells = {(row["teacher"], row["temperature"]): row for row in figures["rows"]}
    assert set(cells) == {("plain", 0.0), ("plain", 0.3), ("wise", 0.0), ("wise", 0.3)}
    plain = cells["plain", 0.0]
    # Of twelve rows three are wrong; the recorded teacher does not know the last one, which is wrong as well.
    assert (plain["right"], plain["unread"], plain["rows"]) == (8, 1, 12)
    assert plain["low"] < plain["accuracy"] < plain["high"]
    assert plain["dollars_per_1000"] > 0
    assert plain["served"] == "plain"
    report = (Path(figures["path"]) / "report.md").read_text()
    assert "12 rows cannot tell them apart" in report
    assert (Path(figures["path"]) / "teachers.png").stat().st_size > 1000
