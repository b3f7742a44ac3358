"""Near-duplicates: planted ones are found, pairs are as similar as they claim, groups are a partition."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.rollout.answers.spelling import identity
from graduand.training.data.near import Groups, Index, jaccard, near_pairs, shingles, template, template_text

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "seven", "wizards", "brew", "tea", "at"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=12).map(" ".join)


def long_text(seed: int) -> str:
    source = random.Random(seed)
    return " ".join("".join(source.choices(string.ascii_lowercase, k=6)) for _ in range(60))


@pytest.mark.parametrize("change", [str.upper, lambda text: f"  {text}!!\n", lambda text: text[:-3] + "xyz"])
def test_planted_duplicates_are_found(change: object) -> None:
    texts = [long_text(seed) for seed in range(50)]
    texts.append(change(texts[17]))  # type: ignore[operator]
    assert [(pair.one, pair.other) for pair in near_pairs(texts, 0.8)] == [(17, 50)]


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, max_size=12))
def test_pairs_are_as_similar_as_they_claim_and_equal_texts_are_always_joined(texts: list[str]) -> None:
    groups = Groups(len(texts))
    for pair in near_pairs(texts, 0.7):
        assert pair.one < pair.other
        assert pair.similarity == jaccard(shingles(texts[pair.one]), shingles(texts[pair.other])) >= 0.7
        groups.join(pair.one, pair.other)
    for one, left in enumerate(texts):
        for other, right in enumerate(texts):
            if identity(left) == identity(right):
                assert groups.of(one) == groups.of(other)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
    )
)
def test_groups_are_the_connected_parts(case: tuple[int, list[tuple[int, int]]]) -> None:
    count, joins = case
    groups = Groups(count)
    for one, other in joins:
        groups.join(one, other)
    parts = groups.all()
    assert sorted(place for part in parts for place in part) == list(range(count))
    where = {place: number for number, part in enumerate(parts) for place in part}
    assert all(where[one] == where[other] for one, other in joins)
    assert len(parts) >= count - len(joins)


def test_an_index_finds_without_keeping() -> None:
    index = Index(0.8)
    index.add(long_text(1))
    assert [pair.one for pair in index.similar(long_text(1).upper())] == [0]
    assert index.similar(long_text(2)) == []
    assert len(index) == 1


def test_texts_without_words_and_short_ones() -> None:
    assert [pair.other for pair in near_pairs(["", "ok", "OK.", "!!!", "???"], 0.8)] == [2]


def ticket(number: int) -> str:
    return f"{TEMPLATE}\nTicket: {long_text(number)[:200]}"


TEMPLATE = "You sort tickets. " + long_text(999)


def test_what_nearly_all_texts_share_makes_none_like_another() -> None:
    texts = [ticket(number) for number in range(60)]
    texts.append(ticket(7).replace("Ticket: ", "Ticket:  ") + "!")
    assert [(pair.one, pair.other) for pair in near_pairs(texts, 0.8)] == [(7, 60)]
    shared = template([shingles(text) for text in texts])
    assert template_text(texts[0], shared).startswith("you sort tickets ")
    assert long_text(0)[:50] not in template_text(texts[0], shared)


def test_few_texts_or_a_turn_of_phrase_are_no_template() -> None:
    few = [ticket(number) for number in range(10)]
    assert template([shingles(text) for text in few]).size == 0
    phrase = [f"please help: {long_text(number)}" for number in range(60)]
    assert template([shingles(text) for text in phrase]).size == 0
    same = [TEMPLATE] * 30
    assert [pair.one for pair in near_pairs(same, 0.8)] == [0] * 29
