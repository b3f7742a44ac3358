"""What a log tells of its traffic is what the traffic was made of, and a proof's cost follows from it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from graduand.gateway.control.study import planning
from graduand.rollout.simulate import policy
from graduand.rollout.simulate.habits import Blocks, Habits, Request, because, correlation, cost, habits
from graduand.rollout.simulate.policy import Scenario
from graduand.rollout.spec.file import read
from graduand.rollout.state import Phase

LOG_20 = math.log(20)
DAY_S = 86_400.0


def log(
    rng: np.random.Generator, users: int, alike: float, days: int = 2, mean: float = 0.95, length: int = 20
) -> list[Request]:
    """Each user asks `length` times a day within an hour of their own, by day; a user's day has a mean of its own."""
    found = []
    for day in range(days):
        for user in range(users):
            own = rng.beta(mean * (1 / alike - 1), (1 - mean) * (1 / alike - 1))
            begin = day * DAY_S + 3600.0 * (8 + user % 10)
            found += [Request(begin + 150.0 * at, user, bool(rng.random() < own)) for at in range(length)]
    return sorted(found, key=lambda one: one.at)


@pytest.mark.parametrize("alike", [0.1, 0.3])
def test_correlation_is_estimated_from_pairs(alike: float) -> None:
    known = habits(log(np.random.default_rng(1), 600, alike))
    assert known is not None
    assert known.alike == pytest.approx(alike, abs=0.06)
    assert known.agreement == pytest.approx(0.95, abs=0.01)
    assert (known.users, known.length, known.unknown) == (600, 20, 0)


def test_independent_answers_do_not_correlate() -> None:
    rng = np.random.default_rng(2)
    assert correlation([(rng.random(10) < 0.9).tolist() for _ in range(400)]) < 0.02
    assert correlation([[True]] * 40) == 0.0


def test_sessions_cost_what_the_method_says() -> None:
    """Reference: sessions of 20, correlation .3, .97 against .95: 5,900 requests; independent ones 628."""
    known = Habits(1, 1.0, 1, 0.0, 0.01, (20,), 0.3, 0.97, None, None)
    taken = cost(known, 0.95, 0.97, LOG_20)
    assert taken.requests == pytest.approx(5900, rel=0.3)
    assert taken.alone == pytest.approx(620, rel=0.25)
    assert "a user's requests are alike (correlation 0.3" in because(known, taken)
    assert because(replace(known, top=0.4), taken) == "because one customer sends 40%"
    single = replace(known, lengths=(1,), alike=0.0)
    assert because(single, cost(single, 0.95, 0.97, LOG_20)) == ""


SPEC = read({"route": "r", "student": "s@3f9c1a", "cycle": "none", "audit": 1.0, "on_inconclusive": "rollback", "steps": [
    {"shadow": {"pairs": 300, "t_max": "8h"}}, {"canary": {"weight": 50, "dwell": "10m", "t_max": "8h"}},
    {"full": {"dwell": "10m", "t_max": "8h"}}]})  # fmt: skip


def test_a_plan_names_the_steps_that_cannot_reach_proof_and_why() -> None:
    big = [Request(DAY_S * day + 60.0 * at, 7 if at % 5 < 2 else 100 + at) for day in range(3) for at in range(1400)]
    known = habits(sorted(big, key=lambda one: one.at))
    assert known is not None
    said = planning.plan(SPEC, known.per_day / DAY_S, None, known=known)["warnings"]
    late = [one for one in said if "cannot reach proof in its time (8 h)" in one]
    assert late
    assert "at your traffic" in late[0]
    assert "because one customer sends 40%" in late[0]
    quick = planning.plan(SPEC, 10.0, None)["warnings"]
    assert not [one for one in quick if "cannot reach" in one]


def test_hours_are_drawn_for_the_same_hour_of_the_day() -> None:
    rng = np.random.default_rng(3)
    blocks = Blocks(log(rng, 50, 0.1, days=4))
    for hour in (9, 24 + 12, 48 + 3):
        drawn = blocks.draw(hour, rng)
        assert {one.unit % 10 for one in drawn if one.unit is not None} == (
            {hour % 24 - 8} if 8 <= hour % 24 < 18 else set()
        )
        assert all(0 <= one.at < 3600 for one in drawn)
    thin = blocks.thinned(200)
    assert 100 < len(thin.requests) / 4 < 400
    users = {one.unit for one in thin.requests}
    assert len(thin.requests) == sum(one.unit in users for one in blocks.requests), "users are left out whole"


@pytest.mark.parametrize(("agreement", "ends"), [(0.60, Phase.ROLLED_BACK), (0.995, Phase.PROMOTED)])
def test_a_policy_is_played_on_the_logs_hours(agreement: float, ends: Phase) -> None:
    rng = np.random.default_rng(4)
    traffic = [Request(9.0 * at, int(rng.integers(4000))) for at in range(9_600 * 2)]
    world = Scenario(agreement, blocks=Blocks(traffic), alike=0.05, look_s=300.0, horizon_s=2 * DAY_S)
    found = policy.run(SPEC, world, rng)
    assert found.end in (ends, Phase.ROLLING_BACK if ends is Phase.ROLLED_BACK else ends), found.reason
