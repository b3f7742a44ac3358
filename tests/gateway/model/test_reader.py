"""What an answer says is read out of a record in one way: checks, evidence, training and exports see the same text."""

import json
from typing import Any

import pytest

from graduand.gateway.logs.export import _example
from graduand.gateway.model import reader
from graduand.monitoring.checks.answer import choices_of
from graduand.training.data import logs, selection
from tests.gateway.logs.lines import made

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
ECHOED = {"prompt": "Once", "echo": True}
PARTS = [{"type": "text", "text": "yes, "}, {"type": "text", "text": "sure"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def record(request: dict[str, Any], choice: dict[str, Any]) -> Any:
    answer = json.dumps({"choices": [{"finish_reason": "stop", **choice}]})
    return made(
        1, request_body=json.dumps({"model": "tickets", **request}).encode(), request=request, response_json=answer
    )


@pytest.mark.parametrize(
    ("request_", "choice", "text"),
    [
        (CHAT, {"message": {"role": "assistant", "content": "yes"}}, "yes"),
        (CHAT, {"message": {"role": "assistant", "content": PARTS}}, "yes, sure"),
        ({"prompt": "Once"}, {"text": " upon"}, " upon"),
        (ECHOED, {"text": "Once upon"}, " upon"),  # the prompt is nobody's answer
    ],
)
def test_everybody_sees_the_same_text(request_: dict[str, Any], choice: dict[str, Any], text: str) -> None:
    one = record(request_, choice)
    [checked] = choices_of(reader.response(one), request_["prompt"] if "echo" in request_ else "")
    row = logs.row_of(one)
    exported = _example({**one, "correction": None}, "prompt-completion")
    assert not isinstance(row, str)
    assert not isinstance(exported, str)
    observed = selection.observe(one, None, 0.0)
    assert not isinstance(observed, str)
    seen = (checked.text, reader.answer(one), row.completion, exported["completion"], observed.sample.completion)
    assert set(seen) == {text}


def test_calls_of_tools_are_the_answer_where_there_is_no_text() -> None:
    one = record(CHAT, {"message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"})
    assert reader.answer(one) == '{"tool_calls": [{"arguments": {"a": 1}, "name": "f"}]}'
    chat = _example({**one, "correction": None}, "chat")
    assert not isinstance(chat, str)
    assert chat["messages"][-1] == {"role": "assistant", "tool_calls": [CALL]}
    assert _example({**one, "correction": None}, "prompt-completion") == "calls a tool"
    assert logs.row_of(one) == "finish_reason other than stop"


@pytest.mark.parametrize(
    "answer", [None, "no json", "[]", "{}", '{"choices": []}', '{"choices": [7]}', '{"error": {}}']
)
def test_what_is_no_answer_has_none(answer: str | None) -> None:
    one = {**made(1), "response_json": answer}
    assert reader.answered(one) is None  # type: ignore[arg-type]
    assert reader.answer(one) == ""  # type: ignore[arg-type]
