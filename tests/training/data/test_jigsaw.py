"""The article's data: Kaggle's form, the recorded form, pins and leaks."""

import json
import os
from pathlib import Path

import pytest

from graduand.gateway.cli import main
from graduand.training.data import jigsaw, labels
from graduand.training.data.frozen import read_frozen
from graduand.training.data.rows import DataError
from graduand.training.data.samples import of_text, read_samples

HEAD = "id,comment_text,toxic,severe_toxic,obscene,threat,insult,identity_hate\n"
# The article's samples are not part of the project; give their folder to run the tests that need them.
FOLDER = os.environ.get("GRADUAND_JIGSAW", "")


def kaggle(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train.csv").write_text(HEAD + 'a,"Thanks, all",0,0,0,0,0,0\nb,"You ""fool""",0,0,0,0,1,0\n')
    (folder / "test.csv").write_text("id,comment_text\nc,Go away\nd,Hello\n")
    (folder / "test_labels.csv").write_text(HEAD.replace("comment_text,", "") + "c,1,0,0,0,0,0\nd,-1,-1,-1,-1,-1,-1\n")
    return folder


def test_kaggles_files_collapse_six_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = kaggle(tmp_path / "kaggle")
    assert main(["train", "data", "jigsaw", "--from", str(source), "--out", str(tmp_path / "runs"), "--json"]) == 0
    path = Path(json.loads(capsys.readouterr().out)["path"])
    assert [(s.id, s.text, s.gold) for s in read_samples(path)] == [
        ("a", "Thanks, all", "0"),
        ("b", 'You "fool"', "1"),
        ("c", "Go away", "1"),
    ]
    assert main(["train", "data", "jigsaw", "--from", str(tmp_path), "--out", str(tmp_path / "runs")]) == 1
    assert "neither Kaggle's train.csv nor" in capsys.readouterr().err


def test_labels_come_from_whom_the_recipe_says() -> None:
    task = labels.task_of(labels.IS_BAD)

    def sample(name: str, gold: str, raw: str) -> object:
        return of_text(name, name, gold=gold, answers={"gpt-4": raw})

    in_a = [sample("a", "0", '{"is_bad": 1}')]
    files = {"first": in_a, "whole": [*in_a, sample("b", "0", '{"is_bad": 1}'), sample("c", "1", '{"is_bad": 1}')]}
    kept, _ = jigsaw.training_set(jigsaw.Recipe("whole", by_gold="first"), files, task)  # type: ignore[arg-type]
    assert [(row.id, row.completion) for row in kept] == [
        ("a", '{"is_bad": 1}'), ("b", '{"is_bad": 0}'), ("c", '{"is_bad": 1}'),
    ]  # fmt: skip
    kept, out = jigsaw.training_set(jigsaw.Recipe("whole", "first", True), files, task)  # type: ignore[arg-type]
    assert ([row.id for row in kept], out) == (["c"], ["a", "b"])


def test_a_test_set_that_is_not_the_articles_is_refused() -> None:
    with pytest.raises(DataError, match=r"test\.balanced is not the article's test set"):
        jigsaw.check_pinned("test.balanced", [of_text("a", "x", gold="0")])


@pytest.mark.skipif(not FOLDER, reason="set GRADUAND_JIGSAW to the folder with the article's samples")
def test_the_articles_samples(tmp_path: Path) -> None:
    assert main(["train", "data", "jigsaw", "--from", FOLDER, "--out", str(tmp_path)]) == 0
    tests = read_frozen(tmp_path / "jigsaw")
    assert {name: len(rows) for name, rows in tests.items()} == {"test.balanced": 400, "test.indist.1": 220}
    assert len(read_samples(tmp_path / "jigsaw" / "C.jsonl")) == 2060
