"""Any chunking of the same bytes gives the same events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.http import sse
from graduand.gateway.dataplane.http.sse import EventSplitter, EventTooLong

TABLE = [
    (b"data: a\n\ndata: b\n\n", [b"a", b"b"], None),
    (b"data:a\n\ndata:  b\n\n", [b"a", b" b"], None),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], None),
    (b"data: a\r\rdata: b\r\r", [b"a", b"b"], None),
    (b"data: a\r\n\rdata: b\n\r\n", [b"a", b"b"], None),
    (b": comment\n\ndata: a\n\n", [b"a"], None),
    (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"], None),
    (b"data: a\ndata: b\n\n", [b"a\nb"], None),
    (b"data\n\ndatas: x\n\ndata: a\n\n", [b"a"], None),
    (b"\n\n\n\ndata: a\n\n\n\n", [b"a"], None),
    (b"data: a\n\ndata: b", [b"a"], b"b"),
    (b"data: a\n\ndata: b\n", [b"a"], b"b"),
    (b"data: a\n\n: x", [b"a"], None),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"], None),
    (b"\xef\xbb", [], None),
    (b"data: a\n\n\r\n", [b"a"], None),
    ("data: Grüße 你好 🎓\n\n".encode(), ["Grüße 你好 🎓".encode()], None),
    (b"", [], None),
]


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes | None]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, splitter.finish()


@pytest.mark.parametrize(("data", "events", "rest"), TABLE)
def test_events(data: bytes, events: list[bytes], rest: bytes | None) -> None:
    assert split([data]) == (events, rest)
    assert split([data[at : at + 1] for at in range(len(data))]) == (events, rest)


lines = st.sampled_from([b"data: ", b"data:", b": ", b"event: x", b"", b"id"])
endings = st.sampled_from([b"\n", b"\r", b"\r\n"])
payloads = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6).map(str.encode)
streams = st.lists(st.tuples(lines, payloads, endings, endings | st.just(b"")), max_size=8).map(
    lambda parts: b"".join(b"".join(part) for part in parts)
)


@given(streams, st.lists(st.integers(0, 200), max_size=12))
def test_any_chunking_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert split(pieces) == split([data])


@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_bytes_in_any_chunks(data: bytes, size: int) -> None:
    assert split([data[at : at + size] for at in range(0, len(data), size)]) == split([data])


@given(st.lists(payloads.filter(bool), max_size=5), endings)
def test_events_are_what_was_sent(sent: list[bytes], ending: bytes) -> None:
    data = b"".join(b"data: " + one + ending * 2 for one in sent)
    assert split([data]) == (sent, None)


def test_an_event_is_given_out_as_soon_as_it_is_whole() -> None:
    """Also before it is known whether a carriage return is followed by a line feed."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: [DONE]\r\r") == [b"[DONE]"]
    assert splitter.feed(b"\ndata: x\r\n\r") == [b"x"]
    assert splitter.feed(b"\ndata: y\n\n") == [b"y"]


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    splitter = EventSplitter()
    splitter.feed(b"x" * 100)
    with pytest.raises(EventTooLong):
        splitter.feed(b"x")
