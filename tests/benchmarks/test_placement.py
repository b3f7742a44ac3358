"""The simulation of the fleet: the same for a seed, and what its table claims holds for a small one too."""

import pytest

from benchmarks.placement import POLICIES, Scenario, simulate
from benchmarks.placement_report import Outcome, markdown

SMALL = Scenario("small", 20, replicas=4, slots=4, seconds=200.0, per_s=10.0, added=1, kill_every_s=90.0, shifts=1)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {policy: simulate(SMALL, policy) for policy in POLICIES}


def test_a_seed_is_a_run(outcomes: dict[str, Outcome]) -> None:
    assert simulate(SMALL, "ours") == outcomes["ours"]
    assert simulate(SMALL, "random") == outcomes["random"]
    assert simulate(SMALL, "ours", 2) != outcomes["ours"]


def test_everybody_is_asked_the_same(outcomes: dict[str, Outcome]) -> None:
    assert len({one.requests for one in outcomes.values()}) == 1
    assert all(0 < one.hits < 1 and one.spread >= 1 for one in outcomes.values())


@pytest.mark.parametrize("other", ["random", "round robin"])
def test_more_hits_for_fewer_loads(outcomes: dict[str, Outcome], other: str) -> None:
    assert outcomes["ours"].hits > outcomes[other].hits + 0.2
    assert outcomes["ours"].loads < outcomes[other].loads / 3


def test_with_room_and_peace_everything_is_there() -> None:
    calm = Scenario("calm", 6, replicas=3, slots=6, seconds=60.0, per_s=10.0, added=0, kill_every_s=999.0, shifts=0)
    assert simulate(calm, "ours").hits == 1.0
    assert simulate(calm, "ours").loads == 0


def test_the_table_says_what_was_found(outcomes: dict[str, Outcome]) -> None:
    page = markdown(list(outcomes.values()), 1)
    for one in outcomes.values():
        assert f"| {one.policy} | {one.hits:.2%} | {one.loads:,.0f} |" in page
