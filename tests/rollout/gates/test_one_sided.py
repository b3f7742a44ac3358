"""First one-sided failures of units, and the count by request beside them."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from graduand.rollout.gates import GateError
from graduand.rollout.gates.one_sided import NAMED, OneSided

LOG_200 = math.log(200)


def test_reference_values() -> None:
    gate, seen, logs = OneSided(1.0), set(), []
    for i in range(3000):
        unit, ours, theirs = i % 61, (i * 37) % 40 == 1, (i * 53) % 200 == 3
        first = ours != theirs and unit not in seen
        seen.update([unit] if first else [])
        gate.update(unit, student=ours, teacher=theirs, first=first)
        if first:
            logs.append(gate.log_e)
    assert (gate.n, [round(logs[at], 6) for at in (9, 29, 60)]) == (61, [2.920129, 6.186344, 23.249273])


def test_stored_it_is_the_same() -> None:
    gate = OneSided(1.25)
    for unit in range(9):
        gate.update(unit, student=unit % 2 == 0, teacher=unit % 3 == 0, first=True)
    assert OneSided(**json.loads(json.dumps(asdict(gate)))) == gate
    assert gate.both == 2


def test_a_rate_that_sits_in_few_units_holds_and_names_them() -> None:
    gate = OneSided(1.25)
    for n in range(400):
        gate.update(7 + n % 2, student=True, teacher=False, first=n < 2)
        if n % 10 == 0:
            gate.update(100 + n, student=False, teacher=True, first=True)
    assert gate.log_e < LOG_200
    said = gate.apart(LOG_200)
    assert "few units" in said
    assert "7 (200 times)" in said


def test_many_units_of_few_failures_do_not_stand_for_requests() -> None:
    """The teacher's failures sit in two units, the student's are spread: the same rate, and an alarm by unit."""
    gate = OneSided(1.25)
    for n in range(60):
        gate.update(1000 + n, student=True, teacher=False, first=True)
        for _ in range(2):
            gate.update(n % 2, student=False, teacher=True, first=False)
    assert gate.log_e >= LOG_200
    assert "not more requests" in gate.apart(LOG_200)


def test_where_both_agree_nothing_is_said() -> None:
    worse, equal = OneSided(1.25), OneSided(1.25)
    for n in range(60):
        worse.update(n, student=True, teacher=False, first=True)
        equal.update(n, student=n % 2 == 0, teacher=n % 2 == 1, first=True)
    assert worse.log_e >= LOG_200
    assert (worse.apart(LOG_200), equal.apart(LOG_200)) == ("", "")


def test_the_names_stay_few_and_the_heaviest_stays() -> None:
    gate = OneSided()
    for n in range(2000):
        gate.update(1 if n % 4 == 0 else 10 + n, student=True, teacher=False, first=False)
    assert len(gate.often) <= NAMED
    assert "1" in gate.often


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan, math.inf])
def test_refusals(ratio: float) -> None:
    with pytest.raises(GateError):
        OneSided(ratio)


@pytest.mark.parametrize("rate", [0.005, 0.02])
def test_two_equal_arms_are_seldom_told_apart(rate: float) -> None:
    """1,000 users of Zipf share, bursts of 5, failures of each arm's own in whole bursts: alpha .005."""
    rng, runs, alarms = np.random.default_rng(1), 150, 0
    share = 1 / np.arange(1, 1001)
    for _ in range(runs):
        units = np.repeat(rng.choice(1000, size=1600, p=share / share.sum()), 5)
        fails = [np.repeat(rng.random(1600) < rate, 5) for _ in range(2)]
        gate, seen, peak = OneSided(1.0), set(), -math.inf
        for at in np.flatnonzero(fails[0] != fails[1]).tolist():
            unit = int(units[at])
            gate.update(unit, student=bool(fails[0][at]), teacher=bool(fails[1][at]), first=unit not in seen)
            seen.add(unit)
            peak = max(peak, gate.log_e)
        alarms += peak >= LOG_200
    assert alarms / runs <= 0.005 + 3 * math.sqrt(0.005 / runs)
