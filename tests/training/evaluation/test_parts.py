"""The pure parts: paired tests, thresholds, slices, texts and the error browser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from graduand.rollout.answers import tasks
from graduand.training.data.samples import Sample, of_text
from graduand.training.evaluation import browser, paired, slices, texts, threshold
from graduand.training.evaluation.neighbours import nearest


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_the_binomial_test_of_the_split_rows(rows: list[tuple[bool, bool]]) -> None:
    found = paired.mcnemar([a for a, _ in rows], [b for _, b in rows])
    split, least = found.first_only + found.second_only, min(found.first_only, found.second_only)
    assert found.p_value == pytest.approx(min(1.0, 2 * binom.cdf(least, split, 0.5)) if split else 1.0)
    mirrored = paired.mcnemar([b for _, b in rows], [a for a, _ in rows])
    assert (mirrored.difference, mirrored.p_value) == (-found.difference, pytest.approx(found.p_value))


def test_more_rows_show_smaller_differences() -> None:
    found = [paired.detectable(rows, 0.1) for rows in (100, 400, 1600)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(2 * found[1]) == pytest.approx(4 * found[2])


@given(st.lists(st.tuples(st.integers(0, 100).map(lambda n: n / 100), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_is_better(rows: list[tuple[float, bool]]) -> None:
    shares, positive = [a for a, _ in rows], [b for _, b in rows]

    def right(cut: float) -> int:
        return sum((share > cut) == wanted for share, wanted in rows)

    best = max(right(cut / 200) for cut in range(-1, 202))
    assert right(threshold.learn(shares, positive)) == best


def test_slices_need_rows_and_have_intervals() -> None:
    samples = [of_text(str(n), "x" * (n + 1), source="log" if n else None) for n in range(12)]
    found = {each["slice"]: each for each in slices.accuracies(samples, ["A"] * 11 + ["B"], [True] * 6 + [False] * 6)}
    assert found["gold: A"]["rows"] == 11
    assert "gold: B" not in found
    assert found["source: log"]["low"] < found["source: log"]["accuracy"] < found["source: log"]["high"]


def test_objects_by_schema_and_field() -> None:
    schema = {"type": "object", "required": ["queue"], "properties": {"urgent": {"type": "boolean"}}}
    task = tasks.read({"kind": "json", "fields": {"queue": "text", "urgent": "exact"}, "schema": schema})
    wanted = ['{"queue": "a", "urgent": true}'] * 4
    said = ['{"queue": "A", "urgent": true}', '{"queue": "b", "urgent": true}', '{"urgent": 1}', "sorry"]
    found = texts.of_objects(task, wanted, said)
    assert (found["accuracy"], found["adherence"]) == (0.25, 0.5)
    assert found["fields"] == {"queue": 0.25, "urgent": 0.5}


def test_rouge_of_equal_and_of_different_texts() -> None:
    assert texts.of_texts(["the cat sat"], ["the cat sat"])["rougeL"] == 1.0
    assert texts.of_texts(["the cat sat"], ["a dog ran"])["rouge1"] == 0.0


def test_the_page_escapes_what_comes_from_data() -> None:
    nasty = '<script>alert("x")</script>'
    each = browser.Mistake("<i>", nasty, nasty, nasty, nasty, 0.9, {nasty: nasty}, ((nasty, 0.5, nasty),))
    page = browser.page(nasty, [each], 3)
    assert nasty not in page
    assert page.count("&lt;script&gt;") >= 8
    assert "1 of 3 rows are wrong" in page


def test_the_surest_mistakes_come_first() -> None:
    made = [browser.Mistake(str(n), "t", f"text {n}", "A", "B", sure, {}) for n, sure in enumerate([0.2, None, 0.9])]
    page = browser.page("errors", made, 3)
    assert page.index("text 2") < page.index("text 0") < page.index("text 1")


def test_nearest_rows() -> None:
    known = [
        Sample(str(n), prompt=text) for n, text in enumerate(["a late parcel", "a wrong bill", "my parcel is late"])
    ]
    (found,) = nearest(["the parcel is late"], known, 2)
    assert [sample.id for sample, _ in found] == ["2", "0"]
    assert nearest(["x"], [], 2) == [[]]
