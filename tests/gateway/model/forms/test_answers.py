"""Answers in the forms of both APIs, held against the SDKs' own types, and the log's reader over both."""

import json
from typing import Any

import anthropic.types
import openai.types.chat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.model import reader, usage
from graduand.gateway.model.forms import claude, messages
from graduand.gateway.model.forms.untranslatable import Untranslatable
from tests.gateway import claude as upstream

Json = dict[str, Any]


def chat(finish: str | None = "stop", **said: Any) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **said}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": None}


def made(answer: Json, stops: Any = None, *, thinks: bool = False) -> anthropic.types.Message:
    used = claude.usage_of(answer["usage"])
    return anthropic.types.Message.model_validate(
        claude.message_of(answer, stops, thinks=thinks, used=used), strict=True
    )


CALL: Json = {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
BROKEN: Json = {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city'}}


@pytest.mark.parametrize(
    ("answer", "kinds", "reason"),
    [
        (chat(content="Hi"), ["text"], "end_turn"),
        (chat(content=""), [], "end_turn"),
        (chat(content="Hi", finish="length"), ["text"], "max_tokens"),
        (
            chat(finish="tool_calls", content="Hm", tool_calls=[CALL, CALL]),
            ["text", "tool_use", "tool_use"],
            "tool_use",
        ),
        (chat(tool_calls=[CALL]), ["tool_use"], "tool_use"),  # some servers say "stop" then
        (chat(refusal="No."), ["text"], "refusal"),
        (chat(finish="content_filter", content="Hi"), ["text"], "refusal"),
        (chat(finish=None, content="Hi"), ["text"], "end_turn"),
        (chat(finish="something_new", content="Hi"), ["text"], "end_turn"),
        (chat(content=[{"type": "text", "text": "Hi"}]), ["text"], "end_turn"),
        (chat(content="Hi", reasoning_content="Hm."), ["thinking", "text"], "end_turn"),
        (chat(content="Hi", reasoning="Hm."), ["thinking", "text"], "end_turn"),
    ],
)
def test_a_message_is_made_of_a_chat_answer(answer: Json, kinds: list[str], reason: str) -> None:
    found = made(answer, thinks=True)
    assert [block.type for block in found.content] == kinds
    assert (found.stop_reason, found.stop_sequence) == (reason, None)
    assert not any(block.type == "thinking" for block in made(answer).content)  # nobody asked for it


def test_the_stop_sequence_is_told_where_the_server_says_which_it_was() -> None:
    answer = chat(content="Hi")
    answer["choices"][0]["stop_reason"] = "END"
    assert (made(answer, ["END"]).stop_reason, made(answer, ["END"]).stop_sequence) == ("stop_sequence", "END")
    assert made(answer, ["OTHER"]).stop_reason == "end_turn"


@pytest.mark.parametrize("calls", [[BROKEN], ["x"], [{"type": "custom"}]])
def test_a_call_that_is_no_object_is_no_message(calls: list[Any]) -> None:
    with pytest.raises(Untranslatable):
        made(chat(tool_calls=calls))


WHOLE = upstream.message("opus", [upstream.THOUGHT, upstream.said("opus"), *upstream.CALLS], "tool_use")


def test_a_chat_answer_is_made_of_a_message() -> None:
    anthropic.types.Message.model_validate(WHOLE, strict=True)
    found = openai.types.chat.ChatCompletion.model_validate(messages.answer_of(WHOLE, 5), strict=True)
    said = found.choices[0].message
    assert said.content == upstream.said("opus")["text"]
    assert said.model_extra == {"reasoning_content": "They greet me."}
    assert [json.loads(call.function.arguments) for call in said.tool_calls or [] if call.type == "function"] == [
        {"city": "Köln", "days": [1, 2]}, {},
    ]  # fmt: skip
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (7, 5, 12)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"),
        ("something_new", "stop"), (None, "stop"), ({}, "stop"),
    ],
)  # fmt: skip
def test_why_an_answer_ended(said: Any, heard: str) -> None:
    assert messages.answer_of({**WHOLE, "stop_reason": said}, 0)["choices"][0]["finish_reason"] == heard


