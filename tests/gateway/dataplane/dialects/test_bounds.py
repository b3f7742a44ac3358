"""Bodies of many small parts are refused before they are read; no text is taken for structure."""

import contextlib
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.dialects import bounds, lenient
from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.dialects.lorax import parse
from graduand.gateway.errors import RequestError

MANY = bounds.MOST_PARTS + 10
HEAD = b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":'
WELL = {
    "text": b'"%b"' % (b"x" * 3_000_000),
    "text of brackets and commas": b'"%b"' % (b"[{,]}, " * 400_000),
    "text of quotes": b'"%b"' % (b'\\"[{' * 600_000),
    "text of backslashes": b'"%b"' % (b"\\\\" * 600_000),
    "token ids": b"[%b0]" % (b"12345," * 400_000),
}
ILL = {
    "lists": b"[%b[]]" % (b"[]," * MANY),
    "objects": b"[%b{}]" % (b"{}," * MANY),
    "strings": b'[%b""]' % (b'"",' * MANY),
    "strings that end in a backslash": rb'[%b""]' % (rb'"\\",' * MANY),
    "members": b"{%b}" % b",".join(b'"%x":0' % number for number in range(MANY)),
    "nests": b"[%b0]" % ((b"[" * 500 + b"]" * 500 + b",") * 520),
    "numbers": b"[%b0]" % (b"0," * (bounds.MOST_VALUES + 10)),
    "no end": b"[" * (2 * MANY),
}


@pytest.mark.parametrize("name", WELL)
def test_large_bodies_are_read(name: str) -> None:
    body = HEAD + WELL[name] + b"}"
    assert CHAT.parse(body) == orjson.loads(body)


@pytest.mark.parametrize("name", ILL)
def test_bodies_of_many_parts_are_refused_by_name(name: str) -> None:
    with pytest.raises(RequestError, match="it has more than [0-9]+ ") as refused:
        CHAT.parse(HEAD + ILL[name] + b"}")
    assert (refused.value.status, refused.value.code) == (400, "too_many_parts")
    with pytest.raises(RequestError, match="it has more than [0-9]+ "):
        parse(b'{"inputs":"x","y":' + ILL[name] + b"}", stream=None)


def test_answers_of_many_parts_are_not_read() -> None:
    lenient.loads(b"[%b0]" % (b"0.25," * 1_000_000))  # embeddings are many numbers
    for strange in (b"", b",NaN"):
        with pytest.raises(lenient.Unreadable, match="more than"):
            lenient.loads(b"[%b[]%b]" % (b"[]," * (bounds.MOST_ANSWER_PARTS + 10), strange))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.text(st.sampled_from('ab"\\[]{},:é\n'), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('a"\\[,'), max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


def counted(value: object) -> tuple[int, int]:
    """Objects, lists and strings of a value; and values besides the first of each list and object."""
    if isinstance(value, str):
        return 1, 0
    if not isinstance(value, list | dict):
        return 0, 0
    inner = [counted(one) for one in (value.values() if isinstance(value, dict) else value)]
    keys = len(value) if isinstance(value, dict) else 0
    return 1 + keys + sum(parts for parts, _ in inner), max(len(value) - 1, 0) + sum(values for _, values in inner)


@given(VALUES, st.integers(0, 12), st.integers(0, 12))
def test_parts_are_counted_as_a_reader_counts_them(value: object, most_parts: int, most_values: int) -> None:
    parts, values = counted(value)
    well = parts <= most_parts and values <= most_values
    body = orjson.dumps(value)
    if well:
        bounds._check(body, most_parts, most_values)
    elif len(re.findall(rb'["\[{,]', body)) > most_parts:
        with pytest.raises(bounds.TooManyParts):
            bounds._check(body, most_parts, most_values)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted(body: bytes) -> None:
    with contextlib.suppress(bounds.TooManyParts):
        bounds._check(body, 3, 3)


def test_a_string_without_an_end_is_looked_at_once() -> None:
    """From each quote to the end, and again from the next, would take time that grows with the square of the bytes."""
    assert len(bounds._STRING.findall(b'"' + b'\\"' * 1000)) == 1
