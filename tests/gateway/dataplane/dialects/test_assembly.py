"""A stream put together equals the answer that was not streamed."""

import copy
import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.dataplane.dialects import answers
from graduand.gateway.dataplane.dialects.answers import StreamReader
from graduand.gateway.dataplane.dialects.assembly import Assembly
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from tests.gateway.targets import addressee

VLLM, LORAX = addressee("student"), addressee("student", "lorax")

Json = dict[str, Any]
TOP = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "fp"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def cut_up(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def stream_of(answer: Json, cuts: list[int]) -> list[Json]:
    """The chunks of a chat answer as OpenAI sends them, choices interleaved."""
    rows: list[list[Json]] = []
    for choice in answer["choices"]:
        message, index = choice["message"], choice["index"]
        deltas: list[Json] = [{"role": "assistant"}]
        for field in ("content", "refusal", "reasoning_content"):
            if message.get(field) is not None:
                deltas += [{field: piece} for piece in cut_up(message[field], cuts)] or [{field: ""}]
        for at, tool in enumerate(message.get("tool_calls", [])):
            name = {"name": tool["function"]["name"], "arguments": ""}
            deltas.append({"tool_calls": [{"index": at, "id": tool["id"], "type": "function", "function": name}]})
            for piece in cut_up(tool["function"]["arguments"], cuts):
                deltas.append({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        row: list[Json] = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
        if "logprobs" in choice:
            for at, entry in enumerate(choice["logprobs"]["content"]):
                row.insert(
                    1 + at, {"index": index, "delta": {}, "logprobs": {"content": [entry]}, "finish_reason": None}
                )
        row.append({"index": index, "delta": {}, "finish_reason": choice["finish_reason"]})
        rows.append(row)
    chunks = []
    for step in range(max(map(len, rows))):
        chunks += [{**TOP, "choices": [row[step]], "usage": None} for row in rows if step < len(row)]
    return [*chunks, {**TOP, "choices": [], "usage": USAGE}]


texts = st.text(max_size=12)
tools = st.builds(
    lambda number, name, arguments: {
        "id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments},
    },
    st.integers(0, 99), st.text(min_size=1, max_size=5), texts,
)  # fmt: skip
messages = st.builds(
    lambda content, refusal, calls: {
        "role": "assistant", "content": content, **({"refusal": refusal} if refusal else {}),
        **({"tool_calls": calls} if calls else {}),
    },
    st.none() | texts, st.none() | texts, st.lists(tools, max_size=3),
)  # fmt: skip
logprobs = st.lists(st.fixed_dictionaries({"token": texts, "logprob": st.floats(-9, 0)}), min_size=1, max_size=4)
choices = st.builds(
    lambda message, probs, reason: {
        "message": message, "finish_reason": reason, **({"logprobs": {"content": probs}} if probs else {}),
    },
    messages, st.none() | logprobs, st.sampled_from(["stop", "length", "tool_calls"]),
)  # fmt: skip


@given(st.lists(choices, min_size=1, max_size=3), st.lists(st.integers(0, 20), max_size=5))
def test_chat_stream_equals_the_whole(parts: list[Json], cuts: list[int]) -> None:
    answer = {
        **TOP, "object": "chat.completion", "usage": USAGE,
        "choices": [{"index": at, **part} for at, part in enumerate(parts)],
    }  # fmt: skip
    assembly = Assembly()
    for chunk in stream_of(answer, cuts):
        assembly.add(copy.deepcopy(chunk))
    assert assembly.answer() == answer
    assert assembly.complete
    assert assembly.usage == USAGE


@given(texts, st.lists(st.integers(0, 20), max_size=5))
def test_completion_stream_equals_the_whole(text: str, cuts: list[int]) -> None:
    top = {**TOP, "object": "text_completion"}
    assembly = Assembly()
    for piece in cut_up(text, cuts) or [""]:
        assembly.add({**top, "choices": [{"index": 0, "text": piece, "finish_reason": None, "logprobs": None}]})
    assembly.add({**top, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": USAGE})
    whole = {"index": 0, "text": text, "finish_reason": "stop"}
    assert assembly.answer() == {**top, "choices": [whole], "usage": USAGE}


def test_complete_only_when_every_choice_that_began_has_ended() -> None:
    assembly = Assembly()
    assert not assembly.complete
    assembly.add({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]})
    assembly.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert not assembly.complete
    assembly.add({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]})
    assert assembly.complete


@pytest.mark.parametrize(
    ("delta", "visible"),
    [
        ({"role": "assistant"}, False), ({"role": "assistant", "content": ""}, False), ({"content": None}, False),
        ({"content": "a"}, True), ({"refusal": "no"}, True), ({"reasoning_content": "hm"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
    ],
)  # fmt: skip
def test_visible_is_what_a_reader_sees(delta: Json, visible: bool) -> None:
    assert Assembly().add({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) is visible


# An upstream's nonsense is never the gateway's crash.

KEYS = [
    "choices", "delta", "index", "content", "role", "tool_calls", "function", "name", "arguments", "finish_reason",
    "usage", "logprobs", "text", "message", "id", "object", "model", "error", "_tools",
]  # fmt: skip
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.text(max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
odd_tools = st.fixed_dictionaries(
    {}, optional={"index": json_values, "id": json_values, "type": json_values, "function": json_values}
)
odd_deltas = st.fixed_dictionaries(
    {}, optional={"role": json_values, "content": json_values, "text": json_values, "tool_calls": st.lists(odd_tools)}
)
odd_choices = st.fixed_dictionaries(
    {}, optional={"index": st.integers(0, 1) | json_values, "delta": odd_deltas | json_values, "text": json_values,
                  "logprobs": json_values, "finish_reason": json_values}
)  # fmt: skip
odd_chunks = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(odd_choices) | json_values, "usage": json_values, "model": json_values}
)


@given(st.lists(odd_chunks | json_values, max_size=5), st.booleans(), st.booleans())
def test_any_chunks_are_read_or_refused(chunks: list[Any], lorax: bool, keep_usage: bool) -> None:
    reader = StreamReader(LORAX if lorax else VLLM, keep_usage=keep_usage)
    try:
        for chunk in chunks:
            reader.feed(b"data: %b\n\n" % orjson.dumps(chunk))
        reader.finish()
    except UpstreamFailed:
        pass
    orjson.dumps(reader.assembly.answer())


@given(odd_chunks | json_values, st.booleans())
def test_any_whole_answer_is_read_or_refused(data: Any, lorax: bool) -> None:
    try:
        released = answers.whole(orjson.dumps(data), {}, LORAX if lorax else VLLM).encoded
    except UpstreamFailed:
        return
    assert orjson.loads(released)["model"] == "student"
    assert orjson.loads(released)["choices"]


def _chunk(text: str, **more: Any) -> bytes:
    delta = {"content": text}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} | more
    return b"data: %b\n\n" % orjson.dumps(
        {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    )


@given(st.lists(st.text(max_size=8) | st.sampled_from(['"', "\\", '"content":"', "é", "\u2028", "\x00"]), max_size=12))
def test_recognised_chunks_mean_what_parsed_ones_mean(texts: list[str]) -> None:
    stream = b"".join(_chunk(text) for text in texts) + _chunk("", finish_reason="stop") + b"data: [DONE]\n\n"
    reader = StreamReader(VLLM, keep_usage=True)
    sent = b"".join(reader.feed(stream[at : at + 50]) for at in range(0, len(stream), 50)) + reader.finish()
    events = [orjson.loads(event[6:]) for event in sent.split(b"\n\n") if event.startswith(b"data: {")]
    assert [event["choices"][0]["delta"].get("content") for event in events] == [*texts, ""]
    assert all(event["model"] == "student" for event in events)
    assert reader.assembly.answer()["choices"][0]["message"]["content"] == "".join(texts)


@pytest.mark.parametrize("broken", [b'{"id":"c"'])
def test_a_broken_chunk_among_recognised_ones_is_noticed(broken: bytes) -> None:
    reader = StreamReader(VLLM, keep_usage=True)
    first = _chunk("one")
    reader.feed(first + _chunk("two"))
    payload = broken if broken.startswith(b"{") else first[6:-2].replace(b"one", broken)
    reader.feed(b"data: %b\n\n" % payload)
    assert reader.failure is not None
    with pytest.raises(UpstreamFailed):
        reader.finish()


def put_together(*deltas: Json) -> Json:
    """The message that these deltas come to."""
    assembly = Assembly()
    for delta in deltas:
        assembly.add({**TOP, "choices": [{"index": 0, "delta": copy.deepcopy(delta), "finish_reason": None}]})
    message: Json = assembly.answer()["choices"][0]["message"]
    return message


def call(name: str, arguments: str, number: str | None, **more: Any) -> Json:
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize(
    "deltas",
    [
        [[call("a", "{}", "1", index=0)], [call("b", "[]", "2", index=0)]],
        [[call("a", "{}", "1", index=None)], [call("b", "[]", "2", index=None)]],
        [[call("a", "{}", "1")], [call("b", "[]", "2")]],
        [[call("a", "{}", "1", index=0), call("b", "[]", "2", index=1)]],
        [
            [call("a", "", "1", index=0)], [{"index": 0, "function": {"arguments": "{}"}}],
            [call("b", "", "2", index=0)], [{"index": 0, "function": {"arguments": "[]"}}],
        ],
        [
            [call("a", "", "1", index=0)], [call("b", "", "2", index=1)],
            [{"index": 0, "function": {"arguments": "{}"}}], [{"index": 1, "function": {"arguments": "[]"}}],
        ],
        [[call("a", "", "1")], [{"function": {"arguments": "{}"}}], [call("b", "", "2")], [{"function": {"arguments": "[]"}}]],
        [[call("a", "{", "1", index=0)], [call("", "}", "1", index=0)], [call("b", "[]", "2", index=5)]],
        [[call("a", "{", "1", index=0)], [call("a", "}", "1", index=0)], [call("b", "[]", "2", index=0)]],
        [
            [call("a", "{", "1", index=0)], [call("b", "[", "2", index=0)],
            [call("", "}", "1", index=0)], [call("", "]", "2", index=0)],
        ],
        [[call("a", "{}", "1", index="0")], [call("b", "[]", "2", index="1")]],
        [[call("a", "{}", "1", index=1)], [call("b", "[]", "2", index=2)]],
    ],
)  # fmt: skip
def test_calls_of_tools_are_told_apart(deltas: list[Any]) -> None:
    message = put_together(*({"tool_calls": one} for one in deltas))
    assert message["tool_calls"] == [call("a", "{}", "1"), call("b", "[]", "2")]


def nameless(name: str | None, arguments: str, **more: Any) -> Json:
    """A call without an id."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize("index", [{}, {"index": None}, {"index": 0}])
@pytest.mark.parametrize(
    "deltas",
    [
        [["a", "{}"], ["b", "[]"]],
        [["a", ""], ["", "{"], [None, "}"], ["b", ""], ["", "[]"]],
        [["a", "{"], ["", "}"], ["b", "["], ["", "]"]],
        [["a", "{"], ["a", "}"], ["b", "["], ["b", "]"]],
    ],
)
def test_calls_without_an_id_are_told_apart_by_their_names(deltas: list[list[Any]], index: Json) -> None:
    message = put_together(*({"tool_calls": [nameless(*one, **index)]} for one in deltas))
    assert message["tool_calls"] == [call("a", "{}", None), call("b", "[]", None)]


def test_calls_without_an_id_in_one_chunk() -> None:
    message = put_together({"tool_calls": [nameless("a", ""), nameless("b", ""), nameless("a", "{}")]})
    assert message["tool_calls"] == [call("a", "", None), call("b", "", None), call("a", "{}", None)]


def test_a_name_in_pieces_is_one() -> None:
    message = put_together(
        {"tool_calls": [nameless("get_", "", index=0)]}, {"tool_calls": [nameless("it", "{}", index=0)]}
    )
    assert message["tool_calls"] == [call("get_it", "{}", None)]


def test_calls_that_are_no_functions_are_joined() -> None:
    first = {"index": 0, "id": "1", "type": "custom", "custom": {"name": "sql", "input": "SELECT "}}
    message = put_together({"tool_calls": [first]}, {"tool_calls": [{"index": 0, "custom": {"input": "1"}}]})
    assert message["tool_calls"] == [{"id": "1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}]


def thought(text: str) -> Json:
    """A piece of thinking as Mistral streams it."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


PICTURE = {"type": "image_url", "image_url": {"url": "x"}}


@pytest.mark.parametrize(
    ("deltas", "field", "whole"),
    [
        (
            [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": '{"a"'}},
             {"function_call": {"arguments": ":1}"}}],
            "function_call", {"name": "f", "arguments": '{"a":1}'},
        ),
        (
            [{"audio": {"id": "x", "transcript": "he"}}, {"audio": {"transcript": "llo"}}, {"audio": {"data": "AA"}},
             {"audio": {"data": "BB"}}, {"audio": {"expires_at": 9}}],
            "audio", {"id": "x", "transcript": "hello", "data": "AABB", "expires_at": 9},
        ),
        (
            [{"reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]},
             {"reasoning_details": [{"type": "reasoning.text", "text": "b", "index": 0}]},
             {"reasoning_details": [{"type": "reasoning.text", "text": "c", "index": 1}]}],
            "reasoning_details",
            [{"type": "reasoning.text", "text": "ab", "index": 0}, {"type": "reasoning.text", "text": "c", "index": 1}],
        ),
        (
            [{"reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]},
             {"reasoning_details": [{"type": "reasoning.text", "text": "b", "index": 1}]},
             {"reasoning_details": [{"type": "reasoning.text", "text": "c", "index": 0, "signature": "s"}]}],
            "reasoning_details",
            [{"type": "reasoning.text", "text": "ac", "index": 0, "signature": "s"},
             {"type": "reasoning.text", "text": "b", "index": 1}],
        ),
        (
            [{"reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
             {"reasoning_details": [{"type": "reasoning.text", "text": "b"}]},
             {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}],
            "reasoning_details",
            [{"type": "reasoning.text", "text": "ab"}, {"type": "reasoning.encrypted", "data": "x"}],
        ),
        (
            [{"content": [thought("let ")]}, {"content": [thought("me see")]}, {"content": "it is "}, {"content": "4"}],
            "content", [thought("let me see"), {"type": "text", "text": "it is 4"}],
        ),
        (
            [{"content": "a"}, {"content": "b"}, {"content": [{"type": "text", "text": "c"}, PICTURE]}, {"content": [PICTURE]},
             {"content": "d"}],
            "content", [{"type": "text", "text": "abc"}, PICTURE, PICTURE, {"type": "text", "text": "d"}],
        ),
        ([{"tool_calls": {"odd": 1}}, {"tool_calls": [call("a", "{}", "1")]}], "tool_calls", [call("a", "{}", "1")]),
        ([{"tool_calls": "odd"}, {"tool_calls": [call("a", "{}", "1")]}], "tool_calls", [call("a", "{}", "1")]),
        ([{"annotations": [{"a": 1}]}, {"annotations": [{"a": 2}]}], "annotations", [{"a": 1}, {"a": 2}]),
        ([{"refusal": "I "}, {"refusal": "will not"}], "refusal", "I will not"),
        ([{"images": [{"url": "x"}]}, {"images": [{"url": "y"}]}], "images", [{"url": "x"}, {"url": "y"}]),
    ],
)  # fmt: skip
def test_what_is_logged_of_a_stream_is_what_was_streamed(deltas: list[Json], field: str, whole: Any) -> None:
    message = put_together(*deltas)
    assert message[field] == whole


@pytest.mark.parametrize("by", [VLLM, LORAX], ids=["openai", "lorax"])
@pytest.mark.parametrize("whole", ["Hi \U0001f600 bye", "cut \ufffd"])
def test_half_pairs_pass_and_are_joined(by: Any, whole: str) -> None:
    reader = StreamReader(by, keep_usage=False)
    pieces = [b"Hi ", b"\\ud83d", b"\\ude00", b" bye"] if "bye" in whole else [b"cut ", b"\\ud83d"]
    lines = [b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % piece for piece in pieces]
    end = b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    shown = b"".join(reader.feed(line) for line in (*lines, end)) + reader.finish()
    assert reader.failure is None
    assert reader.strange
    if by is VLLM:
        assert shown.count(b"\\ud83d") == 1
    assert reader.assembly.answer()["choices"][0]["message"]["content"] == whole
    assert orjson.loads(reader.assembly.encoded() or "")["choices"][0]["message"]["content"] == whole


SPLIT = "\U0001f600".encode()


@pytest.mark.parametrize("odd", [(SPLIT[:2], SPLIT[2:]), (b"\xff",), (b"\x01",), (b"a\tb",)])
def test_bytes_that_no_text_holds_pass_among_recognised_chunks(odd: tuple[bytes, ...]) -> None:
    """Half a character in UTF-8, and bare control characters: as they came to the client, noted for whoever looks at them."""
    reader = StreamReader(VLLM, keep_usage=True)
    usual = _chunk("one")
    chunks = [usual, _chunk("two"), *(usual.replace(b"one", piece) for piece in odd), _chunk("last")]
    shown = [reader.feed(one) for one in chunks]
    assert reader.failure is None
    assert reader.strange
    assert [piece in line for piece, line in zip(odd, shown[2:], strict=False)] == [True] * len(odd)
    assert (reader.assembly.encoded() or "").count("last") == 1


@pytest.mark.parametrize(
    "end", [b"data: [DONE]", b"data: [DONE] \n\n", b"data:   [DONE]\n\n", b"data: [DONE]\t\r\n\r\n", b"data:[DONE]\n\n"]
)
def test_blanks_around_the_end(end: bytes) -> None:
    reader = StreamReader(VLLM, keep_usage=True)
    reader.feed(_chunk("one"))
    reader.feed(b"data:\n\ndata: \n\ndata\n\n" + end)
    assert reader.finish().endswith(b"data: [DONE]\n\n")
    assert reader.done


@pytest.mark.parametrize(
    "strange", [b"NaN", b"-Infinity", b'"\\ud83d"', b'"\xff"', b"[" * 300 + b"]" * 300, b'"a\nb\x00"']
)
def test_what_need_not_be_understood_is_no_reason_to_fail(strange: bytes) -> None:
    body = (
        b'{"model":"m","x":%b,"choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}]}' % strange
    )
    whole = answers.whole(body, {}, VLLM)
    assert strange in whole.encoded
    assert whole.form["choices"][0]["message"]["content"] == "hello"


def test_what_stands_beside_a_choices_delta_is_kept() -> None:
    """Azure's filter results, vLLM's reason to stop, citations of the last chunk, log probabilities of either kind."""
    assembly = Assembly()
    content, refusal = {"content": [{"token": "a"}], "refusal": None}, {"content": None, "refusal": [{"token": "b"}]}
    choices = [
        {"index": 0, "delta": {"content": "a"}, "logprobs": content},
        {"index": 0, "finish_reason": None, "content_filter_results": {"hate": {"filtered": False}}},
        {
            "index": 0,
            "delta": {"refusal": "b"},
            "logprobs": refusal,
            "content_filter_results": {"violence": {"filtered": True}},
        },
        {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END", "message": "odd", "token_ids": None},
    ]
    for choice in choices:
        assembly.add({**TOP, "choices": [choice]})
    assembly.add({**TOP, "choices": [], "citations": ["https://a"], "service_tier": "default"})
    answer = assembly.answer()
    assert (answer["citations"], answer["service_tier"]) == (["https://a"], "default")
    [choice] = answer["choices"]
    assert choice["content_filter_results"] == {"hate": {"filtered": False}, "violence": {"filtered": True}}
    assert choice["stop_reason"] == "END"
    assert choice["logprobs"] == {"content": [{"token": "a"}], "refusal": [{"token": "b"}]}
    assert (choice["message"]["content"], choice["message"]["refusal"]) == ("a", "b")
    assert assembly.answer() == answer  # as often as it is asked for


def test_empty_fields_of_a_first_chunk_are_filled_by_later_ones() -> None:
    assembly = Assembly()
    assembly.add({"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": [1]})
    assembly.add({**TOP, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]})
    answer = assembly.answer()
    assert (answer["object"], answer["model"], answer["id"]) == ("chat.completion", "m", "c1")
    assert answer["prompt_filter_results"] == [1]