@pytest.mark.parametrize(
    ("told", "prompt", "cached", "written"),
    [
        ({"input_tokens": 10, "output_tokens": 5}, 10, 0, 0),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90}, 100, 90, 0),
        ({"input_tokens": 0, "output_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 5}, 25, 5, 20),
        ({"input_tokens": 1, "output_tokens": 5, "cache_creation": {"ephemeral_5m_input_tokens": 3,
          "ephemeral_1h_input_tokens": 4}}, 8, 0, 7),
        ({"input_tokens": 1, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 3}}, 1, 0, 0),
        ({"input_tokens": 1, "output_tokens": 5, "cache_read_input_tokens": None, "cache_creation": None}, 1, 0, 0),
    ],
)  # fmt: skip
def test_costs_are_counted_as_of_the_vendors_own_usage(told: Json, prompt: int, cached: int, written: int) -> None:
    """The same numbers, whether the usage is read as Anthropic tells it or in the chat's form; and back again."""
    form = messages.usage_of(told)
    assert usage.told(form) == usage.told(told) == usage.Tokens(prompt, 5, "exact", cached, written)
    assert usage.told(claude.usage_of(form)) == usage.told(told)


@pytest.mark.parametrize("told", [None, {}, [], {"output_tokens": "5"}, {"input_tokens": 5}])
def test_no_usage_is_none(told: Any) -> None:
    assert messages.usage_of(told) is None


CONTENT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
CALLS = st.lists(
    st.builds(
        lambda name, given: {"type": "tool_use", "id": f"t-{name}", "name": name, "input": given},
        CONTENT, st.dictionaries(CONTENT, st.one_of(st.integers(-9, 9), CONTENT), max_size=2),
    ), max_size=2,
)  # fmt: skip


@settings(max_examples=60)
@given(CONTENT, CALLS, CONTENT)
def test_a_message_comes_back_as_it_went(text: str, calls: list[Json], thought: str) -> None:
    content: list[Json] = [{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []
    content += [{"type": "text", "text": text, "citations": None}] if text else []
    whole = upstream.message("m", [*content, *calls], "tool_use" if calls else "end_turn")
    used = {name: one for name, one in upstream.USAGE.items() if name != "service_tier"}
    assert claude.message_of(messages.answer_of(whole, 0), None, thinks=True, used=used) == {**whole, "usage": used}


# What a client asked by Messages and by chat, and how both are read in the log.
ASKED: Json = {
    "model": "r", "max_tokens": 9, "system": "Be kind.", "metadata": {"user_id": "ann"},
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
}  # fmt: skip


def record(asked: Any, answered: Any, endpoint: str) -> reader.Payloads:
    return {"request_json": json.dumps(asked), "response_json": json.dumps(answered), "endpoint": endpoint}


def test_the_log_is_read_as_chat_whatever_was_spoken() -> None:
    found = record(ASKED, WHOLE, "/messages")
    asked = reader.request(found)
    assert asked["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert (reader.system(asked), reader.prompt(asked)) == ("Be kind.", "Hi")
    assert reader.metadata(asked) == {"user_id": "ann"}
    said = reader.answered(found)
    assert said is not None
    assert (said.text, said.finish, len(said.calls), said.chat) == (
        upstream.said("opus")["text"],
        "tool_calls",
        2,
        True,
    )
    same = record(messages.chat_of(ASKED), messages.answer_of(WHOLE, 0), "/chat/completions")
    assert reader.answer(found) == reader.answer(same)
    assert reader.answered(found) == reader.answered(same)


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ({**ASKED, "mcp_servers": [{}]}, "Hi"),
        ({**ASKED, "messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, '[{"type": "search_result"}]'),
        ({"messages": "?"}, ""),
        ({"system": 5, "messages": [5, None]}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_read_as_far_as_it_goes(asked: Json, prompt: str) -> None:
    assert reader.prompt(reader.request(record(asked, {}, "/messages"))) == prompt


@pytest.mark.parametrize(
    "answered", [{"type": "message"}, {"type": "message", "content": [5]}, {"type": "message", "content": 5}]
)
def test_an_answer_that_is_none_is_none(answered: Json) -> None:
    assert reader.answered(record(ASKED, answered, "/messages")) is None
