"""A trained student on frozen test sets: in this process, through an engine, with a threshold, beside its teachers."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from graduand.gateway.cli import main
from graduand.gateway.errors import ConfigError
from graduand.training.data.frozen import freeze
from graduand.training.data.labels import task_of
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, write_samples
from graduand.training.evaluation.local import Student, parting
from tests.training.quiet import Quiet

TASK = "{labels: [A, B]}"


def letter(identity: str, letter: str, count: int, **known: Any) -> Sample:
    chat = ({"role": "system", "content": "Which?"}, {"role": "user", "content": letter * count})
    return Sample(identity, messages=chat, **known)


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """Two frozen sets; b is answered A and a is answered B. A recorded teacher that has one wrong."""
    folder = tmp_path / "tests"
    sets = {}
    for name, numbers in (("balanced", range(12)), ("indist", range(12, 18))):
        sets[name] = [
            letter(
                f"{name}-{n}", "ab"[n % 2], 3 + n % 5, gold="BA"[n % 2],
                answers={"gpt": "BA"[n % 2] if n else "never mind"}, source="made",
            )
            for n in numbers
        ]  # fmt: skip
        write_samples(folder / f"{name}.jsonl", sets[name])
    freeze(folder, sets)
    return folder


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["train", "evaluate", "--task", TASK, "--json", *arguments]) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    return figures


def test_a_student_in_this_process(
    trained: Path, tests: Path, tiny_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--tests", str(tests), "--out", str(tmp_path / "runs"), "--threads", "1"]
    figures = evaluate(capsys, "--adapter", str(trained), "--train", str(tiny_rows), *where)
    own = {row["test_set"]: row for row in figures["rows"] if row["what"] == trained.name}
    assert own["balanced"]["accuracy"] == own["indist"]["accuracy"] == 1.0
    pair = next(each for each in figures["paired"] if each["test_set"] == "balanced")
    assert (pair["against"], pair["first_only"], pair["second_only"], pair["p_value"]) == ("gpt", 1, 0, 1.0)
    assert "gold: A" in [each["slice"] for each in figures["slices"]["balanced"]]
    lines = [json.loads(line) for line in (Path(figures["path"]) / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 18
    assert all(sum(line["shares"].values()) == pytest.approx(1, abs=1e-4) for line in lines)
    assert "0 of 18 rows are wrong" in (Path(figures["path"]) / "errors.html").read_text()
    again = evaluate(capsys, "--adapter", str(trained), "--train", str(tiny_rows), *where)
    assert not again["fresh"]


def test_a_student_through_an_endpoint_says_the_same(
    trained: Path, tests: Path, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    post = {"lora_name": "letters", "lora_path": str(trained)}
    assert httpx.post(f"{engine}/load_lora_adapter", json=post, timeout=30).status_code == 200
    try:
        where = ["--tests", str(tests), "--out", str(tmp_path / "runs")]
        figures = evaluate(capsys, "--endpoint", engine, "--model", "letters", "--most-tokens", "8", *where)
    finally:
        httpx.post(f"{engine}/unload_lora_adapter", json={"lora_name": "letters"}, timeout=30)
    assert [row["accuracy"] for row in figures["rows"] if row["what"] == "letters"] == [1.0, 1.0]


def test_a_threshold_from_leaking_rows_is_refused(trained: Path, tests: Path, tmp_path: Path) -> None:
    command = ["train", "evaluate", "--task", TASK, "--adapter", str(trained), "--tests", str(tests)]
    code = main([*command, "--out", str(tmp_path), "--validation", str(tests / "balanced.jsonl")])
    assert code == 1


def test_a_threshold_moves_the_border(
    trained: Path, tests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Validation rows on which everything is B: the threshold falls below every share."""
    rows = tmp_path / "validation.jsonl"
    write_samples(rows, [letter(f"v{n}", "cdefgh"[n] * 9, 2, gold="B") for n in range(6)])
    where = ["--tests", str(tests), "--out", str(tmp_path / "runs"), "--validation", str(rows)]
    figures = evaluate(capsys, "--adapter", str(trained), *where)
    assert 0 <= figures["threshold"] < 1


def test_what_a_missing_model_name_says(tests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "evaluate", "--task", TASK, "--endpoint", "http://x/v1", "--tests", str(tests)])
    assert code == 2
    assert "--model" in capsys.readouterr().err


def test_free_text_by_rouge_and_perplexity(
    trained: Path, tests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--adapter", str(trained), "--tests", str(tests), "--out", str(tmp_path), "--most-tokens", "4"]
    assert main(["train", "evaluate", "--task", "{kind: text}", "--json", *arguments]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["rougeL"] == 1.0
    assert 1 <= row["perplexity"] < 1.2


def test_labels_that_share_all_their_tokens_are_refused() -> None:
    with pytest.raises(DataError, match="told apart"):
        parting([(1, 2), (1, 2, 3)])


def test_batches_change_nothing(trained: Path, tiny_base: Path) -> None:
    """Shares of rows asked together are those of rows asked alone."""
    task = task_of({"labels": ["A", "B"]})
    student = Student(str(tiny_base), trained, 1)
    samples = [letter(str(n), "ab"[n % 2], 1 + 5 * n) for n in range(5)]
    together = student.label_answers(task, samples, Quiet())
    for sample, answer in zip(samples, together, strict=True):
        (alone,) = student.label_answers(task, [sample], Quiet())
        assert alone.shares == pytest.approx(answer.shares, abs=1e-5)


def test_a_wrong_task_is_a_usage_error() -> None:
    with pytest.raises(ConfigError):
        task_of({"labels": ["A"]})
