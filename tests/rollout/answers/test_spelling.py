"""One identity of texts: what may differ and what never does."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graduand.rollout.answers import tasks
from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.compare import compare, label_of
from graduand.rollout.answers.spelling import find, identity, plain
from graduand.training.data.near import jaccard, shingles

SAME = [
    ("Yes", "yes"), ("a  b", " A\tb\n"), ("e\u0301te\u0301", "\u00e9t\u00e9"), ("Stra\u00dfe", "STRASSE"),
    ("\ufeffyes", "yes"), ("a\u00a0b", "a b"), ("\u1100\u1161", "\uac00"), (1, "1"), (1.0, "1"), (True, "true"),
]  # fmt: skip
DIFFERENT = [
    ("-5", "5"), ("+5%", "-5%"), ("5%", "5"), ("$5", "5"), ("#1", "1"), ("C", "C++"), ("C", "C#"), ("C++", "C#"),
    (".NET", "NET"), ("\U0001f44d", "\U0001f44e"), (":)", ":("), (";)", ":)"), ("<3", "3"), ("a&b", "ab"),
    ("a/b", "a b"), ("~5", "5"), ("!x", "x"), ("\u0915\u093f", "\u0915\u0940"), ("\u0915\u093f", "\u0915"),
    ("\u0e01\u0e34", "\u0e01\u0e35"), ("\u0628\u064e", "\u0628\u064f"), ("n\u00e9", "ne"), ("x\u00b2", "x2"),
    ("1.5", "15"), ("1,5", "15"), ("-1", "1"), ("@a", "a"), ("a*", "a"), ("\u2191", "\u2193"), ("\u2713", "\u2717"),
    ("a=b", "a b"), ("\u00b0C", "C"), ("f(x)", "fx"), ("[]", "{}"), ("+", "-"), ("\u2605\u2605", "\u2605"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_may_differ(one: object, other: object) -> None:
    assert identity(one) == identity(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_meaning_is_never_removed(one: str, other: str) -> None:
    assert identity(one) != identity(other)
    assert plain(one) != plain(other)
    if not set(one + other) & set(".,;!"):  # near-duplicates may differ in what parts sentences
        assert jaccard(shingles(one), shingles(other)) < 1
    task = tasks.read({"kind": "label", "labels": [one, other]})
    assert (label_of(task, one), label_of(task, other)) == (Label(one), Label(other))
    assert compare(task, one, other).agreed is False
    fields = tasks.read({"kind": "json", "fields": {"v": "text"}})
    assert tasks.NORMALISERS["text"](one) != tasks.NORMALISERS["text"](other)
    assert fields.kind == "json"


AROUND = [
    '"{}"',
    "'{}'",
    "**{}**",
    "`{}`",
    "{}.",
    " {}!\n",
    "({})",
    "\u201c{}\u201d",
    "- {}",
    '"{}."',
    '**"{}"**.',
    "Answer: {}",
    "```\n{}\n```",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("label", ["billing", "C++", "not toxic", "\U0001f44d", "\u0915\u093f", "a-b"])
def test_what_is_put_around_an_answer_is_looked_through(label: str, around: str) -> None:
    task = tasks.read({"kind": "label", "labels": [label, "something else"]})
    assert label_of(task, around.format(label)) == Label(label)


def test_a_number_that_is_no_label_is_none() -> None:
    task = tasks.read({"kind": "label", "labels": [0, 1]})
    assert isinstance(label_of(task, "-1"), Unparsed)
    assert label_of(tasks.read({"kind": "label", "labels": [-1, 0, 1]}), "-1.") == Label("-1")


TEXTS = st.text(min_size=1, max_size=8).filter(lambda text: bool(identity(text)))


@given(TEXTS)
def test_both_are_at_rest(text: str) -> None:
    assert identity(identity(text)) == identity(text)
    assert plain(plain(text)) == plain(text) != ""
    assert identity(unicodedata.normalize("NFD", text)) == identity(text)


@given(
    st.lists(
        TEXTS | st.sampled_from([one for pair in DIFFERENT for one in pair]), min_size=2, max_size=6, unique_by=identity
    )
)
def test_each_label_is_itself_whatever_the_others_are(labels: list[str]) -> None:
    assume(not any(text.startswith(("```", "{")) for text in labels))
    known = {identity(label): label for label in labels}
    assert [find(known, label) for label in labels] == labels
    task = tasks.read({"kind": "label", "labels": labels})
    assert [label_of(task, label) for label in labels] == [Label(label) for label in labels]
