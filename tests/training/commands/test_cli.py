"""The commands: exit codes, what goes to standard output, and errors in one line."""

import json
from pathlib import Path

import pytest

from graduand.gateway.cli import main


def test_fit_prints_the_record_as_json_and_the_path_otherwise(
    tiny_base: Path, tiny_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "fit", "--data", str(tiny_rows), "--out", str(tmp_path), "--base", str(tiny_base)]
    command += ["--rank", "8", "--epochs", "1", "--threads", "1", "--batch", "8"]
    assert main([*command, "--json"]) == 0
    first = capsys.readouterr()
    record = json.loads(first.out)
    assert Path(record["path"]).name == record["adapter"] == f"letters@{record['digest']}"
    assert "step 5/5" in first.err
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out.splitlines()[0] == record["path"]
    assert "already made" in again.err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--out", "x"], 2, "'data' is missing"),
        (["--data", "none.jsonl", "--out", "x"], 1, "cannot read the rows"),
        (["--data", "none.jsonl", "--out", "x", "--rank", "9"], 2, "rank: servers accept"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fit", *arguments]) == code
    assert complaint in capsys.readouterr().err


def test_unknown_base_names_the_nearest(tiny_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "fit", "--data", str(tiny_rows), "--out", str(tmp_path)]
    assert main([*command, "--base", "smollm2-135"]) == 2
    assert "smollm2-135m" in capsys.readouterr().err
