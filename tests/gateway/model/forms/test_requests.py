"""Requests in the forms of both APIs: each row both ways where it says the same, and what cannot be said is refused by name."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.gateway.model.forms import claude, messages
from graduand.gateway.model.forms.untranslatable import Untranslatable

Json = dict[str, Any]
PNG = "iVBORw0KGgo="
USER: Json = {"role": "user", "content": "Hi"}
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Json = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
FUNCTION: Json = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": SCHEMA},
}
USES: Json = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}}
USES_ALSO: Json = {"type": "tool_use", "id": "t2", "name": "time", "input": {}}
CALLS: Json = {
    "id": "t1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
}
CALLS_ALSO: Json = {"id": "t2", "type": "function", "function": {"name": "time", "arguments": "{}"}}
FORM: Json = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


def text(said: str, **more: Any) -> Json:
    return {"type": "text", "text": said, **more}


# By name: what a Messages request has besides `model` and `max_tokens`, and the same in a chat.
SAME: dict[str, tuple[Json, Json]] = {
    "text": ({"messages": [USER]}, {"messages": [USER]}),
    "system": (
        {"system": "Be kind.", "messages": [USER]},
        {"messages": [{"role": "system", "content": "Be kind."}, USER]},
    ),
    "system in two blocks": (
        {"system": [text("Be kind."), text("Be short.")], "messages": [USER]},
        {"messages": [{"role": "system", "content": [text("Be kind."), text("Be short.")]}, USER]},
    ),
    "system in the middle": (
        {"messages": [USER, {"role": "system", "content": "Now in French."}, USER]},
        {"messages": [USER, {"role": "system", "content": "Now in French."}, USER]},
    ),
    "empty text": ({"messages": [{"role": "user", "content": ""}]}, {"messages": [{"role": "user", "content": ""}]}),
    "picture inline": (
        {"messages": [{"role": "user", "content": [
            text("What is it?"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ]}]},
        {"messages": [{"role": "user", "content": [
            text("What is it?"), {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]}]},
    ),
    "picture at an address": (
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        ]}]},
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        ]}]},
    ),
    "document": (
        {"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}, "title": "a.pdf"},
        ]}]},
        {"messages": [{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}},
        ]}]},
    ),
    "tools that were called side by side": (
        {"tools": [TOOL], "messages": [
            USER,
            {"role": "assistant", "content": [text("I look."), USES, USES_ALSO]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "t2", "content": [text("noon"), text("sharp")]},
                text("And?"),
            ]},
        ]},
        {"tools": [FUNCTION], "messages": [
            USER,
            {"role": "assistant", "content": "I look.", "tool_calls": [CALLS, CALLS_ALSO]},
            {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "t2", "content": [text("noon"), text("sharp")]},
            {"role": "user", "content": "And?"},
        ]},
    ),
    "a call without a word": (
        {"messages": [USER, {"role": "assistant", "content": [USES]}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": ""},
        ]}]},
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALLS]},
                      {"role": "tool", "tool_call_id": "t1", "content": ""}]},
    ),
    "choices": (
        {"messages": [USER], "tools": [{**TOOL, "strict": True}],
         "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"messages": [USER], "tools": [{**FUNCTION, "function": {**FUNCTION["function"], "strict": True}}],
         "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "one tool": (
        {"messages": [USER], "tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
        {"messages": [USER], "tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    "no tool": ({"messages": [USER], "tool_choice": {"type": "none"}}, {"messages": [USER], "tool_choice": "none"}),
    "auto": ({"messages": [USER], "tool_choice": {"type": "auto"}}, {"messages": [USER], "tool_choice": "auto"}),
    "sampling": (
        {"messages": [USER], "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["a", "b"], "stream": True},
        {"messages": [USER], "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["a", "b"], "stream": True},
    ),
    "form and effort": (
        {"messages": [USER], "thinking": {"type": "adaptive"},
         "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "high"}},
        {"messages": [USER], "response_format": FORM, "reasoning_effort": "high"},
    ),
    "user": ({"messages": [USER], "metadata": {"user_id": "ann"}}, {"messages": [USER], "user": "ann"}),
    "tier": ({"messages": [USER], "service_tier": "standard_only"}, {"messages": [USER], "service_tier": "default"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_request_says_the_same_in_both(name: str) -> None:
    asked, chat = SAME[name]
    asked, chat = {"model": "m", "max_tokens": 9, **asked}, {"model": "m", "max_completion_tokens": 9, **chat}
    assert messages.chat_of(asked) == chat
    assert claude.request_of(chat, "m") == asked


TO_CHAT: dict[str, tuple[Json, Json]] = {
    "one block is a text": ({"messages": [{"role": "user", "content": [text("Hi")]}]}, {"messages": [USER]}),
    "nothing at all": (
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": ""}]},
    ),
    "no system": ({"messages": [USER], "system": ""}, {"messages": [USER]}),
    "nulls": ({"messages": [USER], "system": None, "tools": None, "thinking": None, "stop_sequences": []}, {"messages": [USER]}),
    "cache marks": (
        {"messages": [{"role": "user", "content": [text("Hi", cache_control={"type": "ephemeral"})]}],
         "cache_control": {"type": "ephemeral"}, "tools": [{**TOOL, "cache_control": {"type": "ephemeral"}, "type": "custom"}]},
        {"messages": [USER], "tools": [FUNCTION]},
    ),
    "small budget": (
        {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"messages": [USER], "reasoning_effort": "low"},
    ),
    "middle budget": (
        {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 10_000}},
        {"messages": [USER], "reasoning_effort": "medium"},
    ),
    "large budget": (
        {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 32_000}},
        {"messages": [USER], "reasoning_effort": "high"},
    ),
    "thinking off": ({"messages": [USER], "thinking": {"type": "disabled"}}, {"messages": [USER]}),
    "earlier thoughts": (
        {"messages": [USER, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "redacted_thinking", "data": "y"}, text("Yes."),
        ]}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}, USER]},
    ),
    "a tool that failed": (
        {"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "no such city", "is_error": True},
            {"type": "tool_result", "tool_use_id": "t2"},
        ]}]},
        {"messages": [{"role": "tool", "tool_call_id": "t1", "content": "Error: no such city"},
                      {"role": "tool", "tool_call_id": "t2", "content": ""}]},
    ),
    "usual tier": ({"messages": [USER], "service_tier": "auto"}, {"messages": [USER]}),
}  # fmt: skip


@pytest.mark.parametrize("name", TO_CHAT)
def test_a_message_request_as_a_chat(name: str) -> None:
    asked, chat = TO_CHAT[name]
    assert messages.chat_of({"model": "m", "max_tokens": 9, **asked}) == {
        "model": "m", "max_completion_tokens": 9, **chat,
    }  # fmt: skip


TO_CLAUDE: dict[str, tuple[Json, Json]] = {
    "no limit": ({}, {"max_tokens": claude.DEFAULT_MAX_TOKENS}),
    "null limits": ({"max_tokens": None, "max_completion_tokens": None}, {"max_tokens": claude.DEFAULT_MAX_TOKENS}),
    "old limit": ({"max_tokens": 5}, {"max_tokens": 5}),
    "both limits": ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),
    "one stop": ({"stop": "x"}, {"max_tokens": 16384, "stop_sequences": ["x"]}),
    "what happens anyway": (
        {"n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0.0, "frequency_penalty": 0, "logit_bias": {},
         "store": False, "modalities": ["text"], "response_format": {"type": "text"}, "service_tier": "auto",
         "metadata": {"team": "a"}, "prompt_cache_key": "k", "stream_options": {"include_usage": True}, "seed": None},
        {"max_tokens": 16384},
    ),
    "developer": (
        {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "system", "content": "Be short."}, USER]},
        {"max_tokens": 16384, "system": [text("Be kind."), text("Be short.")], "messages": [USER]},
    ),
    "a tool without parameters": (
        {"tools": [{"type": "function", "function": {"name": "now"}}]},
        {"max_tokens": 16384, "tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "one at a time": (
        {"tools": [FUNCTION], "parallel_tool_calls": False},
        {"max_tokens": 16384, "tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "no thinking": ({"reasoning_effort": "none"}, {"max_tokens": 16384, "thinking": {"type": "disabled"}}),
    "identifier": ({"safety_identifier": "ann"}, {"max_tokens": 16384, "metadata": {"user_id": "ann"}}),
    "what the SDK's own message holds": (
        {"messages": [USER, {"role": "assistant", "content": "Yes.", "refusal": None, "annotations": [], "audio": None,
                             "function_call": None, "tool_calls": None, "reasoning_content": "Hm."}, USER]},
        {"max_tokens": 16384, "messages": [USER, {"role": "assistant", "content": "Yes."}, USER]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TO_CLAUDE)
def test_a_chat_as_a_message_request(name: str) -> None:
    chat, asked = TO_CLAUDE[name]
    assert claude.request_of({"model": "m", "messages": [USER], **chat}, "claude") == {
        "model": "claude", "messages": [USER], **asked,
    }  # fmt: skip


def user(*blocks: Json) -> Json:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


# What a chat has no word for, and the name under which it is refused.
NOT_IN_CHAT: list[tuple[Json, str]] = [
    ({"container": "c"}, "container"), ({"mcp_servers": [{}]}, "mcp_servers"), ({"speed": "fast"}, "speed"),
    ({"context_management": {}}, "context_management"), ({"inference_geo": "us"}, "inference_geo"),
    ({"something_new": 1}, "something_new"), ({"max_tokens": 0}, "max_tokens"), ({"service_tier": "x"}, "service_tier"),
    ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [TOOL, {**TOOL, "input_examples": [{"city": "x"}]}]}, "tools[1].input_examples"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tools": 5}, "tools"), ({"tools": [5]}, "tools[0]"),
    ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"), ({"tool_choice": "any"}, "tool_choice.type"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"), ({"thinking": {"type": "enabled"}}, "thinking.type"),
    ({"output_config": {"effort": "max"}}, "output_config.effort"),
    ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
    ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    ({"metadata": {"user_id": "a", "team": "b"}}, "metadata.team"), ({"metadata": 5}, "metadata"),
    (user({"type": "search_result", "source": "x"}), "messages[0].content[0].type"),
    (user(text("a"), {"type": "image", "source": {"type": "file", "file_id": "f"}}), "messages[0].content[1].source.type"),
    (user({"type": "document", "source": {"type": "base64", "data": ""}, "citations": {"enabled": True}}),
     "messages[0].content[0].citations"),
    (user({"type": "document", "source": {"type": "text", "data": "x"}}), "messages[0].content[0].source.type"),
    (user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {}}]}),
     "messages[0].content[0].content[0].type"),
    (user(text("a", new=1)), "messages[0].content[0].new"), (user({"type": "text"}), "messages[0].content[0].text"),
    (user({"type": ["text"]}), "messages[0].content[0].type"), ({"messages": [{"role": "user", "content": ["Hi"]}]},
     "messages[0].content[0]"), ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, "messages[1].content[0].type"),
    ({"messages": [{"role": "user", "content": "Hi", "name": "ann"}]}, "messages[0].name"),
    ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages[0].role"),
    ({"system": [{"type": "image"}]}, "system[0].type"), ({"system": 5}, "system"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "field"), NOT_IN_CHAT, ids=str)
def test_what_a_chat_cannot_say_is_refused_by_name(asked: Json, field: str) -> None:
    request = {"model": "m", "max_tokens": 9, "messages": [USER], **asked}
    with pytest.raises(Untranslatable) as refused:
        messages.chat_of(request)
    assert refused.value.field == field
    assert f"'{field}'" in str(refused.value)
    # The log's reader has to go on: what can be read of it is, and the rest stays.
    assert messages.read(request)["messages"]


NOT_IN_CLAUDE: list[tuple[Json, str]] = [
    ({"seed": 1}, "seed"), ({"n": 2}, "n"), ({"logprobs": True}, "logprobs"), ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"presence_penalty": 0.5}, "presence_penalty"), ({"store": True}, "store"), ({"temperature": 1.5}, "temperature"),
    ({"audio": {}}, "audio"), ({"modalities": ["text", "audio"]}, "modalities"), ({"prediction": {}}, "prediction"),
    ({"functions": []}, "functions"), ({"web_search_options": {}}, "web_search_options"), ({"something_new": 1}, "something_new"),
    ({"response_format": {"type": "json_object"}}, "response_format.type"), ({"reasoning_effort": "minimal"}, "reasoning_effort"),
    ({"service_tier": "flex"}, "service_tier"), ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"), ({"tools": "x"}, "tools"),
    (user({"type": "input_audio"}), "messages[0].content[0].type"),
    (user({"type": "image_url", "image_url": {"url": "x", "detail": "low"}}), "messages[0].content[0].image_url.detail"),
    (user({"type": "image_url", "image_url": {"url": "data:image/png,x"}}), "messages[0].content[0].image_url.url"),
    (user({"type": "image_url"}), "messages[0].content[0].image_url.url"),
    (user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0].file.file_id"),
    ({"messages": [{"role": "user", "content": "Hi", "name": "ann"}]}, "messages[0].name"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "function", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]}, "messages[1].function_call"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{"}}]}]},
     "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "[]"}}]}]},
     "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": [{"type": "custom"}]}]}, "messages[1].tool_calls[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("chat", "field"), NOT_IN_CLAUDE, ids=str)
def test_what_claude_cannot_be_told_is_refused_by_name(chat: Json, field: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        claude.request_of({"model": "m", "messages": [USER], **chat}, "claude")
    assert refused.value.field == field


SAID = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
IMAGE = st.builds(lambda name: {"type": "image_url", "image_url": {"url": f"https://x.example/{name}"}}, SAID)
PARTS = st.lists(st.one_of(IMAGE, SAID.map(text)), min_size=2, max_size=3)
ARGUMENTS = st.dictionaries(SAID, st.one_of(st.integers(-9, 9), SAID, st.none()), max_size=2)


@st.composite
def turns(draw: st.DrawFn) -> list[Json]:
    """What a user says, what is answered, and what the tools that were called find."""
    said = draw(st.one_of(SAID, PARTS))
    calls = [
        {"id": f"t{at}", "type": "function", "function": {"name": draw(SAID), "arguments": one}}
        for at, one in enumerate(draw(st.lists(ARGUMENTS.map(_dumped), max_size=2)))
    ]
    answer: Json = {"role": "assistant", "content": draw(st.one_of(SAID, st.none())) if calls else draw(SAID)}
    found = [{"role": "tool", "tool_call_id": call["id"], "content": draw(SAID)} for call in calls]
    return [{"role": "user", "content": said}, {**answer, "tool_calls": calls} if calls else answer, *found]


def _dumped(data: Json) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


@settings(max_examples=60)
@given(st.lists(turns(), min_size=1, max_size=3), st.one_of(st.none(), SAID), SAID)
def test_a_conversation_comes_back_as_it_went(conversation: list[list[Json]], system: str | None, last: str) -> None:
    said = [message for turn in conversation for message in turn]
    first = [] if system is None else [{"role": "system", "content": system}]
    chat = {
        "model": "m", "max_completion_tokens": 9, "messages": [*first, *said, {"role": "user", "content": last}],
    }  # fmt: skip
    assert messages.chat_of(claude.request_of(chat, "m")) == chat
