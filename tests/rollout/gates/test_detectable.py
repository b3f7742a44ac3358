"""What would have been found: checked against the gate itself, by simulation in which it could fail."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.detectable import detectable
from graduand.rollout.simulate.bets import log_evidence

LOG_500 = math.log(500)


@pytest.mark.parametrize(("n", "bound"), [(60, 0.1), (300, 0.1), (2000, 0.05)])
def test_a_harm_of_that_size_is_found_about_eight_times_in_ten(n: int, bound: float) -> None:
    share = detectable(n, bound, LOG_500)
    assert share is not None
    wrong = (np.random.default_rng(n).random((400, n)) < share).astype(float)
    found = (log_evidence(wrong, bound)[:, -1] >= LOG_500).mean()
    assert 0.7 <= found <= 0.95


@given(st.integers(1, 5000), st.floats(0.01, 0.6))
def test_more_observations_find_less_harm(n: int, bound: float) -> None:
    one, more = detectable(n, bound, LOG_500), detectable(2 * n, bound, LOG_500)
    assert one is None or (more is not None and bound < more <= one)


def test_independent_answers_count_as_many_as_there_are() -> None:
    gate = ConstantBets(0.9)
    for at in range(400):
        gate.update(float(at % 20 != 0))
    assert gate.independent == pytest.approx(400, rel=0.01)
    sessions = ConstantBets(0.9)
    for at in range(400):
        sessions.update(0.95 if at % 2 else 0.85)
    assert sessions.independent > 400
