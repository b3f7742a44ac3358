"""Log probabilities asked for on a client's behalf, and taken out again."""

import json
from typing import Any

import pytest

from graduand.gateway.dataplane.dialects.chat import CHAT
from graduand.gateway.dataplane.dialects.completions import COMPLETIONS
from graduand.gateway.dataplane.dialects.logprobs import strip
from graduand.gateway.dataplane.dialects.openai import OpenAI

TOKEN = {"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "yes"}, {"token": "no"}]}


@pytest.mark.parametrize(
    ("data", "dialect", "keep", "sent"),
    [
        ({}, CHAT, -1, {"logprobs": True, "top_logprobs": 2}),
        ({"logprobs": False}, CHAT, -1, {"logprobs": True, "top_logprobs": 2}),
        ({"logprobs": True}, CHAT, 0, {"logprobs": True, "top_logprobs": 2}),
        ({"logprobs": True, "top_logprobs": 1}, CHAT, 1, {"logprobs": True, "top_logprobs": 2}),
        ({"logprobs": True, "top_logprobs": 5}, CHAT, 5, {"logprobs": True, "top_logprobs": 5}),
        ({}, COMPLETIONS, -1, {"logprobs": 2}),
        ({"logprobs": 0}, COMPLETIONS, 0, {"logprobs": 2}),
        ({"logprobs": 3}, COMPLETIONS, 3, {"logprobs": 3}),
    ],
)
def test_asking(data: dict[str, Any], dialect: OpenAI, keep: int, sent: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "seed": 1.50, **data}).encode()
    assert dialect.logprobs_wanted(data) == keep
    asked = dialect.with_logprobs(body, data)
    assert json.loads(asked) == {"model": "m", "seed": 1.5, **sent}


def answer(logprobs: Any) -> dict[str, Any]:
    return {"choices": [{"text": "yes", "logprobs": logprobs}, {"text": "no"}, None]}


@pytest.mark.parametrize(
    ("given", "keep", "left"),
    [
        ({"content": [TOKEN]}, -1, None),
        ({"content": [TOKEN]}, 0, {"content": [{**TOKEN, "top_logprobs": []}]}),
        ({"content": [TOKEN]}, 1, {"content": [{**TOKEN, "top_logprobs": [{"token": "yes"}]}]}),
        ({"content": [TOKEN]}, 2, {"content": [TOKEN]}),
        ({"tokens": ["a"], "top_logprobs": [{"a": -1, "b": -2}]}, 1, {"tokens": ["a"], "top_logprobs": [{"a": -1}]}),
        ({"tokens": ["a"], "top_logprobs": [{"a": -1}]}, 0, {"tokens": ["a"], "top_logprobs": None}),
        (None, -1, None),
        ("strange", 0, "strange"),
    ],
)
def test_stripping(given: Any, keep: int, left: Any) -> None:
    data = answer(json.loads(json.dumps(given)))
    strip(data, keep)
    assert data["choices"][0]["logprobs"] == left
    assert strip({"choices": None}, -1) is False
