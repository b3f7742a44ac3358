"""Streams between the two APIs, put together by the real SDK's own code, for any pieces that they come in."""

import json
from typing import Any

import openai.types.chat
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from graduand.gateway.dataplane.dialects.dialect import Addressee, Reader
from graduand.gateway.dataplane.dialects.messages import MESSAGES
from graduand.gateway.dataplane.dialects.upstream_chat import Framed
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.model.forms import claude as forms
from graduand.gateway.model.forms import messages
from tests.gateway import claude

Json = dict[str, Any]
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
CLAUDE = Addressee("anthropic", "opus", b'"opus"')
VLLM = Addressee("vllm", "small", b'"small"')
ASKED: Json = {"model": "r", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
THINKS: Json = {**ASKED, "thinking": {"type": "adaptive"}}


def fed(reader: Reader, data: bytes, size: int = 1 << 20) -> bytes:
    """What a client gets of these bytes, which come in pieces of this size."""
    out = b"".join(reader.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert reader.progress.failure is None
    return out + reader.finish()


def events(stream: bytes) -> list[Json]:
    """The events on the wire; each is named as it says itself, and is one of the SDK's."""
    found = []
    for block in stream.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] != "ping":
            EVENT.validate_python(event)
        found.append(event)
    return found


def put_together(listed: list[Json]) -> Json:
    """The message as the SDK makes it, without what is null."""
    message: Any = None
    arguments: dict[int, bytes] = {}
    for event in listed:
        if event["type"] not in ("ping", "message_stop", "content_block_stop"):
            message = accumulate_event(
                event=EVENT.validate_python(event), current_snapshot=message, json_bufs=arguments
            )
    found: Json = Message.model_validate(message.to_dict()).to_dict(exclude_none=True)
    return found


def order(listed: list[Json]) -> list[str]:
    """The events' types with the numbers of their blocks, one for several deltas of the same kind."""
    said = []
    for event in listed:
        kind = event["type"].removeprefix("content_block_").removeprefix("message_")
        kind += f" {event['index']}" if "index" in event else ""
        if not said or said[-1] != kind:
            said.append(kind)
    return said


def chunks(*deltas: Json, finish: str | None = "stop", usage: bool = True, **end: Any) -> bytes:
    """A chat stream as vLLM writes it."""
    top = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
    listed: list[Json] = [{**top, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if finish is not None:
        listed.append({**top, "choices": [{"index": 0, "delta": {}, "finish_reason": finish, **end}]})
    if usage:
        told = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        listed.append({**top, "choices": [], "usage": told})
    return b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in listed) + b"data: [DONE]\n\n"


def call(index: int | None, arguments: Any = None, **more: Any) -> Json:
    name = {"name": more.pop("name")} if "name" in more else {}
    given = {} if arguments is None else {"arguments": arguments}
    return {"tool_calls": [{**({} if index is None else {"index": index}), **more, "function": {**name, **given}}]}


ROLE: Json = {"role": "assistant", "content": ""}
TEXT: list[Json] = [ROLE, {"content": "Grü"}, {"content": "ße"}]
FIRST: Json = call(0, "", id="t1", name="weather", type="function")
SECOND: Json = call(1, "", id="t2", name="time", type="function")
USES: Json = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"a": 1}}
USES_ALSO: Json = {"type": "tool_use", "id": "t2", "name": "time", "input": {"b": 2}}
SAID: Json = {"type": "text", "text": "Grüße"}
ONE_BLOCK = ["start", "ping", "start 0", "delta 0", "stop 0", "delta", "stop"]
TWO_BLOCKS = [*ONE_BLOCK[:5], "start 1", "delta 1", "stop 1", "delta", "stop"]
STREAMS: dict[str, tuple[bytes, list[str], list[Json]]] = {
    "text": (chunks(*TEXT), ONE_BLOCK, [SAID]),
    "nothing": (chunks(ROLE), ["start", "ping", "delta", "stop"], []),
    "thinking": (
        chunks(ROLE, {"reasoning_content": "H"}, {"reasoning": "m"}, {"content": "Grüße"}), TWO_BLOCKS,
        [{"type": "thinking", "thinking": "Hm", "signature": ""}, SAID],
    ),
    "a call in pieces": (chunks(ROLE, FIRST, call(0, '{"a"'), call(0, ": 1}"), finish="tool_calls"), ONE_BLOCK, [USES]),
    "text and two calls": (
        chunks(*TEXT, FIRST, call(0, '{"a": 1}'), SECOND, call(1, '{"b"'), call(1, ": 2}"), finish="tool_calls"),
        [*ONE_BLOCK[:5], "start 1", "delta 1", "stop 1", "start 2", "delta 2", "stop 2", "delta", "stop"],
        [SAID, USES, USES_ALSO],
    ),
    "two calls whose pieces come in turns": (
        chunks(ROLE, FIRST, SECOND, call(0, '{"a"'), call(1, '{"b"'), call(0, ": 1}"), call(1, ": 2}")), TWO_BLOCKS,
        [USES, USES_ALSO],
    ),
    "two calls of the same index": (
        chunks(call(0, '{"a": 1}', id="t1", name="weather"), call(0, '{"b": 2}', id="t2", name="time")), TWO_BLOCKS,
        [USES, USES_ALSO],
    ),
    "calls without an index": (
        chunks(call(None, '{"a": 1}', id="t1", name="weather"), call(None, {"b": 2}, id="t2", name="time")), TWO_BLOCKS,
        [USES, USES_ALSO],
    ),
    "both in one chunk": (
        chunks({"tool_calls": [*call(0, '{"a": 1}', id="t1", name="weather")["tool_calls"],
                               *call(1, '{"b": 2}', id="t2", name="time")["tool_calls"]]}),
        TWO_BLOCKS, [USES, USES_ALSO],
    ),
    "a call without arguments": (
        chunks(ROLE, call(0, "", id="t1", name="weather")), ["start", "ping", "start 0", "stop 0", "delta", "stop"],
        [{**USES, "input": {}}],
    ),
    "text after a call": (
        chunks(ROLE, FIRST, {"content": "Grü"}, call(0, '{"a": 1}'), {"content": "ße"}), TWO_BLOCKS, [USES, SAID],
    ),
    "an emoji's halves": (
        chunks({"content": "\ud83d"}, {"content": "\ude00!"}), ONE_BLOCK, [{"type": "text", "text": "😀!"}],
    ),
    "half an emoji": (chunks({"content": "x\ud83d"}), ONE_BLOCK, [{"type": "text", "text": "x\ufffd"}]),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_chunks_become_events(name: str, size: int) -> None:
    stream, wanted, content = STREAMS[name]
    listed = events(fed(MESSAGES.reader(THINKS, VLLM, scored=False), stream, size))
    assert order(listed) == wanted
    found = put_together(listed)
    assert found["content"] == content
    assert found["stop_reason"] == ("tool_use" if any(one["type"] == "tool_use" for one in content) else "end_turn")
    assert (found["model"], found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == ("small", 7, 5)


@pytest.mark.parametrize(
    ("stream", "reason", "sequence"),
    [
        (chunks(*TEXT, finish="length"), "max_tokens", None),
        (chunks(*TEXT, stop_reason="END"), "stop_sequence", "END"),
        (chunks(*TEXT, stop_reason="OTHER"), "end_turn", None),
        (chunks({"refusal": "No."}), "refusal", None),
        (chunks(*TEXT, finish="content_filter"), "refusal", None),
        (chunks(ROLE, FIRST, call(0, '{"a'), finish="length"), "max_tokens", None),
    ],
)
def test_why_a_stream_ended(stream: bytes, reason: str, sequence: str | None) -> None:
    data = {**ASKED, "stop_sequences": ["END"]}
    ending = events(fed(MESSAGES.reader(data, VLLM, scored=False), stream))[-2]
    assert ending["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


def test_thinking_is_shown_to_whom_asked_for_it() -> None:
    stream = chunks(ROLE, {"reasoning_content": "Hm."}, {"content": "Yes."})
    for data in (ASKED, {**ASKED, "thinking": {"type": "adaptive", "display": "omitted"}}):
        found = put_together(events(fed(MESSAGES.reader(data, VLLM, scored=False), stream)))
        assert [block["type"] for block in found["content"]] == ["text"]


def test_tokens_are_estimated_where_none_are_told() -> None:
    found = put_together(events(fed(MESSAGES.reader(ASKED, VLLM, scored=False), chunks(*TEXT, usage=False))))
    assert found["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("arguments", ['{"a"', "[1]", "{} {}"])
def test_a_call_that_is_no_object_is_no_answer(arguments: str) -> None:
    reader = MESSAGES.reader(ASKED, VLLM, scored=False)
    reader.feed(chunks(ROLE, FIRST, call(0, arguments), finish="tool_calls"))
    with pytest.raises(UpstreamFailed):
        reader.finish()


WHOLE = claude.message("opus", [claude.THOUGHT, claude.said("opus"), *claude.CALLS], "tool_use")


def chat_of(stream: bytes) -> Json:
    """What the openai SDK's types hold of a stream, put together."""
    said: Json = {"content": "", "reasoning_content": "", "calls": {}}
    for block in stream.decode().split("\n\n")[:-2]:
        chunk = openai.types.chat.ChatCompletionChunk.model_validate_json(block.removeprefix("data: "), strict=True)
        if chunk.usage is not None:
            said["usage"] = chunk.usage.total_tokens
        for choice in chunk.choices:
            said["content"] += choice.delta.content or ""
            said["reasoning_content"] += (choice.delta.model_extra or {}).get("reasoning_content") or ""
            said["finish"] = choice.finish_reason
            for one in choice.delta.tool_calls or []:
                known = said["calls"].setdefault(one.index, {"id": one.id, "arguments": ""})
                assert one.function is not None
                known["arguments"] += one.function.arguments or ""
    return said


@pytest.mark.parametrize("keep", [True, False])
def test_events_become_chunks(keep: bool) -> None:
    stream = fed(Framed(CLAUDE, keep_usage=keep), claude.framed(claude.events(WHOLE)), 7)
    assert stream.endswith(b"data: [DONE]\n\n")
    said = chat_of(stream)
    assert (said["content"], said["reasoning_content"], said["finish"]) == (
        WHOLE["content"][1]["text"],
        "They greet me.",
        "tool_calls",
    )
    calls = [(one["id"], json.loads(one["arguments"])) for one in said["calls"].values()]
    assert calls == [("toolu_1", {"city": "Köln", "days": [1, 2]}), ("toolu_2", {})]
    assert said.get("usage") == (12 if keep else None)


PASSED = claude.framed(
    [*claude.events(WHOLE)[:-2], {"type": "something_new", "x": 1}, *claude.events(WHOLE)[-2:]]
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_claudes_own_events_pass_as_they_came_but_for_the_model(size: int) -> None:
    reader = MESSAGES.reader(ASKED, CLAUDE, scored=False)
    assert fed(reader, PASSED, size) == PASSED.replace(b'"opus-20260801"', b'"opus"')
    progress = reader.progress
    assert progress.served_model == "opus-20260801"
    # The log keeps the message, everybody else sees the chat answer, and both are those of the whole answer.
    logged = json.loads(progress.assembly.encoded() or "")
    assert logged == WHOLE
    choice = progress.assembly.answer()["choices"][0]
    assert choice["message"]["content"] == WHOLE["content"][1]["text"]
    assert len(choice["message"]["tool_calls"]) == 2


GOOD = claude.events(WHOLE)
OVERLOADED: Json = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
BROKEN: list[tuple[list[Json], str]] = [
    (GOOD[:-2], "truncated"), (GOOD[:3], "truncated"), ([], "truncated"), ([*GOOD[:5], OVERLOADED], "error_event"),
    ([*GOOD[:3], {"type": "content_block_delta", "index": 0}], "malformed"),
    ([{"type": "message_start"}], "malformed"),
    ([*GOOD[:3], {"type": "content_block_start", "index": 1, "content_block": 5}], "malformed"),
    ([*GOOD[:2], {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}], "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("listed", "cause"), BROKEN)
def test_what_broke_off_is_no_answer(listed: list[Json], cause: str) -> None:
    reader = MESSAGES.reader(ASKED, CLAUDE, scored=False)
    reader.feed(claude.framed(listed))
    with pytest.raises(UpstreamFailed) as failed:
        reader.finish()
    assert failed.value.failure.cause == cause


def test_an_answer_that_said_why_it_ended_is_whole_without_its_last_event() -> None:
    shown = fed(MESSAGES.reader(ASKED, CLAUDE, scored=False), claude.framed(GOOD[:-1]))
    assert [one["type"] for one in events(shown)][-2:] == ["message_delta", "message_stop"]
    unended = claude.framed(GOOD)[:-2]  # no blank line at the end
    assert fed(MESSAGES.reader(ASKED, CLAUDE, scored=False), unended).count(b"message_stop") == 2
    assert fed(Framed(CLAUDE, keep_usage=False), claude.framed(GOOD[:-1])).endswith(b"[DONE]\n\n")


LETTERS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
INPUTS = st.dictionaries(LETTERS, st.one_of(st.integers(-9, 9), LETTERS, st.lists(LETTERS, max_size=2)), max_size=2)


@settings(max_examples=50, deadline=None)
@given(st.lists(LETTERS, max_size=1), st.lists(INPUTS, max_size=3), LETTERS, st.integers(1, 40), st.integers(1, 200))
def test_a_stream_says_what_the_whole_answer_says(
    texts: list[str], inputs: list[Json], thought: str, size: int, piece: int
) -> None:
    """Claude's events as chunks, and these as events again, in whatever pieces: the same message."""
    content: list[Json] = [{"type": "thinking", "thinking": thought, "signature": ""}]
    content += [{"type": "text", "text": text} for text in texts]
    content += [{"type": "tool_use", "id": f"t{at}", "name": "f", "input": one} for at, one in enumerate(inputs)]
    whole = claude.message("opus", content, "tool_use" if inputs else "end_turn")
    chat = fed(Framed(CLAUDE, keep_usage=True), claude.framed(claude.events(whole, size=size)), piece)
    found = put_together(events(fed(MESSAGES.reader(THINKS, VLLM, scored=False), chat, piece)))
    assert found["content"] == content
    assert found["stop_reason"] == whole["stop_reason"]
    used = {name: found["usage"][name] for name in forms.usage_of(messages.usage_of(claude.USAGE))}
    assert used == {name: one for name, one in claude.USAGE.items() if name != "service_tier"}
