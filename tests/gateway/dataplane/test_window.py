"""What of a stream is held back: nothing is lost or reordered, and nothing leaves before what a reader sees."""

from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.window import HOLD_ALL, Window

# Each event: how many pieces it holds; a role, an end or a usage chunk has none.
EVENTS = st.lists(st.integers(0, 3), max_size=60)


@given(EVENTS, st.sampled_from([HOLD_ALL, 0, 1, 2, 20]), st.integers(0, 9))
def test_everything_leaves_in_its_order(events: list[int], pieces: int, reach: int) -> None:
    window = Window(pieces, reach)
    added, left = b"", b""
    for number, count in enumerate(events):
        added += b"%d," % number
        window.add(b"%d," % number, count, 4 * count)
        left += window.ready()
        assert added.startswith(left)
        if pieces == HOLD_ALL:
            assert not left
    assert left + window.rest() == added
    assert window.rest() == b""


@given(EVENTS, st.integers(1, 20), st.integers(0, 9))
def test_what_leaves_ends_in_something_to_see(events: list[int], pieces: int, reach: int) -> None:
    """A role alone is no release: after it no other model could answer, and the client would have seen nothing."""
    window = Window(pieces, reach)
    for count in events:
        window.add(b"%d" % count, count, 4 * count)
        assert not window.ready().endswith(b"0")


def test_the_role_leaves_with_the_first_text() -> None:
    window = Window(2)
    window.add(b"role,", 0, 0)
    got = []
    for number in range(4):
        window.add(b"%d," % number, 1, 1)
        got.append(window.ready())
    assert got == [b"", b"", b"role,0,", b"1,"]
