"""Only the member meant changes; every other byte stays."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.dialects.jsonedit import (
    append_member,
    set_member,
    set_model,
    set_value,
    value_of,
    without,
)

NEW = b'"new@1"'
TABLE = [
    (b'{"model":"a"}', b'{"model":"new@1"}'),
    (b' {\n "model" :\t"a" , "x":1.0e5 }\n', b' {\n "model" :\t"new@1" , "x":1.0e5 }\n'),
    (b'{"model":"a\\"b\\\\"}', b'{"model":"new@1"}'),
    (b'{"x":{"model":"in"},"model":"a"}', b'{"x":{"model":"in"},"model":"new@1"}'),
    (b'{"x":[{"model":"in"}],"model":"a"}', b'{"x":[{"model":"in"}],"model":"new@1"}'),
    (b'{"x":"model","model":"a"}', b'{"x":"model","model":"new@1"}'),
    (b'{"model":"model"}', b'{"model":"new@1"}'),
    (b'{"x":"\\"model\\":\\"no\\"","model":"a"}', b'{"x":"\\"model\\":\\"no\\"","model":"new@1"}'),
    (b'{"x\\"model":"no","model":"a"}', b'{"x\\"model":"no","model":"new@1"}'),
    (b'{"x":"}]","model":"a","y":"{["}', b'{"x":"}]","model":"new@1","y":"{["}'),
    (b'{"model":"a","model":"b"}', b'{"model":"new@1","model":"new@1"}'),
    (b'{"\\u006dodel":"a"}', b'{"\\u006dodel":"new@1"}'),
    (b'{"mode\\u006C":"a","x":{"model":"in"}}', b'{"mode\\u006C":"new@1","x":{"model":"in"}}'),
    (b'{"\\u006dodel":"a","model":"b"}', b'{"\\u006dodel":"new@1","model":"new@1"}'),
    (b'{"Model":"a","models":"b","model ":"c"}', b'{"Model":"a","models":"b","model ":"c"}'),
    (b'{"x":"\xe4\xbd\xa0","model":"\xf0\x9f\x8e\x93"}', b'{"x":"\xe4\xbd\xa0","model":"new@1"}'),
    (b'{"x":"\\\\","model":"a"}', b'{"x":"\\\\","model":"new@1"}'),
]


@pytest.mark.parametrize(("body", "wanted"), TABLE)
def test_set_model(body: bytes, wanted: bytes) -> None:
    assert set_model(body, NEW) == wanted


# Text that looks like what a careless editor searches for.
nasty = st.sampled_from(
    ['"model"', '"model":"x"', "model", '\\"model\\":', '{"model": "x"}', "}{][", "\\", '"', "\u2028"]
)
texts = st.lists(nasty | st.text(max_size=5), max_size=3).map("".join)
keys = texts | st.sampled_from(["model", "Model", "messages"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(keys, values, max_size=5)


@given(objects, texts, texts, st.integers(0, 5), st.sampled_from([None, 1]), st.booleans())
def test_any_object(rest: dict[str, Any], old: str, new: str, at: int, indent: int | None, ascii_only: bool) -> None:
    """The text before and after the model's value is kept byte for byte, wherever the key stands."""
    items = [(key, value) for key, value in rest.items() if key != "model"]
    items.insert(min(at, len(items)), ("model", old))
    body = json.dumps(dict(items), indent=indent, ensure_ascii=ascii_only).encode()
    wanted = json.dumps(dict(items) | {"model": new}, indent=indent, ensure_ascii=ascii_only).encode()
    assert set_model(body, json.dumps(new, ensure_ascii=ascii_only).encode()) == wanted


@given(st.lists(st.tuples(keys, values), max_size=4), texts, st.integers(0, 4), st.integers(0, 4))
def test_no_reader_sees_the_old_model(items: list[tuple[str, Any]], old: str, one: int, other: int) -> None:
    """With duplicate and escaped keys, no reader - first or last wins - finds anything but the new model."""
    pairs = [(json.dumps(key), json.dumps(value)) for key, value in items if key != "model"]
    pairs.insert(min(one, len(pairs)), ('"model"', json.dumps(old)))
    pairs.insert(min(other, len(pairs)), ('"\\u006do\\u0064el"', json.dumps(old)))
    body = ("{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}").encode()
    edited = json.loads(set_model(body, NEW), object_pairs_hook=list)
    assert [value for key, value in edited if key == "model"] == ["new@1", "new@1"]
    assert [pair[0] for pair in edited] == [json.loads(key) for key, _ in pairs]


@given(objects, st.sampled_from([None, 1]), st.sampled_from([b"", b" ", b"\r\n"]))
def test_append_member(rest: dict[str, Any], indent: int | None, after: bytes) -> None:
    rest = {**rest, "model": "a"}
    body = json.dumps(rest, indent=indent).encode() + after
    longer = append_member(body, b'"added":{"b":1}')
    assert orjson.loads(longer) == {**orjson.loads(body), "added": {"b": 1}}
    assert longer.startswith(body.rstrip().removesuffix(b"}"))


@given(objects, values, values, st.integers(0, 5), st.sampled_from([None, 1]), st.booleans())
def test_any_value(rest: dict[str, Any], old: Any, new: Any, at: int, indent: int | None, ascii_only: bool) -> None:
    def encoded(value: Any) -> bytes:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()

    items = [(key, value) for key, value in rest.items() if key != "it"]
    items.insert(min(at, len(items)), ("it", old))
    body = encoded(dict(items))
    there = value_of(body, "it")
    assert there is not None
    assert json.loads(there) == old
    assert set_value(body, "it", there) == body
    for edited in (set_value(body, "it", encoded(new)), set_member(body, "it", encoded(new))):
        assert json.loads(edited) == dict(items) | {"it": new}
    assert json.loads(without(body, frozenset(["it"]))) == {key: value for key, value in items if key != "it"}
    assert without(body, frozenset(["not there at all"])) == body


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"{}", b'{"k":1}'), (b" {\n} ", b'{"k":1}'), (b'{"a":-1.5e+3}', b'{"a":-1.5e+3,"k":1}'),
        (b'{"k":[{"k":2}],"\\u006b":true , "a":{"k":3}}', b'{"k":1,"\\u006b":1 , "a":{"k":3}}'),
        (b'{"k":"}\\"","a":1}', b'{"k":1,"a":1}'), (b'{"k":123456789012345678901234567890}', b'{"k":1}'),
    ],
)  # fmt: skip
def test_set_member(body: bytes, wanted: bytes) -> None:
    assert set_member(body, "k", b"1") == wanted
