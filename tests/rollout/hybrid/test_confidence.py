"""Confidence, calibration and curves."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.hybrid import HybridError
from graduand.rollout.hybrid.calibration import fit_logistic
from graduand.rollout.hybrid.confidence import features, value_tokens
from graduand.rollout.hybrid.curve import curve


def token(text: str, *logs: float) -> dict[str, Any]:
    return {"token": text, "logprob": logs[0], "top_logprobs": [{"token": "?", "logprob": log} for log in logs]}


def test_features_look_at_values_only() -> None:
    sure = [token(text, -0.001, -9.0) for text in ('{"', "is", "_bad", '":', " ")]
    found = features([*sure, token("0", -0.5, -1.0), token("}", -0.001, -9.0)])
    assert found is not None
    assert found.vector() == pytest.approx([0.5, 0.5, 0.5, -0.5])


def test_first_and_least_margin_differ() -> None:
    found = features([token("tox", -0.2, -3.2), token("ic", -0.1, -0.3)])
    assert found is not None
    assert (found.first_margin, found.min_margin, found.mean_margin) == pytest.approx((3.0, 0.2, 1.6))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        [{"token": "a", "logprob": -0.1, "top_logprobs": []}],
        [{"token": "a", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}]}],
        [{"token": "a", "logprob": None, "top_logprobs": [{"logprob": -0.1}, {"logprob": -3}]}],
        [{"token": "a", "logprob": math.nan, "top_logprobs": [{"logprob": -0.1}, {"logprob": -3}]}],
        [token("}", -0.1, -2.0)],
        [{}],
    ],
)
def test_without_usable_logprobs_there_are_no_features(content: Any) -> None:
    assert features(content) is None


def test_minus_infinity_is_floored() -> None:
    found = features([token("a", -0.0, -math.inf)])
    assert found is not None
    assert found.first_margin == 50.0


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": "x,y", "b": 2}', "xy2"),
        ('{"a": {"b": true}, "c": [1, 2]}', "true12"),
        ('{"a":"say \\"hi: you\\"","b":0}', "sayhiyou0"),
        ("not toxic", "nottoxic"),
        ('{"time": "10:30"}', "1030"),
    ],
)
def test_value_characters(text: str, values: str) -> None:
    places = value_tokens(list(text))
    assert "".join(text[place] for place in places if text[place].isalnum()) == values


@given(st.lists(st.text(max_size=6), max_size=20))
def test_value_tokens_are_positions(tokens: list[str]) -> None:
    places = value_tokens(tokens)
    assert places == sorted(set(places))
    assert all(0 <= place < len(tokens) for place in places)


def test_logistic_finds_the_slope_it_was_given() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 2))
    agreed = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + 2 * rows[:, 0] - rows[:, 1])))
    fit = fit_logistic(rows, agreed)
    slopes = np.array(fit.weights) / np.array(fit.scales)
    assert slopes == pytest.approx([2, -1], abs=0.1)


@pytest.mark.parametrize("agreed", [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
def test_logistic_survives_one_class_and_separation(agreed: list[int]) -> None:
    scores = fit_logistic([[0.0], [1.0], [2.0], [3.0]], agreed)([[0.0], [3.0], [1e6]])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("rows", [[[1.0]], [[1.0], [math.nan]], [[1.0], [2.0], [3.0]]])
def test_unusable_fits_are_refused(rows: list[list[float]]) -> None:
    with pytest.raises(HybridError):
        fit_logistic(rows, [1, 0])


def test_curve_from_nothing_to_everything() -> None:
    right = np.array([1, 1, 1, 0, 0.0])
    found = curve([0.9, 0.8, 0.7, 0.2, 0.1], 1 - right, right, np.ones(5))
    assert [point.share for point in found.points] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert [point.disagreement for point in found.points] == pytest.approx([0, 0, 0, 0, 0.25, 0.4])
    assert [point.pgr for point in found.points] == pytest.approx([1, 1, 1, 1, 0.5, 0])
    assert found.apgr == pytest.approx(0.8)
    assert found.cpt(1.0) == pytest.approx(0.4)
    assert found.cpt(0.5) == pytest.approx(0.2)
    assert (found.weak, found.strong) == (0.6, 1.0)
    assert found.at_share(0.5).share in (pytest.approx(0.4), pytest.approx(0.6))


def test_equal_scores_move_together_and_equal_models_have_no_gap() -> None:
    found = curve([0.5, 0.5, 0.5], [0, 1, 0], [1, 1, 1], [1, 1, 1])
    assert [point.share for point in found.points] == [0, 1]
    assert (found.apgr, found.points[0].pgr, found.cpt(0.5)) == (None, None, None)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_random_curves_end_at_the_student_alone(rows: list[tuple[float, bool]]) -> None:
    scores, agreed = [score for score, _ in rows], np.array([same for _, same in rows], dtype=float)
    found = curve(scores, 1 - agreed, agreed, np.ones(len(rows)))
    last = found.points[-1]
    assert (last.share, last.quality) == (1.0, pytest.approx(found.weak))
    assert last.disagreement == pytest.approx(1 - agreed.mean())


@pytest.mark.parametrize("bad", [([], [], [], []), ([math.nan], [0], [1], [1]), ([0.5], [0, 1], [1], [1])])
def test_curves_need_whole_rows(bad: tuple[list[float], ...]) -> None:
    with pytest.raises(HybridError):
        curve(*bad)
