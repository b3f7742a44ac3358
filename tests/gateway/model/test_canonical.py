"""RFC 8785: the examples of the RFC's own text and appendix, and that one value has one form."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.model import canonical

# Appendix B: a double's bits and how it is written.
NUMBERS = {
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324", "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308", "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992", "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000", "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23", "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000", "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21", "3eb0c6f7a0b5ed8c": "9.999999999999997e-7", "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332", "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343", "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize(("bits", "written"), NUMBERS.items())
def test_numbers(bits: str, written: str) -> None:
    [number] = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.dumps(number) == written.encode()


def test_the_example_of_the_rfc() -> None:
    given = (
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001], '
        '"string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
    )
    wanted = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical.dumps(json.loads(given)).decode() == wanted


def test_names_are_sorted_by_utf_16() -> None:
    names = ["€", "\r", "\ufb33", "1", "😀", "\x80", "ö"]
    wanted = ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    assert list(json.loads(canonical.dumps(dict.fromkeys(names, 0)))) == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, {1: 2}, {"x"}, b"x", "\ud800", {"\ud800": 1}])
def test_what_has_no_form_is_refused(value: Any) -> None:
    with pytest.raises(canonical.NotCanonical):
        canonical.dumps(value)


@pytest.mark.parametrize(
    "data", [b'{"a": 1}', b'{"a":1,"a":1}', b'{"b":1,"a":1}', b"1.0", b"[1]\n", b"{", b"\xff", b"NaN"]
)
def test_only_the_one_form_is_read(data: bytes) -> None:
    with pytest.raises(canonical.NotCanonical):
        canonical.loads(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"]))
    | st.integers(-canonical.LARGEST, canonical.LARGEST) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inside),
)  # fmt: skip


@given(VALUES)
def test_a_value_comes_back_and_has_one_form(value: Any) -> None:
    data = canonical.dumps(value)
    assert canonical.loads(data) == value
    assert canonical.dumps(canonical.loads(data)) == data
