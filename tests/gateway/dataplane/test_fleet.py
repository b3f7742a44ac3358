"""The choice among replicas and what ends a replica's rest, without a network."""

import pytest

from graduand.gateway.dataplane.fleet import ReplicaState, UpstreamState
from graduand.gateway.dataplane.health import FIRST_REST_S, TRIP_AFTER
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.outbox import Outbox
from graduand.gateway.model.routes import Replica, Upstream
from tests.gateway.dataplane.http.test_server import Loop


@pytest.fixture
def state() -> UpstreamState:
    replicas = tuple(Replica("http", f"h{number}", 80, "") for number in range(3))
    return UpstreamState(Upstream("u", "vllm", replicas), Outbox(Loop()))


def chosen(state: UpstreamState, now: float, tried: set[ReplicaState] | None = None) -> ReplicaState:
    replica = state.choose("m", now, tried or set(), state.replicas)
    assert replica is not None
    return replica


def trip(replica: ReplicaState, now: float) -> None:
    for _ in range(TRIP_AFTER):
        replica.begin(now)
        replica.end(failures.RESET, now)


def others(state: UpstreamState, favourite: ReplicaState) -> list[ReplicaState]:
    return [replica for replica in state.replicas if replica is not favourite]


def test_a_rested_replica_gets_one_request_although_another_is_preferred(state: UpstreamState) -> None:
    favourite = chosen(state, 0)
    sick, _ = others(state, favourite)
    trip(sick, 0)
    assert chosen(state, FIRST_REST_S - 0.01) is favourite
    probed = chosen(state, FIRST_REST_S)
    assert probed is sick
    probed.begin(FIRST_REST_S)
    assert chosen(state, FIRST_REST_S + 0.01) is favourite  # one probe at a time
    probed.end(None, FIRST_REST_S + 0.02)
    assert sick.breaker.state == "closed"
    assert chosen(state, FIRST_REST_S + 0.03) is favourite


def test_what_failed_once_is_no_probe(state: UpstreamState) -> None:
    favourite = chosen(state, 0)
    sick, well = others(state, favourite)
    trip(sick, 0)
    favourite.in_flight = 0
    well.in_flight = 0
    sick.in_flight = 1  # so that the choice by load passes it over
    assert chosen(state, 1, {favourite}) is well


def test_a_replica_that_lacks_the_adapter_is_not_probed_with_it(state: UpstreamState) -> None:
    favourite = chosen(state, 0)
    sick, _ = others(state, favourite)
    sick.begin(0)
    sick.end(failures.from_answer(404, {}, b"", 0), 0, "m")
    trip(sick, 0)
    assert chosen(state, 1) is favourite
    assert state.choose("other", 1, set(), state.replicas) is sick


@pytest.mark.parametrize(
    ("failure", "after"), [(failures.OVERTIME, "closed"), (failures.TOTAL_TIMEOUT, "open"), (failures.RESET, "open")]
)
def test_only_what_speaks_against_a_replica_opens_its_breaker(
    state: UpstreamState, failure: failures.Failure, after: str
) -> None:
    replica = state.replicas[0]
    for _ in range(TRIP_AFTER):
        replica.begin(0)
        replica.end(failure, 0)
    assert replica.breaker.state == after


def test_a_probe_that_took_too_long_to_read_is_no_verdict(state: UpstreamState) -> None:
    replica = state.replicas[0]
    trip(replica, 0)
    replica.begin(1)
    replica.end(failures.OVERTIME, 2)
    assert replica.breaker.state == "open"
    assert replica.breaker.allows(2)
