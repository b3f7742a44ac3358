import json
from typing import Any

import pytest

from graduand.gateway.engine.protocol import ChatRequest, CompletionRequest, parse
from graduand.gateway.engine.sampling import Sampling
from graduand.gateway.errors import RequestError

HELLO = [{"role": "user", "content": "Hello"}]


def sampling(body: dict[str, Any], prompt_tokens: int = 10) -> Sampling:
    kind = ChatRequest if "messages" in body else CompletionRequest
    request = parse(json.dumps(body).encode(), kind)
    request.check()
    return request.sampling(prompt_tokens, context=100, vocabulary=50, default_tokens=None)


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        ({"messages": []}, "messages", "at least one message"),
        ({"messages": [{"content": "x"}]}, "body.messages.0.role", "Field required"),
        ({"messages": [{"role": "user", "content": 5}]}, "body.messages.0.content", "valid string"),
        ({"messages": "hello"}, "body.messages", "valid array"),
        ({"messages": HELLO, "max_tokens": "many"}, "body.max_tokens", "valid integer"),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens", "max_tokens must be at least 1, got 0."),
        ({"messages": HELLO, "max_tokens": 101}, "max_tokens", "cannot be greater than"),
        ({"messages": HELLO, "temperature": -1}, "temperature", "non-negative"),
        ({"messages": HELLO, "temperature": 2.5}, "temperature", r"in \[0, 2\]"),
        ({"messages": HELLO, "temperature": float("nan")}, "temperature", "non-negative"),
        ({"messages": HELLO, "top_p": 0}, "top_p", r"top_p must be in \(0, 1\], got 0"),
        ({"messages": HELLO, "top_k": -2}, "top_k", "top_k"),
        ({"messages": HELLO, "n": 0}, "n", "at least 1"),
        ({"messages": HELLO, "n": 1000}, "n", "at most"),
        ({"messages": HELLO, "n": 2, "temperature": 0}, "n", "n must be 1 when using greedy sampling, got 2."),
        ({"messages": HELLO, "presence_penalty": 3}, "presence_penalty", r"in \[-2, 2\]"),
        ({"messages": HELLO, "stop": ["a", ""]}, "stop", "empty string"),
        ({"messages": HELLO, "stop": [1]}, "body.stop", "valid string"),
        ({"messages": HELLO, "seed": 2**63}, "body.seed", "less than or equal"),
        ({"messages": HELLO, "stream_options": {}}, "stream_options", "`stream=True`"),
        ({"messages": HELLO, "top_logprobs": 2}, "top_logprobs", "`logprobs` must be set to true"),
        ({"messages": HELLO, "logprobs": True, "top_logprobs": 21}, "logprobs", "max allowed: 20"),
        ({"messages": HELLO, "logprobs": True, "top_logprobs": -1}, "top_logprobs", "positive"),
        ({"messages": HELLO, "logit_bias": {"x": 1}}, "logit_bias", "token ids"),
        ({"messages": HELLO, "logit_bias": {"50": 1}}, "logit_bias", "out-of-vocab"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, "tool_choice", '"auto" tool choice'),
        ({}, "prompt", "must be provided and non-empty"),
        ({"prompt": ""}, "prompt", "must be provided and non-empty"),
        ({"prompt": ["a", ""]}, "prompt", "cannot be empty"),
        ({"prompt": {"text": "x"}}, "body.prompt", "valid"),
        ({"prompt": "x", "logprobs": 21}, "logprobs", "max allowed: 20"),
        ({"prompt": "x", "suffix": "y"}, "suffix", "not currently supported"),
        ({"prompt": "x", "echo": True, "logprobs": 1}, "echo", "echo"),
    ],
)
def test_refuses_bad_requests(body: dict[str, Any], param: str, part: str) -> None:
    with pytest.raises(RequestError, match=part) as caught:
        sampling(body)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"null"])
def test_refuses_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(RequestError, match="1 validation error") as caught:
        parse(body, ChatRequest)
    assert caught.value.kind == "Bad Request"


def test_a_prompt_must_leave_room_for_an_answer() -> None:
    with pytest.raises(RequestError, match=r"maximum context length is 100 tokens\. However, your prompt contains 100"):
        sampling({"messages": HELLO}, prompt_tokens=100)
    assert sampling({"messages": HELLO}, prompt_tokens=99).max_tokens == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": HELLO}, {"max_tokens": 90, "temperature": 1.0, "logprobs": None, "n": 1}),
        ({"messages": HELLO, "max_tokens": 7}, {"max_tokens": 7}),
        ({"messages": HELLO, "max_tokens": 7, "max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"messages": HELLO, "max_tokens": 95}, {"max_tokens": 90}),
        ({"messages": HELLO, "logprobs": True}, {"logprobs": 0}),
        ({"messages": HELLO, "logprobs": True, "top_logprobs": 3}, {"logprobs": 3}),
        ({"messages": HELLO, "stop": "x"}, {"stop": ("x",)}),
        ({"messages": HELLO, "stop": None, "n": None, "temperature": None}, {"stop": (), "n": 1, "temperature": 1.0}),
        ({"messages": HELLO, "seed": -1}, {"seed": None}),
        ({"messages": HELLO, "an_unknown_field": {"x": 1}}, {}),
        ({"messages": HELLO, "logit_bias": {"3": 500}}, {"logit_bias": {3: 100.0}}),
        ({"prompt": "x", "logprobs": 2}, {"logprobs": 2}),
    ],
)
def test_what_the_scheduler_is_asked(body: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = sampling(body)
    assert {name: getattr(asked, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        (None, ""),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\ntwo"),
    ],
)
def test_contents_become_text(content: Any, text: str) -> None:
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": content, "name": "n"}]})
    assert request.turns() == [{"role": "user", "content": text, "name": "n"}]


def test_refuses_contents_that_are_no_text() -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:"}}]
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": content}]})
    with pytest.raises(RequestError, match="text only"):
        request.turns()


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_all_forms_of_prompts(prompt: Any, prompts: list[Any]) -> None:
    assert CompletionRequest.model_validate({"prompt": prompt}).prompts() == prompts
