"""How a process notices that it stood still, and that a connection which could not be made for that is made once more."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.http.client import Connection, Pool
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.fiber import Fiber
from graduand.gateway.dataplane.http.outbox import Outbox
from graduand.gateway.dataplane.http.pauses import STOOD_STILL_S, Pauses
from graduand.gateway.model.routes import Replica
from tests.gateway.dataplane.http.test_client import UpstreamTransport

EVERY_S = 0.05


@given(st.floats(0, 1e6), st.lists(st.floats(0, STOOD_STILL_S / 2), max_size=50))
def test_who_is_a_little_late_has_not_stood_still(start: float, late: list[float]) -> None:
    pauses, now = Pauses(EVERY_S), start
    for more in late:
        assert pauses.look(now) == 0.0
        now += EVERY_S + more
    assert pauses.since(start - 1) == 0.0


@given(st.floats(1, 1e5), st.integers(1, 40))
def test_a_clock_still_runs_on_a_machine_that_is_always_late(late_s: float, looks: int) -> None:
    """At least as much time counts as is taken out: whatever has a deadline ends."""
    pauses, now = Pauses(EVERY_S), 0.0
    pauses.look(now)
    taken_out = 0.0
    for _ in range(2 * looks):
        now += EVERY_S + late_s
        taken_out += pauses.look(now)
    assert taken_out <= now / 2 + 1e-3
    assert pauses.since(0.0) == pytest.approx(taken_out)


def test_only_who_began_before_a_pause_was_in_it() -> None:
    pauses = Pauses(EVERY_S)
    for now in (1.0, 1.05, 11.1, 11.15, 31.2):
        pauses.look(now)
    assert [pauses.since(began) for began in (1.0, 11.12, 31.2)] == [pytest.approx(30.0), pytest.approx(20.0), 0.0]


class Late(asyncio.SelectorEventLoop):
    """Connects at the attempt after `hangs` others; while one hangs, the clock jumps by `jump_s`."""

    def __init__(self, hangs: int, jump_s: float) -> None:
        super().__init__()
        self.hangs, self.jump_s, self.ahead_s, self.tried = hangs, jump_s, 0.0, 0

    def time(self) -> float:
        return super().time() + self.ahead_s

    async def create_connection(self, make: Any, *_: Any, **__: Any) -> Any:
        self.tried += 1
        if self.tried <= self.hangs:
            self.ahead_s += self.jump_s
            await asyncio.sleep(60)
        connection = make()
        connection.connection_made(UpstreamTransport())
        return None, connection


@pytest.mark.parametrize(
    ("hangs", "jump_s", "tried", "connects"), [(0, 9, 1, True), (1, 9, 2, True), (2, 9, 2, False), (1, 2, 1, False)]
)
def test_a_connection_is_tried_again_after_a_pause(hangs: int, jump_s: float, tried: int, connects: bool) -> None:
    loop = Late(hangs, jump_s)

    async def connect() -> Connection:
        pool, made = Pool(Replica("http", "h", 80, ""), None, Outbox(loop)), loop.create_future()

        async def waits() -> None:
            made.set_result(await pool.connect(2.0))

        Fiber(waits(), made.set_exception).resume()
        return await made  # type: ignore[no-any-return]

    try:
        if connects:
            assert isinstance(loop.run_until_complete(connect()), Connection)
        else:
            with pytest.raises(UpstreamFailed, match="timed out"):
                loop.run_until_complete(connect())
    finally:
        loop.close()
    assert loop.tried == tried
