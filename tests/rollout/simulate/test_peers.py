"""Our gate keeps its alpha where rules that reckon with independent requests do not, and finds what they find."""

import numpy as np
import pytest

from graduand.rollout.simulate import peers


@pytest.mark.parametrize(
    ("rule", "least", "most"), [("ours", 0, 0.1), ("mSPRT", 0.2, 0.7), ("repeated threshold", 0.9, 1)]
)
def test_bursts_of_equal_failures(rule: str, least: float, most: float) -> None:
    rng = np.random.default_rng(5)
    found = np.mean([peers.RULES[rule](*peers.stream(rng, 0.02, 0.02, 1000, 20)) for _ in range(60)])
    assert least <= found <= most


def test_twice_the_failures_are_found() -> None:
    rng = np.random.default_rng(6)
    assert np.mean([peers.graduand(*peers.stream(rng, 0.04, 0.02, 1000, 5)) for _ in range(20)]) >= 0.9


def test_growthbooks_own_package_agrees_with_msprt_on_what_is_plain() -> None:
    pytest.importorskip("gbstats", reason="gbstats is not installed")
    rng = np.random.default_rng(7)
    assert peers.growthbook(*peers.stream(rng, 0.08, 0.02, 20_000, 1))
    assert not peers.growthbook(*peers.stream(rng, 0.02, 0.02, 20_000, 1))
