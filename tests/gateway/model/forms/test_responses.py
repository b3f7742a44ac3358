"""Responses and chat say the same: requests both as openai's types have them, and answers by the SDK's own objects."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from graduand.gateway.model import reader
from graduand.gateway.model.forms import canonical
from graduand.gateway.model.forms.responses import chat_answer, chat_of
from graduand.gateway.model.forms.untranslatable import Untranslatable

Json = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
PNG = "data:image/png;base64,AAAA"


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def called(number: str, name: str = "f", arguments: str = "{}") -> Json:
    return {"type": "function_call", "call_id": number, "name": name, "arguments": arguments, "id": f"fc_{number}"}


def calls(*numbers: str, content: Any = None) -> Json:
    function = {"name": "f", "arguments": "{}"}
    listed = [{"id": number, "type": "function", "function": function} for number in numbers]
    return {"role": "assistant", "content": content, "tool_calls": listed}


def put(number: str, text: Any = "42") -> Json:
    return {"type": "function_call_output", "call_id": number, "output": text}


SAID = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"}
KEPT = {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
MESSAGES: dict[str, tuple[Json, list[Json]]] = {
    "text": ({"input": "hi"}, [user("hi")]),
    "instructions": ({"input": "hi", "instructions": "Brief."}, [{"role": "system", "content": "Brief."}, user("hi")]),
    "easy": ({"input": [user("hi")]}, [user("hi")]),
    "developer": ({"input": [{"role": "developer", "content": "x"}, user("hi")]},
                  [{"role": "system", "content": "x"}, user("hi")]),
    "one part": ({"input": [{"type": "message", **user([{"type": "input_text", "text": "hi"}])}]}, [user("hi")]),
    "image": (
        {"input": [user([{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": PNG, "detail": "low"}])]},
        [user([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}])],
    ),
    "file": ({"input": [user([{"type": "input_file", "file_data": "data:,x", "filename": "a.pdf"}])]},
             [user([{"type": "file", "file": {"file_data": "data:,x", "filename": "a.pdf"}}])]),
    "sound": ({"input": [user([{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}])]},
              [user([{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}])]),
    "answer": ({"input": [user("a"), {**SAID, "content": [{"type": "output_text", "text": "b", "annotations": []},
                                                          {"type": "output_text", "text": "c", "annotations": []}]}, user("d")]},
               [user("a"), {"role": "assistant", "content": "bc"}, user("d")]),
    "refusal": ({"input": [{**SAID, "content": [{"type": "refusal", "refusal": "no"}]}, user("why")]},
                [{"role": "assistant", "content": "no"}, user("why")]),
    "call": ({"input": [user("a"), called("1"), put("1")]},
             [user("a"), calls("1"), {"role": "tool", "tool_call_id": "1", "content": "42"}]),
    "parallel calls": (
        {"input": [user("a"), called("1"), called("2"), put("1"), put("2", [{"type": "input_text", "text": "x"}])]},
        [user("a"), calls("1", "2"), {"role": "tool", "tool_call_id": "1", "content": "42"},
         {"role": "tool", "tool_call_id": "2", "content": "x"}],
    ),
    "text, then a call": ({"input": [user("a"), {**SAID, "content": "b"}, called("1"), put("1")]},
                          [user("a"), calls("1", content="b"), {"role": "tool", "tool_call_id": "1", "content": "42"}]),
    "calls in turns": ({"input": [user("a"), called("1"), put("1"), called("2"), put("2")]},
                       [user("a"), calls("1"), {"role": "tool", "tool_call_id": "1", "content": "42"},
                        calls("2"), {"role": "tool", "tool_call_id": "2", "content": "42"}]),
    "reasoning": ({"input": [user("a"), THOUGHT, called("1"), put("1")]},
                  [user("a"), calls("1"), {"role": "tool", "tool_call_id": "1", "content": "42"}]),
}  # fmt: skip


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case: str) -> None:
    data, messages = MESSAGES[case]
    assert chat_of(data)["messages"] == messages


FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
OTHER = {"type": "function", "name": "g", "parameters": None, "strict": None}
FIELDS: dict[str, tuple[Json, Json]] = {
    "same": (same := {"temperature": 0.5, "top_p": 0.9, "user": "ann", "safety_identifier": "h", "metadata": {"k": "v"},
                      "service_tier": "flex", "prompt_cache_key": "p", "stream": True}, same),
    "no matter": ({"store": True, "truncation": "auto", "include": ["reasoning.encrypted_content"], "max_tool_calls": 3,
                   "stream_options": {"include_obfuscation": False}, "background": False, "conversation": None}, {}),
    "not stored": ({"store": False}, {}),
    "length": ({"max_output_tokens": 9}, {"max_tokens": 9}),
    "effort": ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    "no reasoning": ({"reasoning": None}, {}),
    "function": ({"tools": [FUNCTION, OTHER]}, {"tools": [TOOL, {"type": "function", "function": {"name": "g"}}]}),
    "one by one": ({"tools": [OTHER], "parallel_tool_calls": False},
                   {"tools": [{"type": "function", "function": {"name": "g"}}], "parallel_tool_calls": False}),
    "a choice of no tools": ({"tool_choice": "auto", "parallel_tool_calls": True, "tools": []}, {}),
    "required": ({"tools": [FUNCTION], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "required"}),
    "named": ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
              {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    "allowed": ({"tools": [FUNCTION, OTHER], "tool_choice": {"type": "allowed_tools", "mode": "required",
                                                             "tools": [{"type": "function", "name": "f"}]}},
                {"tools": [TOOL], "tool_choice": "required"}),
    "plain text": ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
    "json": ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    "schema": ({"text": {"format": {"type": "json_schema", "name": "A", "schema": SCHEMA, "strict": True, "description": None}}},
               {"response_format": {"type": "json_schema", "json_schema": {"name": "A", "schema": SCHEMA, "strict": True}}}),
    "logprobs": ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    "logprobs by include": ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
    "an engine's own": ({"top_k": 3, "chat_template_kwargs": {"enable_thinking": False}},
                        {"top_k": 3, "chat_template_kwargs": {"enable_thinking": False}}),
}  # fmt: skip


@pytest.mark.parametrize("case", FIELDS)
def test_fields(case: str) -> None:
    data, expected = FIELDS[case]
    assert chat_of({"model": "m", "input": "hi", **data}) == {"model": "m", "messages": [user("hi")], **expected}


LOST: dict[str, Json] = {
    **{f"tools[0]: {kind}": {"tools": [{"type": kind}]} for kind in (
        "web_search", "web_search_preview", "file_search", "code_interpreter", "computer_use_preview", "image_generation", "mcp",
        "local_shell", "shell", "apply_patch", "custom", "tool_search", "namespace", "a kind that is yet to come",
    )},
    "tools[1]": {"tools": [FUNCTION, "f"]},
    "tools": {"tools": {}},
    "tools[0].defer_loading": {"tools": [{**FUNCTION, "defer_loading": True}]},
    "tool_choice": {"tool_choice": {"type": "web_search"}},
    "tool_choice.tools": {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp", "server_label": "x"}]}},
    "text": {"text": "json"},
    "text.format": {"text": {"format": {"type": "grammar"}}},
    "reasoning.context": {"reasoning": {"context": "all"}},
    "instructions": {"instructions": [user("x")]},
    **{name: {name: {"id": "x"}} for name in ("prompt", "image", "moderation", "conversation", "access_programs")},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "background": {"background": True},
    "previous_response_id": {"previous_response_id": "resp_1"},
    **{name: {name: 1} for name in ("n", "messages", "max_tokens", "max_completion_tokens", "response_format", "functions")},
    **{f"input[0]: {kind}": {"input": [{"type": kind}]} for kind in (
        "web_search_call", "file_search_call", "computer_call", "computer_call_output", "code_interpreter_call", "mcp_call",
        "image_generation_call", "custom_tool_call", "custom_tool_call_output", "item_reference", "compaction",
        "local_shell_call", "apply_patch_call", "a kind that is yet to come",
    )},
    "input": {"input": [THOUGHT, KEPT]},
    "input[0].content: an image": {"input": [{**SAID, "content": [{"type": "input_image", "image_url": PNG}]}]},
    "input[0].content[0]: file_id": {"input": [user([{"type": "input_image", "file_id": "file_1"}])]},
    "input[0].content[0]: url": {"input": [user([{"type": "input_file", "file_url": "https://x/a.pdf"}])]},
    "input[0].content[0]: kind": {"input": [user([{"type": "input_video"}])]},
    "input[0].content[0]: none": {"input": [user([7])]},
    "input[0].content": {"input": [user(None)]},
    "input[0].output[0]": {"input": [put("1", [{"type": "input_image", "image_url": PNG}])]},
    "input[0].namespace": {"input": [{**called("1"), "namespace": "crm"}]},
    "input[0].caller": {"input": [{**called("1"), "caller": {"type": "program", "caller_id": "x"}}]},
}  # fmt: skip


@pytest.mark.parametrize("case", LOST)
def test_lost(case: str) -> None:
    """What chat has no place for is named by where it stands; and to who reads the log it is no chat that could teach."""
    asked = {"model": "m", "input": "hi", **LOST[case]}
    with pytest.raises(Untranslatable) as refused:
        chat_of(asked)
    assert refused.value.field == case.partition(":")[0]
    assert canonical.request(asked, "/responses") == asked


JSON = st.recursive(
    st.sampled_from((None, True, 0, -1, 2.5, "", "x", "message", "function", "function_call", "input_text", "allowed_tools")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(("type", "role", "content", "text", "output", "name", "tools", "format", "refusal", "status", "usage")),
        inner, max_size=3), max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from((
    "input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "output", "usage", "incomplete_details",
    "status", "created_at", "top_logprobs",
))  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_any_request_and_any_answer_is_read(data: Json) -> None:
    """A reader of the log never fails, whatever a client or an upstream wrote."""
    chat = canonical.request(data, "/responses")
    assert chat is data or all(isinstance(one, dict) for one in chat["messages"])
    assert len(chat_answer(data)["choices"]) == 1


def response(output: list[Json], status: str = "completed", **more: Any) -> Json:
    """As the SDK's own object writes it."""
    usage = {
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 12,
    }  # fmt: skip
    data = {
        "id": "resp_1", "object": "response", "created_at": 1.0, "model": "gpt-5", "output": output, "status": status,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": usage, **more,
    }  # fmt: skip
    return Response.model_validate(data).to_dict(mode="json")


