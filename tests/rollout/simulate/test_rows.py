"""Traffic as it is: what counts requests is fooled, what counts units, paths and cycles is not; and good students pass."""

import math

import numpy as np
import pytest

from graduand.rollout.ledger import Pair, start
from graduand.rollout.machine import decide
from graduand.rollout.simulate import bets, rows
from graduand.rollout.spec.file import read
from graduand.rollout.units import GAP_S
from tests.rollout.plays import Once, begin, good


def bar(p: float, runs: int) -> float:
    return 3 * math.sqrt(p * (1 - p) / runs)


def test_sessions_are_the_observation() -> None:
    runs = 200
    found = rows.sessions(np.random.default_rng(1), alike=0.3, runs=runs)
    assert found["before"] > 0.3
    assert found["after"] <= 0.05 + bar(0.05, runs)


def test_few_big_users_are_one_observation_each() -> None:
    runs = 150
    found = rows.big_users(np.random.default_rng(2), runs=runs)
    assert found["before"] > 0.2
    assert found["after"] <= 0.05 + bar(0.05, runs)


@pytest.mark.parametrize("a_day", [2000, 86_400])
@pytest.mark.parametrize("swing", [0.01, 0.03])
def test_a_rhythm_promotes_nobody_at_the_ends_of_days(a_day: int, swing: float) -> None:
    runs = 300
    found = rows.days(np.random.default_rng(3), a_day=a_day, swing=swing, runs=runs)
    assert found["promoted"] <= 0.05 + bar(0.05, runs)


def test_a_rhythm_fools_whoever_looks_every_hour() -> None:
    assert rows.hourly(np.random.default_rng(4), a_day=2000, swing=0.03, runs=100) > 0.3


@pytest.mark.parametrize("apart", [0.002, 0.005, 0.01])
def test_days_that_differ_promote_seldom(apart: float) -> None:
    runs = 500
    found = rows.days(np.random.default_rng(5), a_day=20_000, apart=apart, runs=runs)
    assert found["promoted"] <= 0.05 + bar(0.05, runs)
    assert found["held"] > (0.1 if apart < 0.005 else 0.5)


def test_a_good_student_passes_after_the_first_days_that_may_be_looked_at() -> None:
    found = rows.days(np.random.default_rng(6), a_day=2000, mean=0.97, swing=0.01, runs=200)
    assert found["promoted"] > 0.9
    assert found["days"] <= 3


def test_failures_of_equal_arms_and_of_a_worse_student() -> None:
    rng, runs = np.random.default_rng(7), 60
    equal = rows.failures(rng, student=0.02, teacher=0.02, users=1000, runs=runs)
    worse = rows.failures(rng, student=0.025, teacher=0.005, users=1000, runs=20)
    assert equal["first"] <= 0.005 + bar(0.005, runs)
    assert worse["first"] > 0.9


def test_ten_tries_have_one_alpha() -> None:
    runs = 150
    found = rows.retries(np.random.default_rng(8), runs=runs)
    assert found["after"] <= 0.05 + bar(0.05, runs)
    assert found["before"] > found["after"]


def test_the_quick_form_is_ledger_and_machine() -> None:
    """Sessions through the product's own ledger give the evidence of their means, and promote where that does."""
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": [{"shadow": {"pairs": 1}}, "full"], "cycle": "none"})
    state = decide(begin(spec), good(begin(spec), 0.0), 0.0).state
    means, agreed = rows.session_means(np.random.default_rng(9), 2, 40, 5, 0.3, 0.97)
    for run in range(2):
        ledger, once = start(state), Once()
        for session in range(40):
            for turn in range(5):
                at = session * 10.0 + turn
                ledger.pair(Pair(at, bool(agreed[run, session * 5 + turn]), unit=session), once)
        ledger.cut_s = math.inf
        ledger.tick(400.0 + GAP_S, once)
        assert ledger.course is not None
        proof = ledger.course.proofs["agreement"]
        # Those that were open when the step was first looked at are cut there, once.
        assert 40 <= proof.n <= 55
        logs = bets.log_evidence(means[run : run + 1], 0.95)[0, -1]
        assert abs(proof.log_e - logs) < 1.5
