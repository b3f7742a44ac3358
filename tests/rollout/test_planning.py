"""Exact probabilities of certifying, against brute force and research's reference values."""

import itertools
import math

import numpy as np
import pytest

from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.planning import boundary, crossing, log_evidence, pairs_needed


@pytest.mark.parametrize(("true", "median"), [(0.97, 600), (0.98, 244), (0.99, 134)])
def test_median_pairs_to_certify(true: float, median: int) -> None:
    assert pairs_needed(0.95, true) == median


def test_boundary_is_where_the_evidence_crosses() -> None:
    most = boundary(0.9, math.log(20), 400)
    for n in range(1, 401):
        certifies = [f for f in range(min(n, 40) + 1) if log_evidence(n - f, f, 0.9) >= math.log(20)]
        assert most[n - 1] == max(certifies, default=-1)


def test_the_evidence_of_counts_is_the_gate_s() -> None:
    gate = ConstantBets(0.9)
    for at in range(50):
        gate.update(float(at % 7 != 0))
    assert log_evidence(42, 8, 0.9) == pytest.approx(gate.log_e)


def test_crossing_against_all_paths() -> None:
    most, p = boundary(0.3, math.log(5), 12), 0.6
    brute = np.zeros(12)
    for path in itertools.product([True, False], repeat=12):
        failures = np.cumsum([not agreed for agreed in path])
        crossed = np.flatnonzero(failures <= most)
        if len(crossed):
            brute[crossed[0]] += p ** sum(path) * (1 - p) ** (12 - sum(path))
    assert crossing(p, most) == pytest.approx(brute)


@pytest.mark.parametrize(("p0", "alpha"), [(0.95, 0.05), (0.8, 0.01), (0.99, 0.1), (0.5, 0.05)])
def test_false_promotion_is_exactly_within_alpha(p0: float, alpha: float) -> None:
    """No simulation, no error bars: the probability that 5,000 looks ever certify at the boundary."""
    assert crossing(p0, boundary(p0, -math.log(alpha), 5000)).sum() <= alpha


def test_what_can_never_certify_has_no_number() -> None:
    assert pairs_needed(0.95, 0.95) is None
    assert pairs_needed(0.95, 0.9501, at_most=1024) is None
