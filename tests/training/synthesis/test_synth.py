"""Synthetic rows: only new ones stay, nothing is paid twice, labels come later, paraphrases stay with their originals."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.cli import main
from graduand.rollout.answers.answers import Unparsed
from graduand.training.data.samples import of_text, read_samples, write_samples
from graduand.training.data.split import grouped
from graduand.training.synthesis.novelty import Pool, rouge_l, words
from graduand.training.synthesis.prompts import texts_of
from tests.training.teacher.fake import Fake, chat, running

VERBS = ["cancel", "change", "find", "return", "repair", "ask about", "pay", "track", "open", "close"]
THINGS = ["order", "parcel", "invoice", "password", "cable", "phone", "contract", "refund", "router", "card"]


def writes(fake: Fake) -> Any:
    """A teacher that writes five texts, one of them a copy of what it was shown."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        shown = body["messages"][-1]["content"]
        source = random.Random(f"{len(fake.requests)} {shown}")
        first = json.loads(shown)[0] if shown.startswith("[") else shown
        texts = [f"{source.choice(VERBS)} {source.choice(THINGS)} {source.randrange(10**6)} {source.randrange(10**6)} "
                 f"{source.choice(VERBS)} {source.choice(THINGS)}" for _ in range(4)]  # fmt: skip
        return chat(json.dumps([first, *texts]))

    return answer


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    seeds = [
        of_text(f"s{n}", f"Where is {thing} number {n}?", completion="ab"[n > 1]) for n, thing in enumerate(THINGS[:4])
    ]
    write_samples(tmp_path / "seeds.jsonl", seeds)
    return ["train", "synth", "--seeds", str(tmp_path / "seeds.jsonl"), "--task", "{labels: [a, b]}", "--teachers",
            str(tmp_path / "teachers.yaml"), "--out", str(tmp_path / "runs")]  # fmt: skip


def teachers(tmp_path: Path, fake: Fake) -> None:
    one = {"base_url": f"{fake.url}/v1", "model": "t", "parameters": {"temperature": 0.8, "max_tokens": 200}}
    (tmp_path / "teachers.yaml").write_text(yaml.safe_dump({"teachers": {"t": one}}))


def test_new_rows_in_a_budget_without_paying_twice(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as fake:
        teachers(tmp_path, fake)
        fake.answer = writes(fake)
        assert main([*options, "--rows", "60", "--about", "A shop.", "--budget-tokens", "1500"]) == 1
        assert "the budget is spent" in capsys.readouterr().err
        asked = len(fake.requests)
        assert main([*options, "--rows", "60", "--about", "A shop.", "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        rows = read_samples(Path(figures["path"]))
        assert len(rows) == figures["rows"] == 60
        assert asked < len(fake.requests)
        assert len({json.dumps(body) for body in fake.requests}) == len(fake.requests)  # none was sent twice
        assert figures["new"] < 0.9  # the copies went
        assert set(figures["asked_for"]) == {"a", "b"}
        assert all(row.completion is None and row.gold is None for row in rows)
        pool = Pool(sample.text for sample in read_samples(tmp_path / "seeds.jsonl"))
        assert all(pool.offer(row.text) < 0.7 for row in rows)
        assert figures["diversity"]["made"]["distinct_2"] > 0.5
        systems = [body["messages"][0]["content"] for body in fake.requests]
        assert all("A shop. Below are things" in system for system in systems)
        assert any("belong to the class 'a'" in system for system in systems)


def test_paraphrases_of_a_rare_class(options: list[str], tmp_path: Path) -> None:
    with running() as fake:
        teachers(tmp_path, fake)
        fake.answer = writes(fake)
        assert main([*options, "--rows", "10", "--paraphrase", "b"]) == 0
    rows = read_samples(tmp_path / "runs" / "synth")
    seeds = read_samples(tmp_path / "seeds.jsonl")
    assert len(rows) == 10
    assert {row.completion for row in rows} == {"b"}
    assert {row.notes["paraphrase_of"] for row in rows} <= {"s2", "s3"}
    groups = grouped([*seeds, *rows], (), 0.8)
    assert sum(len(group) > 1 for group in groups) <= 2
    assert sum(map(len, groups)) == 14


def test_a_teacher_that_repeats_itself_is_stopped(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as fake:
        teachers(tmp_path, fake)
        fake.answer = lambda body: chat('["Please cancel my whole order today", "please cancel my whole order today!"]')
        assert main([*options, "--rows", "50"]) == 0
        assert "1 of 50 rows" in (out := capsys.readouterr().out)
        assert "only repeats itself" in out
        assert len(fake.requests) == 4 * 8
        fake.answer = lambda body: chat("Sorry, no.")
        assert main([*options, "--rows", "40", "--about", "Another."]) == 1
        assert "nothing new came of 0 texts ({'no list in it': 24})" in capsys.readouterr().err


def test_mistakes(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teachers(tmp_path, Fake(url="http://127.0.0.1:9"))
    assert main([*options, "--rows", "5", "--paraphrase", "c"]) == 1
    assert "no row has the label 'c'; there are {'a': 2, 'b': 2}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*options, "--rows", "0"])


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ('Sure:\n["a", " b "]', ["a", "b"]),
        ("- one\n* two\n3) three", ["one", "two", "three"]),
        ('{"texts": ["a"]}', ["a"]),
        ("[1, 2]", Unparsed("no list in it")),
        ("", Unparsed("no list in it")),
        ("x" * 30_000, Unparsed("longer than 20000 characters")),
    ],
)
def test_lists(answer: str, texts: object) -> None:
    assert texts_of(answer) == texts


@given(st.text(max_size=60), st.text(max_size=60))
def test_rouge_l_is_a_likeness(one: str, other: str) -> None:
    left, right = words(one), words(other)
    assert rouge_l(left, right) == rouge_l(right, left)
    assert 0 <= rouge_l(left, right) <= 1
    assert rouge_l(left, left) == 1
