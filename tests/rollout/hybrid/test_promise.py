"""The watch over a proved cut: found when it breaks, in a class too, and quiet when it holds."""

import json
import math

import numpy as np
import pytest

from graduand.rollout.hybrid.promise import Promise, promise_from_dict
from tests.rollout.hybrid.worlds import shares


def broken_after(rng: np.random.Generator, wrong: float, most: int, healthy: int = 0) -> float:
    """Audits until the promise of .05 is seen to be broken; infinity if it is not."""
    promise = Promise(0.05, 0.1, [])
    for n in range(healthy + most):
        promise.update(bool(rng.random() >= (wrong if n >= healthy else 0.02)), [])
        if promise.broken() is not None:
            return n + 1 - healthy
    return math.inf


def test_a_promise_that_is_just_kept_is_seldom_withdrawn() -> None:
    assert shares(400, lambda rng: broken_after(rng, 0.05, 1500) < math.inf) <= 0.1


@pytest.mark.parametrize(("wrong", "most"), [(0.15, 150), (0.3, 40), (1.0, 8)])
def test_a_promise_that_breaks_is_withdrawn(wrong: float, most: int) -> None:
    delays = [broken_after(np.random.default_rng(seed), wrong, 5000, healthy=200) for seed in range(60)]
    assert 1 <= np.median(delays) <= most


def test_a_class_is_watched_of_its_own() -> None:
    """A tenth is of the class, and of that a third is wrong: 3.3% of all, which alone would be within the promise."""
    rng = np.random.default_rng(3)
    promise = Promise(0.05, 0.1, ["teacher: 1", "teacher: 0"])
    n = 0
    while promise.broken() is None:
        n += 1
        rare = rng.random() < 0.1
        promise.update(bool(not rare or rng.random() >= 0.33), [f"teacher: {int(rare)}"])
    assert promise.broken() == "teacher: 1"
    assert n < 600


def test_it_comes_back_from_plain_data_bit_by_bit() -> None:
    promise = Promise(0.05, 0.1, ["student: a"])
    for n in range(50):
        promise.update(n % 7 != 0, ["student: a"] if n % 2 else [])
    again = promise_from_dict(json.loads(json.dumps(promise.to_dict())))
    for one in (promise, again):
        one.update(False, ["student: a"])
    assert again == promise
