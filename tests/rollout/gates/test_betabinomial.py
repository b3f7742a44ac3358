"""The mixture against numerical integration, at the extremes, and its band."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from graduand.rollout.gates import betabinomial

counts = st.integers(0, 2_000_000)
shares = st.floats(0.001, 0.999)


@pytest.mark.parametrize(("s", "f", "p0"), [(97, 3, 0.9), (10, 0, 0.95), (40, 60, 0.3), (5, 5, 0.5), (1, 0, 0.99)])
def test_evidence_is_the_average_likelihood_ratio(s: int, f: int, p0: float) -> None:
    def ratio(p: float) -> float:
        return math.exp(s * math.log(p / p0) + f * math.log((1 - p) / (1 - p0))) if p < 1 else float(f == 0) / p0**s

    average = integrate.quad(ratio, p0, 1)[0] / (1 - p0)
    assert betabinomial.log_evidence(s, f, p0) == pytest.approx(math.log(average), rel=1e-9)


@pytest.mark.parametrize(("s", "f", "p0"), [(500, 300, 0.95), (3000, 1500, 0.8), (10, 60, 0.9)])
def test_both_ways_of_computing_agree_where_both_work(s: int, f: int, p0: float) -> None:
    far = betabinomial._log_evidence_far_below(s, f, p0, 1.0, 1.0)
    assert far == pytest.approx(betabinomial.log_evidence(s, f, p0), abs=1e-9)


@given(counts, counts, shares)
def test_never_overflows(s: int, f: int, p0: float) -> None:
    assert math.isfinite(betabinomial.log_evidence(s, f, p0))


@given(st.integers(0, 400), st.integers(0, 400), shares)
def test_one_more_success_never_lowers_evidence(s: int, f: int, p0: float) -> None:
    assert betabinomial.log_evidence(s + 1, f, p0) >= betabinomial.log_evidence(s, f, p0) - 1e-9


@given(st.integers(0, 300), st.integers(0, 300), shares)
def test_expected_next_evidence_under_the_null_is_at_most_todays(s: int, f: int, p0: float) -> None:
    """The e-process property itself: at p = p0, E is a martingale."""
    now = betabinomial.log_evidence(s, f, p0)
    up, down = betabinomial.log_evidence(s + 1, f, p0), betabinomial.log_evidence(s, f + 1, p0)
    assert p0 * math.exp(up - now) + (1 - p0) * math.exp(down - now) == pytest.approx(1, abs=1e-6)


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_band_holds_the_point_estimate_and_agrees_with_the_evidence(s: int, f: int) -> None:
    low, high = betabinomial.band(s, f)
    assert 0 <= low <= high <= 1
    if s + f:
        assert low <= s / (s + f) <= high
    if low > 1e-6:
        assert betabinomial.log_evidence(s, f, low * 0.999) >= math.log(40) - 1e-6


def test_band_covers_at_all_times() -> None:
    """Seeded; looked at 40 times over 5,000 pairs: misses in at most alpha of the runs, plus four standard errors."""
    rng = np.random.default_rng(7)
    runs, p, alpha = 300, 0.95, 0.1
    looks = np.unique(np.geomspace(5, 5000, 40).astype(int))
    missed = 0
    for _ in range(runs):
        agreed = (rng.random(5000) < p).cumsum()
        bands = [betabinomial.band(int(agreed[n - 1]), int(n - agreed[n - 1]), alpha) for n in looks]
        missed += any(not low <= p <= high for low, high in bands)
    assert missed / runs <= alpha + 4 * math.sqrt(alpha * (1 - alpha) / runs)
