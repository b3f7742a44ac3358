"""The breaker and the retry budget, by an injected clock."""

from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.health import (  # fmt: skip
    BUDGET_CAP,
    BUDGET_PER_S,
    BUDGET_SHARE,
    BUDGET_START,
    FIRST_REST_S,
    LONGEST_REST_S,
    TRIP_AFTER,
    Breaker,
    RetryBudget,
)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(TRIP_AFTER):
        breaker.failed(now)
    return breaker


def test_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(TRIP_AFTER - 1):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(TRIP_AFTER - 1):
        breaker.failed(0)
    assert breaker.allows(0)
    breaker.failed(0)
    assert not breaker.allows(0)
    assert breaker.state == "open"


def test_one_probe_at_a_time_after_the_rest() -> None:
    breaker = opened()
    assert not breaker.allows(FIRST_REST_S - 0.01)
    assert breaker.allows(FIRST_REST_S)
    breaker.begin(FIRST_REST_S)
    assert not breaker.allows(FIRST_REST_S + 0.01)
    breaker.succeeded()
    assert breaker.allows(FIRST_REST_S + 0.02)
    assert breaker.state == "closed"


def test_a_probe_whose_client_left_is_no_verdict() -> None:
    breaker = opened()
    breaker.begin(FIRST_REST_S)
    breaker.abandoned()
    assert breaker.allows(FIRST_REST_S)
    assert breaker.state == "open"


def test_a_probe_that_never_ends_is_forgotten() -> None:
    breaker = opened()
    breaker.begin(FIRST_REST_S)
    assert not breaker.allows(FIRST_REST_S + LONGEST_REST_S)
    assert breaker.allows(FIRST_REST_S + 2 * LONGEST_REST_S)


def test_failed_probes_double_the_rest_up_to_its_longest() -> None:
    breaker, now, rests = opened(), 0.0, []
    for _ in range(6):
        began = now
        while not breaker.allows(now):
            now += 0.01
        rests.append(round(now - began, 1))
        breaker.begin(now)
        breaker.failed(now)
    assert rests == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_stragglers_do_not_lengthen_the_rest() -> None:
    breaker = opened()
    for at in range(20):
        breaker.failed(at * 0.01)
    assert breaker.allows(FIRST_REST_S)


@given(st.floats(0, 60), st.floats(0.01, 2))
def test_an_outage_is_not_hammered_and_its_end_is_noticed(outage_s: float, every_s: float) -> None:
    """However long it lasts, the replica is asked a few times a rest, and again within a rest of its recovery."""
    breaker, now, asked = Breaker(), 0.0, 0
    while now < outage_s:
        if breaker.allows(now):
            breaker.begin(now)
            breaker.failed(now)
            asked += 1
        now += every_s
    assert asked <= TRIP_AFTER + 4 + outage_s / LONGEST_REST_S + 1
    end = now
    while not breaker.allows(now):
        now += every_s
    assert now - end <= LONGEST_REST_S + every_s


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=300))
def test_retries_are_a_share_of_requests(steps: list[tuple[bool, float]]) -> None:
    budget, now, requests, retries = RetryBudget(), 0.0, 0, 0
    for is_request, passed_s in steps:
        now += passed_s
        if is_request:
            budget.request()
            requests += 1
        else:
            retries += budget.take(now)
    assert retries <= BUDGET_START + BUDGET_SHARE * requests + BUDGET_PER_S * now + 1e-6


def test_a_quiet_upstream_has_retries_left_but_not_without_bound() -> None:
    budget = RetryBudget()
    assert [budget.take(0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.take(1.5)
    assert sum(budget.take(1e6) for _ in range(1000)) == BUDGET_CAP