TEXT = {**SAID, "content": [{"type": "output_text", "text": "hello", "annotations": []}]}
SHOWN = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "so"}]}
ANSWERS: dict[str, tuple[Json, str, Json]] = {
    "text": (response([TEXT]), "stop", {"content": "hello"}),
    "reasoning": (response([SHOWN, TEXT]), "stop", {"content": "hello", "reasoning_content": "so"}),
    "thoughts": (response([{**SHOWN, "content": [{"type": "reasoning_text", "text": "hm"}]}, TEXT]), "stop",
                 {"content": "hello", "reasoning_content": "hm"}),
    "calls": (response([called("1"), called("2")]), "tool_calls", {k: v for k, v in calls("1", "2").items() if k != "role"}),
    "refusal": (response([{**SAID, "content": [{"type": "refusal", "refusal": "no"}]}]), "stop",
                {"content": None, "refusal": "no"}),
    "cut": (response([TEXT], "incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", {"content": "hello"}),
    "filtered": (response([TEXT], "incomplete", incomplete_details={"reason": "content_filter"}), "content_filter",
                 {"content": "hello"}),
    "two messages": (response([TEXT, {**TEXT, "id": "msg_2"}]), "stop", {"content": "hellohello"}),
    "nothing": (response([]), "stop", {"content": ""}),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(case: str) -> None:
    data, finish, said = ANSWERS[case]
    answer = canonical.answer(data)
    assert answer["choices"] == [
        {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **said}},
    ]
    assert (answer["model"], answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == ("gpt-5", 7, 5)


def test_one_form() -> None:
    """Records of both APIs read alike; an embedding, which has an input as well, stays what it is."""
    asked = {"model": "r", "input": "hi", "instructions": "Brief.", "metadata": {"k": "v"}}
    by_chat = {"model": "r", "messages": [{"role": "system", "content": "Brief."}, user("hi")], "metadata": {"k": "v"}}
    told = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]}
    one: reader.Payloads = {
        "endpoint": "/responses", "request_json": json.dumps(asked), "response_json": json.dumps(response([TEXT])),
    }  # fmt: skip
    other: reader.Payloads = {
        "endpoint": "/chat/completions", "request_json": json.dumps(by_chat), "response_json": json.dumps(told),
    }  # fmt: skip
    embedding: reader.Payloads = {
        "endpoint": "/embeddings", "request_json": '{"model": "r", "input": "hi"}', "response_json": None,
    }  # fmt: skip
    for read in (reader.request, reader.answer, reader.answered):
        assert read(one) == read(other)
    for of in (reader.prompt, reader.system, reader.conversation, reader.metadata):
        assert of(reader.request(one)) == of(reader.request(other))
    assert reader.request(embedding) == {"model": "r", "input": "hi"}
