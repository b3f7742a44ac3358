"""Whole cycles: what waits, what counts, and days that differ."""

import json

import numpy as np
import pytest

from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.cycles import SECONDS, Proof, Seen, differ, proof_from_dict, room_s


def test_a_cycle_counts_when_it_ends_and_a_spoilt_one_never() -> None:
    proof = Proof(ConstantBets(0.9))
    for _ in range(50):
        proof.update(1.0, whole=True)
    proof.spoil()
    proof.close(0.0, 1.0)
    assert (proof.n, proof.log_e, proof.cycles[0].n) == (0, 0.0, 0)
    for _ in range(50):
        proof.update(1.0, whole=True)
    assert proof.n == 0
    proof.close(1.0, 2.0)
    once = ConstantBets(0.9)
    for _ in range(50):
        once.update(1.0)
    assert (proof.n, proof.log_e) == (50, pytest.approx(once.log_e))


def test_without_a_rhythm_each_observation_counts_at_once() -> None:
    proof = Proof(ConstantBets(0.9))
    proof.update(1.0, whole=False)
    assert proof.n == 1


def test_stored_it_is_the_same() -> None:
    proof = Proof(ConstantBets(0.9))
    for at in range(7):
        proof.update(at / 7, whole=at % 2 == 0)
    proof.close(0.0, 86400.0)
    proof.update(0.5, whole=True)
    proof.last_at = 3.0
    assert proof_from_dict(json.loads(json.dumps(proof.to_dict()))) == proof


def day(rng: np.random.Generator, mean: float, n: int) -> Seen:
    xs = rng.random(n) < mean
    return Seen(0, 1, n, float(xs.mean()), float(xs.std(ddof=1) / np.sqrt(n)))


def test_equal_days_seldom_differ_whatever_the_number_of_looks() -> None:
    runs, held = 400, 0
    for run in range(runs):
        rng = np.random.default_rng([1, run])
        days = [day(rng, 0.95, 2000) for _ in range(7)]
        held += any(differ(days[: n + 1]) for n in range(7))
    assert held / runs <= 0.01 + 3 * (0.01 / runs) ** 0.5


def test_days_that_differ_are_seen() -> None:
    """Each day's true mean is drawn with a deviation of a point, 20,000 pairs a day."""
    found = []
    for run in range(60):
        rng = np.random.default_rng([2, run])
        found.append(differ([day(rng, 0.95 + 0.01 * rng.standard_normal(), 20_000) for _ in range(3)]))
    assert np.mean(found) > 0.75


@pytest.mark.parametrize("days", [[], [Seen(0, 1, 900, 1.0, 0.0)], [Seen(0, 1, 0, 0.0, 0.0), Seen(1, 2, 9, 1.0, 0.0)]])
def test_one_day_differs_from_nothing(days: list[Seen]) -> None:
    assert not differ(days)


def test_there_is_room_for_three_cycles() -> None:
    assert [room_s(cycle) for cycle in SECONDS] == [3 * 86400, 21 * 86400, 0]
