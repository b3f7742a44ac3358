"""What a day's budget can pay is spread over the day by the probability of the draw."""

from dataclasses import replace
from pathlib import Path

import pytest

from graduand.gateway.control import thinning
from graduand.gateway.model.routes import Budget
from graduand.rollout.ledger import Answered, start
from tests.gateway.control.worlds import World
from tests.rollout.plays import reach


@pytest.mark.parametrize(
    ("a_day", "per_s", "seconds", "share"),
    [
        (0, 1.0, 600, 10_000),  # no limit
        (2000, 1.0, 600, 185),  # 86,400 a day, of which 1,600 are planned
        (2000, 1.0, 30, 10_000),  # nobody knows the traffic yet
        (10**9, 1.0, 600, 10_000),
    ],
)
def test_the_share_that_a_budget_can_pay(a_day: int, per_s: float, seconds: int, share: int) -> None:
    state, now = reach("shadow")
    ledger = start(state)
    for at in range(int(seconds * per_s)):
        ledger.answered(Answered(now + at / per_s, by_student=False))
    assert thinning.share_bp(10_000, 10_000, Budget(a_day), ledger, "copies", now + seconds) == share


def test_small_changes_are_not_worth_a_new_table() -> None:
    state, now = reach("shadow")
    ledger = start(state)
    for at in range(600):
        ledger.answered(Answered(now + at, by_student=False))
    assert thinning.share_bp(200, 10_000, Budget(2000), ledger, "copies", now + 600) == 200


def test_a_rollout_draws_what_its_budget_can_pay(tmp_path: Path) -> None:
    world = World(tmp_path)
    route = world.settings.routes["triage"]
    world.settings.routes["triage"] = replace(route, shadow_budget=Budget(2000))
    world.start(steps=[{"shadow": {"pairs": 10_000}}, "full"])
    world.look(3)
    world.ask(100)
    world.look(1, step_s=100)
    assert 0 < world.route.shadow_bp < 1000
    drawn = [line for line in world.lines(300) if '"copy_wanted": true' in line and '"served"' in line]
    assert len(drawn) < 100
