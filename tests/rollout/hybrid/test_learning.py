"""A threshold as it is learnt, stored and applied."""

import json
import random
from typing import Any

import pytest

from graduand.rollout.hybrid.learning import halves, learn_threshold, pairs_for
from graduand.rollout.hybrid.scorer import scorer_from_dict, vector_of
from graduand.rollout.hybrid.threshold import NoThreshold

Sample = tuple[list[float], bool]
WITH = {"tries": 0, "risk": 0.05, "delta": 0.1, "adapter": "s@3f9c1a", "now": 100.0, "lifetime_s": 50.0}


def samples(count: int, seed: int = 3) -> list[Sample]:
    """Disagreement is likely where the margin is small."""
    rng = random.Random(seed)
    margins = [rng.uniform(0, 6) for _ in range(count)]
    return [([m, m, m, -0.1], rng.random() < max(0.0, 0.6 - m / 1.5)) for m in margins]


def answer(*margins: float) -> dict[str, Any]:
    content = [
        {"token": "yes", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -0.1 - margin}]}
        for margin in margins
    ]
    return {"choices": [{"logprobs": {"content": content}}]}


def test_what_is_learnt_is_applied_until_it_expires() -> None:
    found = learn_threshold(samples(800), **WITH)  # type: ignore[arg-type]
    assert not isinstance(found, NoThreshold)
    scorer = scorer_from_dict(json.loads(json.dumps(found)))
    assert scorer.confident(answer(5.5), now=120.0)
    assert not scorer.confident(answer(0.1), now=120.0)
    assert not scorer.confident(answer(5.5), now=150.0)  # expired
    assert not scorer.confident({}, now=120.0)


def test_each_try_asks_for_more() -> None:
    first, second = (
        learn_threshold(samples(800), **{**WITH, "tries": tries})  # type: ignore[arg-type]
        for tries in (0, 4)
    )
    assert not isinstance(first, NoThreshold)
    assert not isinstance(second, NoThreshold)
    assert second["threshold"]["delta"] == first["threshold"]["delta"] / 16
    assert second["threshold"]["coverage"] <= first["threshold"]["coverage"]
    assert [pairs_for(tries) for tries in range(3)] == [200, 400, 800]


def test_a_student_that_is_never_good_enough_gets_none() -> None:
    rng = random.Random(1)
    hopeless = [([rng.uniform(0, 6)] * 4, rng.random() < 0.3) for _ in range(400)]
    assert isinstance(learn_threshold(hopeless, **WITH), NoThreshold)  # type: ignore[arg-type]
    assert isinstance(learn_threshold([], **WITH), NoThreshold)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "strange",
    [
        {}, {"choices": None}, {"choices": []}, {"choices": [7]}, {"choices": [{}]}, {"choices": [{"logprobs": 3}]},
        {"choices": [{"logprobs": {"content": 3}}]}, {"choices": [{"logprobs": {"content": [3]}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": []}}]},
        {"choices": [{}, {}]},
        {"choices": [{**answer(5.0)["choices"][0], "message": {"tool_calls": [{}]}}]},
    ],
)  # fmt: skip
def test_strange_answers_have_no_features(strange: dict[str, object]) -> None:
    assert vector_of(strange) is None


def test_completions_have_another_shape() -> None:
    logprobs = {"tokens": ["yes"], "token_logprobs": [-0.1], "top_logprobs": [{"yes": -0.1, "no": -2.1}]}
    assert vector_of({"choices": [{"logprobs": logprobs}]}) == pytest.approx([2.0, 2.0, 2.0, -0.1])


def test_traffic_with_a_rhythm_proves_nothing_that_is_not_so() -> None:
    # Half of what it is unsure of is wrong, and all of that comes at even places.
    margins = [0.2 if place % 5 == 0 else 6.0 for place in range(800)]
    rhythm = [([margin] * 4, place % 10 == 0) for place, margin in enumerate(margins)]
    found = learn_threshold(rhythm, **WITH)  # type: ignore[arg-type]
    assert not isinstance(found, NoThreshold)
    assert 0.75 < found["threshold"]["coverage"] < 0.85  # the sure ones, and only they
    assert not scorer_from_dict(found).confident(answer(0.2), now=120.0)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 200])
def test_halves(count: int) -> None:
    one, other = halves(range(count))
    assert sorted([*one, *other]) == list(range(count))
    assert len(one) - len(other) in (0, 1)
    assert (one, other) == halves(range(count))
