"""What a request must hold, and what reaches the upstream of it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.dialects.completions import COMPLETIONS
from graduand.gateway.dataplane.dialects.dialect import Addressee, Dialect
from graduand.gateway.dataplane.dialects.embeddings import EMBEDDINGS
from graduand.gateway.dataplane.dialects.openai import keeps_usage
from graduand.gateway.errors import RequestError
from tests.gateway.targets import addressee

USER = [{"role": "user", "content": "hi"}]
REFUSED = [
    (CHAT, b"", "invalid_json", None),
    (CHAT, b"{", "invalid_json", None),
    (CHAT, b"hello", "invalid_json", None),
    (CHAT, b"\xff\xfe", "invalid_json", None),
    (CHAT, b'{"a":"\xc3"}', "invalid_json", None),
    (CHAT, b'{"a":NaN}', "invalid_json", None),
    (CHAT, b"[" * 100_000, "invalid_json", None),
    (CHAT, [], "invalid_json", None),
    (CHAT, "text", "invalid_json", None),
    (CHAT, None, "invalid_json", None),
    (CHAT, {}, "missing_required_parameter", "model"),
    (CHAT, {"model": 5, "messages": USER}, "invalid_type", "model"),
    (CHAT, {"model": "", "messages": USER}, "invalid_type", "model"),
    (CHAT, {"model": None, "messages": USER}, "invalid_type", "model"),
    (CHAT, {"model": ["m"], "messages": USER}, "invalid_type", "model"),
    (CHAT, {"model": "m"}, "missing_required_parameter", "messages"),
    (CHAT, {"model": "m", "messages": []}, "invalid_type", "messages"),
    (CHAT, {"model": "m", "messages": {}}, "invalid_type", "messages"),
    (CHAT, {"model": "m", "messages": "hi"}, "invalid_type", "messages"),
    (CHAT, {"model": "m", "messages": ["hi"]}, "invalid_type", "messages"),
    (CHAT, {"model": "m", "messages": [None]}, "invalid_type", "messages"),
    (CHAT, {"model": "m", "messages": [*USER, {"content": "x"}]}, "invalid_type", "messages.[1].role"),
    (CHAT, {"model": "m", "messages": [{"role": 5}]}, "invalid_type", "messages.[0].role"),
    (CHAT, {"model": "m", "messages": USER, "stream": "yes"}, "invalid_type", "stream"),
    (CHAT, {"model": "m", "messages": USER, "stream": 1}, "invalid_type", "stream"),
    (CHAT, {"model": "m", "messages": USER, "stream_options": []}, "invalid_type", "stream_options"),
    (COMPLETIONS, {"model": "m"}, "missing_required_parameter", "prompt"),
    (COMPLETIONS, {"model": "m", "prompt": 5}, "invalid_type", "prompt"),
    (COMPLETIONS, {"model": "m", "prompt": ""}, "invalid_type", "prompt"),
    (EMBEDDINGS, {"model": "m", "prompt": "x"}, "missing_required_parameter", "input"),
    (EMBEDDINGS, {"model": "m", "input": {"a": 1}}, "invalid_type", "input"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "code", "param"), REFUSED)
def test_refused(dialect: Dialect, body: Any, code: str, param: str | None) -> None:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(RequestError) as caught:
        dialect.parse(data)
    error = caught.value
    assert (error.status, error.kind, error.code, error.param) == (400, "invalid_request_error", code, param)
    assert len(error.message) < 300


ACCEPTED = [
    (CHAT, {"model": "m", "messages": USER}),
    (CHAT, {"model": "m", "messages": USER, "stream": None, "stream_options": None, "unknown": {"x": [1.50]}}),
    (COMPLETIONS, {"model": "m", "prompt": ["a", "b"]}),
    (COMPLETIONS, {"model": "m", "prompt": [1, 2, 3]}),
    (EMBEDDINGS, {"model": "m", "input": "x"}),
]


@pytest.mark.parametrize(("dialect", "data"), ACCEPTED)
def test_accepted(dialect: Dialect, data: Any) -> None:
    assert dialect.parse(orjson.dumps(data)) == data


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["model", "messages", "prompt", "input", "stream", "stream_options"]
requests = st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values


@given(st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS]), requests)
def test_anything_is_accepted_or_refused_in_words(dialect: Dialect, data: Any) -> None:
    try:
        dialect.parse(orjson.dumps(data))
    except RequestError as error:
        assert error.status == 400


UP = addressee("up")


def sent(body: bytes, data: Any, to: Addressee = UP, dialect: Dialect = CHAT) -> bytes:
    """The body that goes upstream."""
    sending = dialect.sending(body, data, to, scored=False)
    assert (sending.path, sending.headers) == (dialect.endpoint, b"")
    return sending.body


BODIES = [
    (b'{"model":"r","messages":[], "x":1.50}', False, b'{"model":"up","messages":[], "x":1.50}'),
    (b'{"model":"r","x":1.50}', True, b'{"model":"up","x":1.50,"stream_options":{"include_usage":true}}'),
    (b'{"model":"up","x":1.50} ', False, b'{"model":"up","x":1.50} '),
    # Neither the first nor the last of a doubled key may name another model.
    (b'{"model":"evil","model":"r"}', False, b'{"model":"up","model":"up"}'),
    (b'{"model":"evil","model":"up"}', False, b'{"model":"up","model":"up"}'),
    (b'{"\\u006dodel":"evil","model":"up"}', False, b'{"\\u006dodel":"up","model":"up"}'),
]


@pytest.mark.parametrize(("body", "ask_usage", "wanted"), BODIES)
def test_upstream_body(body: bytes, ask_usage: bool, wanted: bytes) -> None:
    data = {**json.loads(body), **({"stream": True} if ask_usage else {})}
    assert sent(body, data) == wanted


def test_lorax_takes_stop_as_a_list() -> None:
    data = {"model": "r", "stop": "\n", "messages": []}
    got = sent(orjson.dumps(data), data, addressee("up", "lorax"))
    assert json.loads(got) == {**data, "model": "up", "stop": ["\n"]}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None, "other": 1}])
def test_the_clients_own_stream_options_are_kept(options: Any) -> None:
    data = {"model": "r", "stream": True, "stream_options": options}
    got = sent(orjson.dumps(data), data)
    assert json.loads(got) == {
        "model": "up",
        "stream": True,
        "stream_options": {**(options or {}), "include_usage": True},
    }


EXACT = b'"seed":12345678901234567890123,"x":1.50,"y":1e5'


@pytest.mark.parametrize(
    ("options", "sent_options"),
    [
        (b"null", b'{"include_usage":true}'), (b"{ }", b'{"include_usage":true}'),
        (b'{"include_usage" : false}', b'{"include_usage" : true}'),
        (b'{"a": 1.50}', b'{"a": 1.50,"include_usage":true}'),
    ],
)  # fmt: skip
def test_stream_options_change_nothing_else(options: bytes, sent_options: bytes) -> None:
    body = b'{"model":"up", %b , "stream_options": %b, "stream":true}' % (EXACT, options)
    got = sent(body, orjson.loads(body))
    assert got == body.replace(options, sent_options)


def test_stop_for_lorax_changes_nothing_else() -> None:
    body = b'{"model":"up", %b , "stop" : "\\n\\u0041"}' % EXACT
    got = sent(body, orjson.loads(body), addressee("up", "lorax"))
    assert got == body.replace(b'"\\n\\u0041"', b'["\\nA"]')


LORAX_ONLY = [
    b'"adapter_id":"evil/hub"', b'"adapter_source":"hub"', b'"api_token":"hf_x"', b'"merged_adapters":{"ids":["a","b"]}',
    b'"adapter_source":"s3","adapter_source":"hub"', b'"adapter\\u005fsource":"hub"', b'"parameters":{"api_token":"x"}',
]  # fmt: skip


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS, EMBEDDINGS])
@pytest.mark.parametrize("field", LORAX_ONLY)
@pytest.mark.parametrize("form", [b"{%b, %b}", b"{ \n%b , %b }"])
def test_no_client_chooses_what_lorax_loads(dialect: Dialect, field: bytes, form: bytes) -> None:
    rest = b'"model":"up", %b' % EXACT
    for body in (form % (field, rest), form % (rest, field)):
        got = sent(body, orjson.loads(body), addressee("up", "lorax"), dialect)
        assert got == b"{%b}" % rest.replace(b", ", b",")
        assert sent(body, orjson.loads(body), UP, dialect) == body  # to others these are fields like any other


@pytest.mark.parametrize(
    ("options", "keeps"), [(None, False), ({}, False), ({"include_usage": True}, True), ({"include_usage": 1}, False)]
)
def test_keeps_usage(options: Any, keeps: bool) -> None:
    assert keeps_usage({"stream_options": options}) is keeps
