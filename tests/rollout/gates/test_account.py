"""All students of a route together have one alpha."""

import math

import numpy as np
import pytest

from graduand.rollout.gates import GateError
from graduand.rollout.gates.account import draw, weight


def test_the_shares_sum_to_one() -> None:
    assert math.fsum(weight(k) for k in range(1, 200_000)) == pytest.approx(1, abs=1e-5)


def test_numbers_begin_with_one() -> None:
    with pytest.raises(GateError):
        weight(0)


def evidence(rng: np.random.Generator, size: int) -> np.ndarray:
    """E of students at the bound: the largest value of a fair game, whose tail is exactly 1 / e."""
    return 1 / rng.random(size)


def test_however_many_are_tried_seldom_any_is_promoted_falsely() -> None:
    rng, runs, alpha, one_alpha = np.random.default_rng(1), 2000, 0.05, 0
    false = 0
    for _ in range(runs):
        es = evidence(rng, 40)
        false += any(es[k] >= 1 / (alpha * draw([False] * k).share) for k in range(40))
        one_alpha += bool((es >= 1 / alpha).any())
    assert false / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)
    assert one_alpha / runs > 0.5  # what an alpha for each would do


def test_the_share_of_false_ones_is_kept_where_that_is_asked_for() -> None:
    """Half of the students are good and always proved."""
    rng, runs, alpha, shares = np.random.default_rng(2), 800, 0.2, []
    for _ in range(runs):
        promoted: list[bool] = []
        wrong = 0
        for k in range(30):
            certified = k % 2 == 0 or 1 / rng.random() >= 1 / (alpha * draw(promoted, "share").share)
            wrong += certified and k % 2 == 1
            promoted.append(certified)
        shares.append(wrong / max(1, sum(promoted)))
    assert np.mean(shares) <= alpha + 3 * np.std(shares) / math.sqrt(runs)
    assert draw([True] * 3, "share").log_more < draw([True] * 3).log_more
