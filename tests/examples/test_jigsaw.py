"""The table beside the article's: the rows to choose on, what hybrid routing would do, and what the page says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.jigsaw import development, figures, table
from examples.jigsaw.figures import Student
from graduand.training.data import frozen
from graduand.training.data.labels import read_task
from graduand.training.data.samples import Sample, of_text, write_samples
from graduand.training.fit.run_config import fit_config
from graduand.training.stages import stage
from tests.training.quiet import Quiet

HERE = Path(__file__).parents[2] / "examples" / "jigsaw"
TASK = read_task(str(HERE / "task.yaml"))


def comment(number: int, gold: str) -> Sample:
    return of_text(str(number), f"a comment of its own, {'abcdefghij'[number % 10] * 30} {number}", gold=gold)


def test_development_rows_are_balanced_and_give_nothing_away() -> None:
    extra = [comment(n, str(n % 2)) for n in range(40)]
    same, near = extra[0], of_text("near", f"{extra[1].text}!", gold="1")
    drawn = development.rows(extra, [same, near], 10, seed=0)
    assert sorted(row.gold or "" for row in drawn) == ["0"] * 10 + ["1"] * 10
    assert not {"0", "1"} & {row.id for row in drawn}
    assert drawn == development.rows(list(reversed(extra)), [same, near], 10, seed=0)


def student(folder: Path, lines: list[dict[str, Any]], name: str = "A") -> Student:
    """A student with these answers and the record of a run."""
    adapter, evaluation = folder / f"jigsaw-{name}@0", folder / f"evaluation-{name}"
    for made in (adapter, evaluation):
        made.mkdir(parents=True)
    (evaluation / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"epochs": 2.0, "rate": 0.1, "rank": 8, "upper_layers": 1, "max_tokens": 9}
    run = {"steps": 9, "tokens": 12000, "tokens_per_s": 10.0, "seconds": 60, "precision": "float32", "threads": 1}
    record = {**run, "config": config, "data": {"rows": 12, "left_out": ["x", "y"]}, "losses": [2.0, 0.5]}
    (adapter / "run.json").write_text(json.dumps(record))
    return Student(adapter, (evaluation,))


def answer(number: int, gold: str, said: str, sure: float) -> dict[str, Any]:
    return {"test_set": "t", "id": str(number), "gold": gold, "said": said, "shares": {said: sure}}


def says(label: str) -> str:
    return json.dumps({"is_bad": int(label)})


@pytest.mark.parametrize(("place", "right"), [(0, 2), (1, 3), (3, 4)])  # 10%, 20% and 40% asked of the teacher
def test_the_least_sure_are_left_to_the_teacher(tmp_path: Path, place: int, right: int) -> None:
    """The student is wrong where it is least sure (0, 1) and once where it is sure (4); the teacher is wrong on 2."""
    golds = ["1", "1", "0", "1", "0"]
    saids = ["0", "0", "0", "1", "1"]
    one = student(tmp_path, [answer(n, golds[n], saids[n], 0.5 + n / 10) for n in range(5)])
    samples = [
        of_text(str(n), "text", gold=golds[n], answers={"gpt-4": says("1" if n == 2 else golds[n])}) for n in range(5)
    ]
    row = figures._hybrid("A", one, "t", samples, TASK)[place]
    assert (round(row["accuracy"] * 5), row["teacher"]) == (right, 0.8)
    assert row["asked"] <= figures.DEFERRED[place]


def test_a_teacher_that_said_nothing_is_wrong(tmp_path: Path) -> None:
    one = student(tmp_path, [answer(0, "1", "1", 0.6)])
    samples = [of_text("0", "text", gold="1", answers={"gpt-4": "I would rather not"})]
    assert figures._hybrid("A", one, "t", samples, TASK)[0]["teacher"] == 0


def test_what_was_not_run_says_how_long_it_would_take(tmp_path: Path) -> None:
    for name in "BCDE":
        write_samples(tmp_path / f"{name}.jsonl", [comment(n, "0") for n in range(ord(name) - ord("A"))])
    waiting = figures.waiting({"A": student(tmp_path, [])}, tmp_path)
    # 600 tokens a row and epoch, two epochs, ten tokens a second: two minutes a row.
    assert waiting == [{"set": name, "minutes": 2 * (ord(name) - ord("A"))} for name in "BCDE"]


def scored(accuracy: float, **more: Any) -> dict[str, Any]:
    named = {"test_set": "test.balanced", "rows": 400, "trained_on": ""}
    return {"accuracy": accuracy, "low": accuracy - 0.03, "high": accuracy + 0.03, **named, **more}


def found(accuracy: float, hybrid: float) -> dict[str, Any]:
    run = dict.fromkeys(("adapter", "rows", "epochs", "steps", "tokens", "tokens_per_s", "seconds", "last_loss"), 1)
    run |= dict.fromkeys(("rank", "rate", "upper_layers", "max_tokens", "precision", "threads"), 1)
    beside = {"p_value": 0.5, "first_only": 2, "second_only": 1, "difference": 0.01, "detectable": 0.04}
    routed = {"student": "E", "asked": 0.4, "teacher": 0.8875, "against_teacher": beside}
    return {
        "students": {name: {"run": run, "rows": [scored(accuracy)], "calibrated": None} for name in "AE"},
        "baselines": [
            scored(reached, what="TF-IDF", trained_on=f"{name}, rows")
            for name, reached in (("A", 0.83), ("D", 0.875), ("E", 0.8), ("E", 0.83))
        ],
        "pairs": [{"first": "student E", "second": "gpt-4", "test_set": "test.balanced", **beside}],
        "hybrid": [scored(hybrid, **routed)],
        "waiting": [{"set": "B", "minutes": 12}],
    }


@pytest.mark.parametrize(
    ("accuracy", "hybrid", "met"),
    [
        (0.89, 0.9, ["yes"] * 5),
        (0.875, 0.9, ["yes", "yes", "no", "no", "yes"]),  # as good as the best is not above it
        (0.86, 0.8875, ["no", "yes", "no", "no", "no"]),
        (0.8, 0.7, ["no"] * 5),
    ],
)
def test_targets_are_told_as_measured(accuracy: float, hybrid: float, met: list[str]) -> None:
    assert [answer for *_, answer in table.targets(found(accuracy, hybrid))] == met


def test_the_page_has_every_row() -> None:
    page = table.page(found(0.89, 0.9), {"date": "today"}, "make jigsaw")
    assert "student of B (A and 1.1k by gold): not run here, about 12 minutes on this machine" in page
    for part in ("| 0.8900 | 0.860–0.920 | 90.2 |", "- date: today", "| student E | gpt-4 |", "`make jigsaw`"):
        assert part in page


def test_the_run_is_a_valid_configuration() -> None:
    config = fit_config(HERE / "run.yaml", {"data": Path("A.jsonl"), "out": Path("adapters")})
    assert (config.class_weight, config.upper_layers, config.name) == ("balanced", 15, "A")


LABELS = {"0": "kind words of thanks", "1": "you rude and stupid fool"}


def comments(prefix: str, count: int) -> list[Sample]:
    """Half of them rude; GPT-4 has the first wrong, and completions say what gold says."""
    found = []
    for n in range(count):
        gold = str(n % 2)
        known = {"gold": gold, "completion": says(gold), "answers": {"gpt-4": says("1" if n == 0 else gold)}}
        found.append(of_text(f"{prefix}{n}", f"{LABELS[gold]}, number {prefix}{n}", **known))
    return found


def stage_of(folder: Path, name: str, rows: list[dict[str, Any]], lines: list[dict[str, Any]]) -> Path:
    """A finished stage with these figures and answers."""

    def work(into: Path, _: Any) -> stage.Outcome:
        (into / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return stage.Outcome({"what": "jigsaw-A@0", "rows": rows}, "# Made")

    return stage.run(stage.Plan(name, {}, {}, ()), folder, work, Quiet()).path


def test_all_figures_of_a_run(tmp_path: Path) -> None:
    sets, held_out = tmp_path / "sets", tmp_path / "held_out"
    for name in "ABCDE":
        write_samples(sets / f"{name}.jsonl", comments(f"{name}-", 12))
    tested = {"test.balanced": comments("t", 10)}
    for folder, tests in ((sets, tested), (held_out, {development.NAME: comments("d", 10)})):
        for name, samples in tests.items():
            write_samples(folder / f"{name}.jsonl", samples)
        frozen.freeze(folder, tests)
    one = student(tmp_path, [])
    evaluations = []
    for name, samples in {**tested, development.NAME: comments("d", 10)}.items():
        # It calls everything rude, and is as sure of all.
        lines = [answer(0, row.gold or "", "1", 0.7) | {"test_set": name, "id": row.id} for row in samples]
        evaluations.append(stage_of(tmp_path, f"of-{name}", [scored(0.5, what="jigsaw-A@0", test_set=name)], lines))
    baselines = stage_of(tmp_path, "baselines", [scored(0.9, what="TF-IDF", trained_on="A, 12 rows")], [])
    found = figures.figures({"A": Student(one.adapter, tuple(evaluations))}, sets, baselines, held_out, TASK)
    pairs = {(each["first"], each["second"], each["test_set"]): each for each in found["pairs"]}
    assert pairs["student A", "gpt-4", "test.balanced"]["difference"] == pytest.approx(0.5 - 0.9)
    assert pairs["student A", "TF-IDF A", "test.balanced"]["second_only"] == 5
    assert ("student A", "TF-IDF D", development.NAME) not in pairs  # D's rows are the development rows
    assert [row["set"] for row in found["waiting"]] == ["B", "C", "D", "E"]
    # All answers are as sure, so none can be left to the teacher without the others.
    assert {row["asked"] for row in found["hybrid"]} == {0.0}
    page = table.page(found, {}, "make jigsaw")
    assert "| student of A, toxic above 0.350 | test.balanced | 10 | 0.5000 |" in page
