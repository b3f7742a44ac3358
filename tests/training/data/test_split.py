"""Splits: a partition that no group crosses, exact sizes, the same whatever the order; leaks are caught and named."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.cli import main
from graduand.training.data.frozen import read_frozen
from graduand.training.data.leaks import leaks
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, of_text, read_samples, write_samples
from graduand.training.data.split import JOINS, TRAIN, Sizes, around, conversation_of, grouped, split

USERS = [None, "ann", "bob", "eve"]
NOUNS = ["parcel", "invoice", "refund", "login", "router", "cable", "contract", "password", "delivery", "account"]


def text_of(number: int) -> str:
    source = random.Random(number)
    return " ".join(source.choice(NOUNS) + str(source.randrange(10_000)) for _ in range(8))


def samples_of(count: int, users: int = 0) -> list[Sample]:
    return [
        of_text(f"s{n}", text_of(n), gold="ab"[n % 4 == 0], user=f"u{n % users}" if users else None)
        for n in range(count)
    ]


def gold(samples: list[Sample]) -> list[str]:
    return [str(sample.gold) for sample in samples]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(USERS), st.sampled_from([None, "c1", "c2"]), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 5),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_no_group_is_in_two_parts(
    drawn: list[tuple[int, str | None, str | None, bool]], indist: int, per_label: int, shuffler: random.Random
) -> None:
    samples = [
        of_text(f"s{n}", text_of(text), user=user, conversation=talk, gold="ab"[label])
        for n, (text, user, talk, label) in enumerate(drawn)
    ]
    try:
        made = split(samples, gold(samples), Sizes(indist, per_label, 1), 3, JOINS, 0.8)
    except DataError as error:
        assert "more rows of" in str(error)  # said, not filled with less
        return
    where = {sample.id: name for name, part in made.parts.items() for sample in part}
    assert len(where) == sum(map(len, made.parts.values())) == len(samples)
    for group in grouped(samples, JOINS, 0.8):
        assert len({where[samples[place].id] for place in group}) == 1
    assert len(made.parts.get("test.indist", [])) == indist
    for name in made.parts:
        if name != TRAIN:
            assert leaks(made.parts[TRAIN], made.parts[name], 0.8) == []
    mixed = samples[:]
    shuffler.shuffle(mixed)
    assert split(mixed, gold(mixed), Sizes(indist, per_label, 1), 3, JOINS, 0.8).parts == made.parts


def test_sizes_balance_and_seed() -> None:
    samples = samples_of(200)
    made = split(samples, gold(samples), Sizes(30, 10, 20), 0, JOINS, 0.8)
    assert {name: len(part) for name, part in made.parts.items()} == {
        "test.indist": 30, "test.balanced": 20, "valid": 20, "train": 130,
    }  # fmt: skip
    assert sorted(gold(made.parts["test.balanced"])) == ["a"] * 10 + ["b"] * 10
    assert split(samples, gold(samples), Sizes(30, 10, 20), 1, JOINS, 0.8).parts != made.parts


def test_a_power_user_stays_in_training_and_is_not_cut() -> None:
    samples = [*samples_of(100), *(of_text(f"p{n}", text_of(1000 + n), gold="a", user="power") for n in range(50))]
    made = split(samples, gold(samples), Sizes(40, 5), 0, JOINS, 0.8)
    assert sum(sample.user == "power" for sample in made.parts[TRAIN]) == 50
    assert made.largest_group == 50


def test_too_few_rows_are_said() -> None:
    with pytest.raises(DataError, match=r"test\.balanced needs 5 more rows of b"):
        split(samples_of(20), gold(samples_of(20)), Sizes(0, 10), 0, JOINS, 0.8)


def test_turns_of_a_conversation_belong_together() -> None:
    first = ({"role": "user", "content": "My parcel is lost"},)
    later = (*first, {"role": "assistant", "content": "Which one?"}, {"role": "user", "content": "The red one"})
    one, two = Sample("1", messages=first), Sample("2", messages=later)
    assert conversation_of(one) == conversation_of(two) != conversation_of(Sample("3", prompt="My parcel is lost"))
    assert grouped([one, two], JOINS, 0.8) == [[0, 1]]


def test_a_paraphrase_stays_with_its_original() -> None:
    samples = [*samples_of(10), of_text("p", "other words", notes={"paraphrase_of": "s4"})]
    assert [4, 10] in grouped(samples, (), 0.8)


LEAKS = [
    (of_text("s3", "something else"), "same id"),
    (of_text("x", f" {text_of(3).upper()}\n"), "same text"),
    (of_text("x", text_of(3).upper() + "!"), "near-duplicate, 1.00"),
    (of_text("x", text_of(3)[:-2] + "77"), "near-duplicate"),
    (of_text("x", "nothing alike", notes={"paraphrase_of": "s3"}), "its paraphrase"),
    (of_text("x", "nothing alike", user="ann"), "same user"),
    (of_text("x", "nothing alike", conversation="talk"), "same conversation"),
]


@pytest.mark.parametrize(("planted", "why"), LEAKS, ids=[why for _, why in LEAKS])
def test_a_planted_leak_is_caught(planted: Sample, why: str) -> None:
    test = [*samples_of(20)]
    test[3] = of_text("s3", text_of(3), user="ann", conversation="talk")
    clean = [of_text(f"t{n}", text_of(500 + n)) for n in range(20)]
    assert leaks(clean, test, 0.8) == []
    (found,) = leaks([*clean, planted], test, 0.8)
    assert (found.train, found.test) == (planted.id, "s3")
    assert found.why.startswith(why)


def test_frozen_sets_stay_while_the_data_grows() -> None:
    samples = samples_of(100)
    made = split(samples, gold(samples), Sizes(20, 5), 0, JOINS, 0.8)
    tests = {name: part for name, part in made.parts.items() if name != TRAIN}
    copied = of_text("new", tests["test.indist"][0].text)
    fresh = [of_text(f"f{n}", text_of(900 + n)) for n in range(10)]
    free, touched = around([*samples, copied, *fresh], tests, JOINS, 0.8)
    assert {sample.id for sample in free} == {sample.id for sample in [*made.parts[TRAIN], *fresh]}
    assert "new" in touched


def run_split(tmp_path: Path, *more: str) -> int:
    command = ["train", "split", "--data", str(tmp_path / "rows.jsonl"), "--task", "{labels: [a, b]}"]
    return main([*command, "--indist", "20", "--per-label", "6", "--out", str(tmp_path / "runs"), *more])


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", samples_of(120, users=60))
    assert run_split(tmp_path, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["parts"] == {"test.indist": 20, "test.balanced": 12, "train": 88}
    folder = Path(figures["path"])
    tests = read_frozen(folder)
    assert "test.balanced" in (folder / "report.md").read_text()
    check = ["train", "leaks", "--tests", str(folder), "--data"]
    assert main([*check, str(folder / "train.jsonl")]) == 0
    assert "no leaks: 88 training rows" in capsys.readouterr().out
    leaky = [*read_samples(folder / "train.jsonl"), of_text("planted", tests["test.indist"][4].text)]
    write_samples(tmp_path / "leaky.jsonl", leaky)
    assert main([*check, str(tmp_path / "leaky.jsonl")]) == 1
    out = capsys.readouterr()
    assert f"planted ~ {tests['test.indist'][4].id} in test.indist (same text)" in out.out
    assert "1 training rows leak: planted" in out.err


def test_growth_by_command_keeps_the_test_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", samples_of(120))
    assert run_split(tmp_path) == 0
    old = (tmp_path / "runs" / "split").resolve()
    write_samples(tmp_path / "rows.jsonl", samples_of(200))
    assert run_split(tmp_path, "--keep", str(old)) == 0
    new = (tmp_path / "runs" / "split").resolve()
    assert new != old
    assert read_frozen(new) == read_frozen(old)
    assert len(read_samples(new / "train.jsonl")) == 168
    (old / "test.indist.jsonl").write_text((old / "test.indist.jsonl").read_text().replace("parcel", "Parcel"))
    assert run_split(tmp_path, "--keep", str(old), "--seed", "4") == 1
    assert "is not the test set that was frozen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--join", "users"], "--join: 'users' is not known. Did you mean 'user'"),
        (["--task", "{labels: [a]}"], "two labels or more"),
        (["--task", "{kind: text}"], "needs labels"),
        (["--task", "nowhere.yaml"], "cannot read the task"),
        (["--data", "nowhere.jsonl"], "does not exist"),
    ],
)
def test_mistakes(tmp_path: Path, more: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path / "rows.jsonl", samples_of(40))
    assert run_split(tmp_path, *more) == 2
    assert complaint in capsys.readouterr().err
