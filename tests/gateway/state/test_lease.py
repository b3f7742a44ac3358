"""One leader at a time, whoever is killed, frozen or set back in time; the same over a file and over Redis."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.state.lease import Lease, LeaseLost
from graduand.gateway.state.sqlite import SqliteStore
from tests.gateway.state.conftest import Open

LENGTH_S = 10.0


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Claim = Callable[[str], Lease]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def claim(opened: Open, time: Time) -> Claim:
    return lambda holder: Lease(opened(), "it", holder, LENGTH_S, time)


def test_kept_lost_and_released(claim: Claim, time: Time) -> None:
    ann, bob = claim("ann"), claim("bob")
    assert (ann.held(), bob.held(), bob.may_lead()) == (True, False, False)
    time.now += LENGTH_S - 1
    assert ann.held()  # and renews it
    time.now += 2
    assert not bob.held()
    time.now += LENGTH_S
    assert bob.held()
    assert (ann.token, bob.token) == (1, 2)
    assert not ann.held()
    with pytest.raises(LeaseLost, match="bob holds"):
        ann.check()
    ann.release()  # is not his to release
    bob.check()
    bob.release()
    assert ann.held()
    assert ann.token == 3


def test_it_is_written_once_in_a_third_of_its_time(claim: Claim, time: Time) -> None:
    ann = claim("ann")
    writes: list[float] = []
    put = ann._state.put_lease
    ann._state.put_lease = lambda *row: writes.append(time.now) or put(*row)  # type: ignore[method-assign, func-returns-value]
    for _ in range(300):
        time.now += 0.1
        assert ann.held()
    assert len(writes) == pytest.approx(30 / (LENGTH_S / 3), abs=1)


def test_other_leases_are_others(opened: Open, time: Time) -> None:
    one, other = (Lease(opened(), name, name, LENGTH_S, time) for name in ("one", "other"))
    assert (one.held(), other.held()) == (True, True)
    assert (one.token, other.token) == (1, 1)


def test_a_clock_that_was_set_back_locks_nobody_out(claim: Claim, time: Time) -> None:
    ann, bob = claim("ann"), claim("bob")
    assert ann.held()
    time.now -= 1e6
    assert bob.held()
    assert not ann.held()


def test_a_holder_that_was_frozen_takes_nothing_from_a_living_one(claim: Claim, time: Time) -> None:
    """It looked long ago: by the clock of that moment the other's lease would seem to last for ever, so to have none."""
    ann, bob = claim("ann"), claim("bob")
    assert ann.may_lead()
    time.now += 1000 * LENGTH_S
    assert bob.held()
    with pytest.raises(LeaseLost), ann._state.transaction():
        ann.keep()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["held", "release"]), st.floats(0, 15)), max_size=30
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_never_two(steps: list[tuple[str, str, float]], tmp_path_factory: pytest.TempPathFactory) -> None:
    store, time = SqliteStore(tmp_path_factory.mktemp("lease") / "state.db"), Time()
    claims = {name: Lease(store, "it", name, LENGTH_S, time) for name in "abc"}
    tokens, holder, until = [0], "", 0.0
    for name, action, later_s in steps:
        time.now += later_s
        if action == "release":
            claims[name].release()
            until = 0.0 if name == holder else until
        elif claims[name].held():
            assert holder == name or time.now >= until
            tokens.append(claims[name].token)
            assert (tokens[-1] > tokens[-2]) == (holder != name)
            holder, until = name, store.lease("it")[2]
            assert until > time.now
        else:
            assert holder != name
            assert time.now < until
    assert tokens == sorted(tokens)
    store.close()
