"""Mixtures of constant bets: reference values, fairness at every look, and what makes them differ from bets that follow."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates import GateError
from graduand.rollout.gates.constant_bets import SHARES, ConstantBets
from graduand.rollout.simulate import bets

LOG_20 = math.log(20)


def fed(gate: ConstantBets, xs: list[float], ps: list[float] | None = None) -> list[float]:
    out = []
    for at, x in enumerate(xs):
        gate.update(x, 1.0 if ps is None else ps[at])
        out.append(gate.log_e)
    return out


PAIRS = [0.0 if i % 40 == 7 else 1.0 for i in range(1200)]
SESSIONS = [1 - (i % 7 == 3) * 0.4 - (i % 31 == 5) * 0.5 for i in range(600)]
UNEVEN = [0.1 if i % 2 == 0 else 0.5 for i in range(600)]

REFERENCE = [
    (ConstantBets(0.95), PAIRS, None, {100: 0.06106, 400: 2.257538, 800: 5.115857, 1200: 8.111375}),
    (ConstantBets(0.90), SESSIONS, None, {100: 0.717679, 300: 2.512632, 600: 5.088931}),
    (ConstantBets(0.90, p_min=0.1), SESSIONS, UNEVEN, {100: 0.481868, 300: 1.939582, 600: 3.510965}),
]


@pytest.mark.parametrize(("gate", "xs", "ps", "known"), REFERENCE, ids=["pairs", "sessions", "drawn unevenly"])
def test_reference_values(gate: ConstantBets, xs: list[float], ps: list[float] | None, known: dict[int, float]) -> None:
    found = fed(ConstantBets(gate.p0, gate.harm, gate.p_min), xs, ps)
    assert {at: round(found[at - 1], 6) for at in known} == known


@given(st.floats(0.01, 0.99), st.floats(0, 1), st.booleans(), st.floats(0.05, 1))
def test_one_observation_is_fair_at_the_bound(p0: float, low: float, harm: bool, p: float) -> None:
    """Any two values whose mean is p0 leave the mean of E at 1, whatever was drawn with which probability."""
    low = low * p0
    high = min(1.0, p0 + (p0 - low))
    share = (p0 - low) / (high - low) if high > low else 0.0
    one, two = ConstantBets(p0, harm, p_min=0.05), ConstantBets(p0, harm, p_min=0.05)
    one.update(high, p)
    two.update(low, p)
    assert share * math.exp(one.log_e) + (1 - share) * math.exp(two.log_e) == pytest.approx(1, abs=1e-9)


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30), st.booleans())
def test_two_gates_added_are_one_that_saw_both(one: list[float], two: list[float], harm: bool) -> None:
    whole, parts = ConstantBets(0.8, harm), [ConstantBets(0.8, harm), ConstantBets(0.8, harm)]
    fed(whole, [*one, *two])
    for gate, xs in zip(parts, (one, two), strict=True):
        fed(gate, xs)
    parts[0].add(parts[1])
    assert parts[0].log_e == pytest.approx(whole.log_e, abs=1e-9)
    assert (parts[0].n, parts[0].mean) == (whole.n, pytest.approx(whole.mean))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(xs: list[float], rng: object) -> None:
    one, other = ConstantBets(0.7), ConstantBets(0.7)
    fed(one, xs)
    fed(other, sorted(xs))
    assert one.log_e == pytest.approx(other.log_e, abs=1e-9)


def test_harm_is_the_mirror() -> None:
    rng = np.random.default_rng(1)
    xs = rng.random(200).tolist()
    harm, mirrored = ConstantBets(0.6, harm=True), ConstantBets(0.4)
    fed(harm, xs)
    fed(mirrored, [1 - x for x in xs])
    assert harm.log_e == pytest.approx(mirrored.log_e)


def test_stored_it_is_the_same() -> None:
    gate = ConstantBets(0.9)
    fed(gate, SESSIONS[:50])
    again = ConstantBets(**json.loads(json.dumps(asdict(gate))))
    assert again == gate


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: ConstantBets(1.0), "p0"),
        (lambda: ConstantBets(0.5, p_min=0.0), "p_min"),
        (lambda: ConstantBets(0.5).update(1.1), "observation"),
        (lambda: ConstantBets(0.5).update(math.nan), "observation"),
        (lambda: ConstantBets(0.5, p_min=0.1).update(1.0, 0.05), "p must"),
        (lambda: ConstantBets(0.5).add(ConstantBets(0.6)), "same bets"),
    ],
)
def test_what_voids_the_claim_is_refused(make: object, why: str) -> None:
    with pytest.raises(GateError, match=why):
        make()  # type: ignore[operator]


def test_the_quick_form_is_the_gate() -> None:
    xs = np.random.default_rng(2).random((3, 200))
    quick = bets.log_evidence(xs, 0.45)
    for run, logs in zip(xs, quick, strict=True):
        assert fed(ConstantBets(0.45), run.tolist()) == pytest.approx(logs.tolist())


@pytest.mark.parametrize(("true", "reference"), [(0.97, 628), (0.98, 244), (0.99, 134)])
def test_pairs_to_certify(true: float, reference: int) -> None:
    """The medians of 2,000 other runs; those of 400 are within a tenth of them, or a fifth at .97."""
    found = bets.waits(true, 0.95, np.random.default_rng(3), runs=400, at_most=5000)
    assert float(np.median(found)) == pytest.approx(reference, rel=0.2 if true == 0.97 else 0.1)


def test_false_certificates_stay_below_alpha() -> None:
    runs = 600
    found = bets.waits(0.95, 0.95, np.random.default_rng(4), runs=runs, at_most=2000)
    share = np.isfinite(found).mean()
    assert 0.005 < share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(("true", "reference"), [(0.93, 1502), (0.92, 654), (0.91, 364)])
def test_futility(true: float, reference: int) -> None:
    """A student below p0 is known to be, soon."""
    found = bets.waits(true, 0.95, np.random.default_rng(5), runs=300, at_most=12_000, harm=True)
    assert float(np.median(found)) == pytest.approx(reference, rel=0.2)


@pytest.mark.parametrize(("ties", "reference"), [(0.1, 625), (0.8, 287)])
def test_paired_scores(ties: float, reference: int) -> None:
    """A judge that finds both as good, against .45: few ties and many."""
    found = bets.score_waits(ties, 0.45, np.random.default_rng(6), runs=300, at_most=4000)
    assert float(np.median(found)) <= reference * 1.25


def test_bets_that_follow_are_fooled_by_a_rhythm_and_constant_ones_are_not() -> None:
    """The day's mean is at the bound; looks at the ends of whole days only."""
    rng, runs, day = np.random.default_rng(7), 60, 2000
    wave = 0.95 + 0.03 * np.sin(2 * np.pi * np.arange(day) / day)
    xs = (rng.random((runs, 5 * day)) < np.tile(wave, 5)).astype(float)
    logs = bets.log_evidence(xs, 0.95)
    by_day = (logs[:, day - 1 :: day] >= LOG_20).any(1).mean()
    at_once = (logs >= LOG_20).any(1).mean()
    assert by_day <= 0.05
    assert at_once > 0.3


def test_there_are_25_bets_and_none_can_lose_all() -> None:
    assert len(SHARES) == 25
    assert min(SHARES) > 0
    assert max(SHARES) < 1
