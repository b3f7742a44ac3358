"""Writes that leave together: nothing is lost, doubled or out of order, whatever is written, closed and flushed when."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.http.outbox import MOST_BYTES, MOST_CONNECTIONS, Outbox, Outlet
from tests.gateway.dataplane.http.test_server import Loop, Transport


class Sends(Transport):
    """Tells a common list of each write as it leaves."""

    def __init__(self, left: list[tuple[int, bytes]], number: int) -> None:
        super().__init__()
        self._left, self._number = left, number

    def write(self, data: bytes) -> None:
        super().write(data)
        self._left.append((self._number, data))


class Some:
    """Connections with one outbox."""

    def __init__(self, count: int) -> None:
        self.loop, self.left = Loop(), list[tuple[int, bytes]]()
        outbox = Outbox(self.loop)
        self.transports = [Sends(self.left, number) for number in range(count)]
        self.outlets = [Outlet(transport, outbox) for transport in self.transports]


STEPS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["write", "much", "flush", "turn"])), max_size=60)


@given(STEPS)
def test_every_connection_gets_its_bytes_once_and_in_order(steps: list[tuple[int, str]]) -> None:
    some, expected = Some(4), [b""] * 4
    for number, (at, step) in enumerate(steps):
        if step == "turn":
            some.loop.turn()
        elif step == "flush":
            some.outlets[at].flush()
        else:
            data = b"%d;" % number * (MOST_BYTES if step == "much" else 1)
            some.outlets[at].write(data)
            expected[at] += data
    some.loop.turn()
    assert [one.written for one in some.transports] == expected


def test_a_turns_first_write_leaves_at_once_and_the_others_back_to_back() -> None:
    some = Some(3)
    for _ in range(2):
        for data in (b"a", b"b"):
            for outlet in some.outlets:
                outlet.write(data)
        assert some.left == [(0, b"a")]
        some.loop.turn()
        assert some.left == [(0, b"a"), (1, b"ab"), (2, b"ab"), (0, b"b")]
        some.left.clear()


def test_neither_many_connections_nor_many_bytes_wait_for_the_turns_end() -> None:
    some = Some(MOST_CONNECTIONS + 2)
    for outlet in some.outlets:
        outlet.write(b"x")
    assert len(some.left) == 1 + MOST_CONNECTIONS
    some.outlets[-1].write(b"y" * MOST_BYTES)
    assert some.left[-1] == (1 + MOST_CONNECTIONS, b"x" + b"y" * MOST_BYTES)


@pytest.mark.parametrize(
    ("end", "written"),
    [("close", b"last words"), ("write_eof", b"last words"), ("abort", b"")],
)
def test_what_is_held_leaves_before_the_end_but_not_before_an_abort(end: str, written: bytes) -> None:
    some = Some(2)
    some.outlets[0].write(b"first words")
    outlet: Any = some.outlets[1]
    outlet.write(b"last words")
    getattr(outlet, end)()
    assert some.transports[1].written == written
    some.loop.turn()
    assert some.transports[1].written == written


def test_what_was_held_for_a_connection_that_is_lost_is_dropped_and_the_others_get_theirs() -> None:
    some = Some(3)
    for outlet in some.outlets:
        outlet.write(b"x")
    some.transports[1].closed = True
    some.loop.turn()
    assert some.left == [(0, b"x"), (2, b"x")]


def test_a_connection_that_cannot_be_written_to_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    some = Some(3)

    def refuse(data: bytes) -> None:
        raise RuntimeError("Cannot call write() after write_eof()")

    some.transports[1].write = refuse  # type: ignore[method-assign]
    for outlet in some.outlets:
        outlet.write(b"x")
    some.loop.turn()
    assert some.left == [(0, b"x"), (2, b"x")]
    assert some.transports[1].aborted
    assert "could not be" in caplog.text
