"""Baselines: what they learn, what the table says, and that it is never trained on a test row."""

import json
import random
from pathlib import Path

import pytest

from graduand.gateway.cli import main
from graduand.training.baselines import majority, table, tfidf
from graduand.training.data import labels, scores
from graduand.training.data.frozen import freeze
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, of_text, write_samples

TASK = labels.task_of({"labels": ["a", "b"]})
WORDS = {
    "a": ["parcel", "delivery", "courier", "late"],
    "b": ["invoice", "refund", "payment", "card"],
    "c": ["login", "password", "account"],
}


def ticket(number: int, labels_: str = "aab") -> Sample:
    source = random.Random(number)
    label = labels_[number % len(labels_)]
    words = [*source.choices(WORDS[label], k=4), *(f"w{source.randrange(10**6)}" for _ in range(5))]
    return of_text(f"s{number}", " ".join(words), completion=label)


def test_tfidf_learns_words_and_is_the_same_every_time() -> None:
    train, test = [ticket(n) for n in range(90)], [ticket(n) for n in range(500, 560)]
    fitted = [tfidf.fit([s.text for s in train], [str(s.completion) for s in train]) for _ in range(2)]
    texts = [sample.text for sample in test]
    said = fitted[0].predict(texts)
    right = sum(one == sample.completion for one, sample in zip(said, test, strict=True))
    assert right >= 55
    table_ = fitted[0].probabilities(texts)
    assert table_.shape == (60, 2)
    assert table_.sum(axis=1) == pytest.approx(1)
    assert (table_ == fitted[1].probabilities(texts)).all()
    assert ((fitted[0].margins(texts) >= 0) & (fitted[0].margins(texts) <= 1)).all()


def test_three_labels() -> None:
    train = [ticket(n, "abc") for n in range(90)]
    model = tfidf.fit([s.text for s in train], [str(s.completion) for s in train])
    assert model.predict(["late parcel courier", "refund of a payment", "account password"]) == ["a", "b", "c"]
    crossed = tfidf.cross_probabilities([s.text for s in train], [str(s.completion) for s in train], 5, 0)
    own = [crossed.probabilities[at, crossed.labels.index(str(s.completion))] for at, s in enumerate(train)]
    assert sum(own) / len(own) > 0.6


def test_a_row_does_not_see_its_own_label() -> None:
    texts = [f"only{n} once{n} said{n}" for n in range(40)]
    said = ["ab"[n % 2] for n in range(40)]
    crossed = tfidf.cross_probabilities(texts, said, 5, 0)
    assert crossed.probabilities == pytest.approx(0.5, abs=0.2)


def test_too_little_to_learn_from() -> None:
    with pytest.raises(DataError, match="two different labels"):
        tfidf.fit(["x", "y"], ["a", "a"])
    with pytest.raises(DataError, match="no terms"):
        tfidf.fit(["", "!"], ["a", "b"])
    with pytest.raises(DataError, match="two rows of each"):
        tfidf.cross_probabilities(["x", "y"], ["a", "b"], 5, 0)
    assert majority.fit(["b", "b", "a"]).predict(["x"]) == ["b"]


def test_scores_count_what_could_not_be_read_as_wrong() -> None:
    found = scores.score(["a"] * 8 + ["b"] * 2, ["a"] * 6 + [None, "b"] + ["b", None], ["a", "b"])
    assert (found.right, found.unread, found.rows) == (7, 2, 10)
    assert (found.precision, found.recall) == (0.5, 0.5)
    assert found.interval == pytest.approx((0.3968, 0.8922), abs=1e-4)
    three = scores.score(["a", "b", "c"], ["a", "b", "b"], ["a", "b", "c"])
    assert three.recall == pytest.approx(2 / 3)
    assert scores.wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="need rows"):
        scores.score([], [], ["a", "b"])


def test_recorded_teachers_are_rows_of_the_table() -> None:
    test = [
        of_text(f"t{n}", "x", gold="a", answers={"gpt": said}) for n, said in enumerate(["a", "A.", "b", "no idea"])
    ]
    (row,) = table.recorded(TASK, {"test": test})
    assert row.scores is not None
    assert (row.what, row.scores.right, row.scores.unread) == ("gpt, recorded", 2, 1)


@pytest.fixture
def setting(tmp_path: Path) -> list[str]:
    held = [of_text(f"t{n}", ticket(n).text, gold=ticket(n).completion, answers={"gpt": "b"}) for n in range(700, 730)]
    write_samples(tmp_path / "tests" / "test.indist.jsonl", held)
    freeze(tmp_path / "tests", {"test.indist": held})
    write_samples(tmp_path / "rows.jsonl", [ticket(n) for n in range(90)])
    return ["train", "baselines", "--data", str(tmp_path / "rows.jsonl"), "--tests", str(tmp_path / "tests"), "--task",
            "{labels: [a, b]}", "--zero-shot", "0", "--out", str(tmp_path / "runs")]  # fmt: skip


def test_the_table_has_every_required_row(
    setting: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*setting, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    rows = {row["what"]: row for row in figures["rows"]}
    assert set(rows) == {"majority", "TF-IDF + logistic regression", "zero-shot student", "gpt, recorded"}
    assert rows["majority"]["right"] == 20
    assert rows["TF-IDF + logistic regression"]["accuracy"] > rows["majority"]["accuracy"]
    assert rows["zero-shot student"]["missing"] == "not asked for (--zero-shot 0)"
    assert rows["gpt, recorded"]["recall"] == 1
    assert "not asked for" in (tmp_path / "runs" / "baselines" / "report.md").read_text()


def test_a_killed_run_goes_on(setting: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(table, "recorded", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert main(setting) == 130
    monkeypatch.setattr(tfidf, "fit", lambda *_: pytest.fail("trained a second time"))
    assert main(setting) == 0
    assert not list((tmp_path / "runs").glob(".*.lock"))


def test_files_of_one_name_are_told_apart(
    setting: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("one", "two"):
        write_samples(tmp_path / folder / "rows.jsonl", [ticket(n) for n in range(60)])
    both = [str(tmp_path / folder / "rows.jsonl") for folder in ("one", "two")]
    assert main([*setting[:3], *both, *setting[4:], "--json"]) == 0
    trained_on = {row["trained_on"].split(",")[0] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert trained_on == {"one", "two", ""}
    assert main([*setting[:3], both[0], both[0], *setting[4:]]) == 2


def test_a_leak_stops_it(setting: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(
        tmp_path / "rows.jsonl", [*(ticket(n) for n in range(90)), of_text("leak", ticket(703).text, completion="a")]
    )
    assert main(setting) == 1
    assert "1 training rows leak: leak ~ t703 in test.indist (same text)" in capsys.readouterr().err


@pytest.mark.slow
def test_the_untrained_student_is_asked(setting: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    setting[setting.index("--zero-shot") + 1] = "2"
    assert main([*setting, "--json"]) == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["zero-shot student, smollm2-135m"]["rows"] == 2
