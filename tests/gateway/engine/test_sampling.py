import math

import pytest
import torch

from graduand.gateway.engine.sampling import Sampler, Sampling

LOGITS = torch.tensor([0.0, 3.0, 2.0, 1.0])


def picks(sampling: Sampling, count: int = 40, index: int = 0) -> list[int]:
    sampler = Sampler(sampling, index)
    return [sampler.pick(LOGITS).token for _ in range(count)]


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"temperature": 0.0}, {1}),
        ({"temperature": 1e-9}, {1}),
        ({"top_p": 0.1}, {1}),
        ({"top_p": 0.7}, {1, 2}),
        ({"top_k": 1}, {1}),
        ({"top_k": 2, "top_p": 0.99}, {1, 2}),
        ({"temperature": 2.0}, {0, 1, 2, 3}),
        ({"temperature": 0.0, "logit_bias": {3: 5.0}}, {3}),
    ],
)
def test_picks_only_from_what_is_left(options: dict[str, object], allowed: set[int]) -> None:
    assert set(picks(Sampling(max_tokens=1, seed=1, **options), 300)) == allowed


def test_a_seed_fixes_the_tokens_of_each_choice() -> None:
    seeded = Sampling(max_tokens=1, temperature=1.5, seed=7, n=2)
    assert picks(seeded) == picks(seeded)
    assert picks(seeded) != picks(seeded, index=1)
    assert picks(seeded) != picks(Sampling(max_tokens=1, temperature=1.5, seed=8))
    unseeded = Sampling(max_tokens=1, temperature=1.5)
    assert picks(unseeded, 60) != picks(unseeded, 60)


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_penalties_count_what_was_generated(penalty: str) -> None:
    assert picks(Sampling(max_tokens=1, temperature=0.0, **{penalty: 1.5}), 2) == [1, 2]


def test_logprobs_are_those_of_the_model() -> None:
    sampling = Sampling(max_tokens=1, temperature=0.0, logprobs=2, logit_bias={0: 9.0})
    pick = Sampler(sampling, 0).pick(LOGITS)
    expected = torch.log_softmax(LOGITS, -1)
    assert [token for token, _ in pick.top] == [0, 1, 2], "the chosen token first, then the likeliest"
    assert pick.logprob == pytest.approx(float(expected[0]))
    assert [value for _, value in pick.top] == pytest.approx([float(expected[token]) for token in (0, 1, 2)])
    assert not math.isnan(pick.logprob)
    assert Sampler(Sampling(max_tokens=1, temperature=0.0), 0).pick(LOGITS).logprob is None
