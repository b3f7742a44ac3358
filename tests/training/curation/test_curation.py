"""Curation: every row stays or goes with a reason; planted duplicates and label errors are caught."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.cli import main
from graduand.training.baselines.tfidf import Crossed
from graduand.training.curation.doubt import confident
from graduand.training.curation.facts import Look
from graduand.training.curation.pipeline import looked
from graduand.training.curation.rules import Rules
from graduand.training.curation.steps import STEPS, Balance, Cap, Doubt, Exact, Gold, Near, Rank, Rows
from graduand.training.data import labels
from graduand.training.data.frozen import freeze
from graduand.training.data.samples import Sample, of_text, read_samples, write_samples
from graduand.training.engines.engine import LOCAL
from tests.training.quiet import Quiet

TASK = labels.task_of({"labels": ["a", "b"]})
ABOUT = {
    "a": ["parcel", "delivery", "courier", "late", "tracking"],
    "b": ["invoice", "refund", "payment", "card", "bill"],
}


def ticket(number: int, label: str | None = None, **known: Any) -> Sample:
    """A ticket whose words tell its label."""
    source = random.Random(number)
    label = label or "ab"[number % 2]
    words = [*source.choices(ABOUT[label], k=6), *(f"w{source.randrange(10**6)}" for _ in range(6))]
    return of_text(f"s{number}", " ".join(words), **{"completion": label, **known})


def run(name: str, samples: list[Sample], step: Any, seed: int = 0) -> dict[int, str]:
    rules = (step,) if name == "rules" else ()
    facts = looked(Look(TASK, rules, name == "near"), samples, LOCAL, Quiet())
    return STEPS[name][1](Rows(samples, facts, rules, seed), step)


def said(*texts: str) -> list[Sample]:
    return [of_text(f"s{n}", text, completion="ab"[n % 2]) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("step", "drops"),
    [
        (Rules(min_characters=3), {0: "shorter than 3 characters"}),
        (Rules(max_characters=10), {3: "longer than 10 characters"}),
        (Rules(scripts=["LATIN"]), {2: "less than 80% of its letters are LATIN"}),
        (Rules(drop=["(?i)HELLO"]), {1: "matches '(?i)HELLO'"}),
        (Rules(keep=["l"]), {0: "does not match 'l'", 2: "does not match 'l'"}),
    ],
)
def test_rules(step: Rules, drops: dict[int, str]) -> None:
    assert run("rules", said("hi", "hello", "Привет", "much longer text, all of it latin"), step) == drops


def test_planted_duplicates_go_and_a_contradiction_is_said() -> None:
    samples = [ticket(n) for n in range(20)]
    copy = of_text("copy", samples[4].text.upper(), completion="a")
    other = of_text("other", f"  {samples[7].text}\n", completion="a")
    drops = run("exact", [*samples, copy, other], Exact())
    assert drops == {20: "same text as s4", 21: "same text as s7, with another label"}
    like = of_text("like", samples[4].text[:-1] + "x", completion="b")
    (place,) = drops = run("near", [*samples, like], Near(threshold=0.8))
    assert place == 20
    assert drops[20].endswith("like s4, with another label")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=25), st.integers(0, 3))
def test_of_equal_rows_exactly_one_stays(numbers: list[int], seed: int) -> None:
    samples = [of_text(f"x{at}", ticket(number).text, completion="a") for at, number in enumerate(numbers)]
    for name, step in (("exact", Exact()), ("near", Near())):
        drops = run(name, samples, step, seed)
        left = [number for place, number in enumerate(numbers) if place not in drops]
        assert sorted(left) == sorted(set(numbers))


def test_power_users_are_capped_and_others_are_not() -> None:
    samples = [ticket(n, user="power" if n < 10 else None if n < 15 else f"u{n}") for n in range(20)]
    drops = run("cap", samples, Cap(most=3))
    assert len(drops) == 7
    assert all(place < 10 for place in drops)
    assert set(drops.values()) == {"more than 3 rows of one user"}
    assert run("cap", samples[::-1], Cap(most=3)).keys() == {19 - place for place in drops}  # whatever the order


def test_gold_decides_only_where_it_is() -> None:
    samples = [ticket(0, "a", gold="a"), ticket(1, "a", gold="b"), ticket(2, "a"), ticket(3, "a", gold="perhaps")]
    drops = run("gold", samples, Gold())
    assert drops[1] == "label a, gold b"
    assert drops[3].startswith("gold cannot be read")
    assert set(drops) == {1, 3}


def test_planted_label_errors_are_doubted_first() -> None:
    samples = [ticket(n) for n in range(120)]
    planted = {10, 33, 70, 101}
    for place in planted:
        right = samples[place]
        samples[place] = of_text(right.id, right.text, completion="b" if right.completion == "a" else "a")
    drops = run("doubt", samples, Doubt(drop=True))
    assert set(list(drops)[:4]) == planted
    assert len(drops) <= 6
    listed = run("doubt", samples, Doubt(most=0.02))
    assert len(listed) == 3
    assert all(why.startswith("listed: label ") for why in listed.values())
    worst = run("rank", samples, Rank(drop=4 / 120))
    assert set(worst) == planted


def test_confident_learning_as_in_the_paper() -> None:
    # Mean self-confidence: a .8, b .7. Row 2 says a, but b reaches its threshold; row 4 is unsure, but below a's.
    table = np.array([[0.95, 0.05], [0.95, 0.05], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]])
    found = confident(Crossed(("a", "b"), table), ["a", "a", "a", "b", "b"])
    assert [(each.place, each.label, each.likelier, round(each.margin, 3)) for each in found] == [(2, "a", "b", 0.6)]


def test_ranks_by_length_and_by_a_note() -> None:
    samples = said("aaa", "a", "aaaa", "aa")
    assert run("rank", samples, Rank(by="length", drop=0.5)).keys() == {1, 3}
    noted = [of_text(f"s{n}", "x", completion="a", notes={"judge": str(n)}) for n in (3, 1, 2, 0)]
    assert run("rank", noted, Rank(by="judge", drop=0.25)).keys() == {3}


def test_balance() -> None:
    samples = [ticket(n, "b" if n < 5 else "a") for n in range(50)]
    drops = run("balance", samples, Balance(ratio=3))
    assert len(drops) == 45 - 15
    assert all(place >= 5 for place in drops)
    assert run("balance", samples, Balance(ratio=100)) == {}


def curate(tmp_path: Path, steps: list[Any], *more: str, task: Any = None) -> int:
    config = tmp_path / "curate.yaml"
    config.write_text(yaml.safe_dump({"task": task or {"labels": ["a", "b"]}, "steps": steps}))
    command = ["train", "curate", "--data", str(tmp_path / "rows.jsonl"), "--config", str(config)]
    return main([*command, "--out", str(tmp_path / "runs"), *more])


def test_by_command_with_its_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [ticket(n) for n in range(80)]
    samples += [of_text("copy", samples[0].text, completion="a"), of_text("unread", "x", completion="perhaps")]
    write_samples(tmp_path / "rows.jsonl", samples)
    tests = tmp_path / "tests"
    held = [ticket(n, completion=None, gold="ab"[n % 2]) for n in range(1000, 1040)]
    write_samples(tests / "test.indist.jsonl", held)
    freeze(tests, {"test.indist": held})
    steps = ["exact", {"rank": {"by": "length", "drop": 0.1}}, "balance 1"]
    assert curate(tmp_path, steps, "--tests", str(tests), "--effect", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    folder = Path(figures["path"])
    assert [step["step"] for step in figures["steps"]] == ["readable", "exact", "rank", "balance"]
    assert [step["rows_out"] for step in figures["steps"][:3]] == [81, 80, 72]
    assert figures["steps"][0]["why"] == {"'perhaps' is none of the labels": 1}
    assert all(step["effect"]["test.indist"]["accuracy"] > 0.9 for step in figures["steps"])
    left, dropped = read_samples(folder), read_samples(folder / "dropped.jsonl")
    assert {sample.id for sample in [*left, *dropped]} == {sample.id for sample in samples}
    assert len(left) + len(dropped) == len(samples)
    assert {sample.id: sample.notes["dropped"] for sample in dropped}["copy"] == "exact: same text as s0"
    assert "| exact | 81 | 80 |" in (folder / "report.md").read_text()
    write_samples(tmp_path / "rows.jsonl", [*samples, of_text("leak", held[3].text, completion="a")])
    assert curate(tmp_path, steps, "--tests", str(tests)) == 1
    assert "leak ~ s1003 in test.indist (same text)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        (["exakt"], "step 1: 'exakt' is not known. Did you mean 'exact'"),
        (["exact", {"near": {"treshold": 1}}], "step 2 (near): unknown key 'treshold'. Did you mean 'threshold'"),
        ([{"rules": {"drop": ["("]}}], "is no regular expression"),
        (["cap"], "most"),
        ([], "at least 1 item"),
    ],
)
def test_mistakes(tmp_path: Path, steps: list[Any], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", [ticket(n) for n in range(4)])
    assert curate(tmp_path, steps) == 2
    assert complaint in capsys.readouterr().err


def test_nothing_left_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", [ticket(n) for n in range(4)])
    assert curate(tmp_path, [{"rules": {"keep": ["nothing has this"]}}]) == 1
    assert "step 'rules' leaves no row of 4" in capsys.readouterr().err
    assert curate(tmp_path, ["exact"], "--effect") == 2


def test_conversations_that_end_alike_are_not_one() -> None:
    """Eight people say "Yes, please do that", each to something else."""

    def talk(number: int) -> Sample:
        said = ("user", f"May I {'abcdefgh'[number]}?"), ("assistant", "Shall I?"), ("user", "Yes, please do that")
        messages = tuple({"role": role, "content": text} for role, text in said)
        return Sample(f"t{number}", messages=messages, completion="a")

    assert run("exact", [talk(number) for number in range(8)], Exact()) == {}
    assert run("exact", [talk(1), replace(talk(1), id="again")], Exact()) == {1: "same text as t1"}
