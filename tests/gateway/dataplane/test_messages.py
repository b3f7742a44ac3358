"""Claude's clients and Claude itself, on the real sockets of a data plane, with the real SDKs where they can ask it."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from graduand.gateway.model import reader
from graduand.gateway.model.routes import Route, Student, Teacher, Timeouts
from graduand.gateway.model.routing import CONFIDENT, DEFERRED
from graduand.monitoring.prices import Price
from tests.gateway import claude
from tests.gateway.checkcases import says as checked
from tests.gateway.dataplane.inprocess import Running, records
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.faults import cut, refuses
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import Action, Conversation, Place, Upstream, answer, message, text_of

Json = dict[str, Any]
TEACHER, STUDENT, KEY = "claude-opus", "small@3f9c1a0b22de", "client-key-1"
USER: Any = [{"role": "user", "content": "Hello"}]
ASKED: Json = {"model": "r", "max_tokens": 9, "messages": USER}
TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
PNG = "iVBORw0KGgo="
PRICE = Price(input=1.0, output=2.0, cached_input=0.1)


class World:
    """One data plane: Claude as `teacher` and vLLM as `student`, or the other way round."""

    def __init__(
        self, folder: Path, server: Upstream, *, teacher: str = "anthropic", mode: str = "teacher", **more: Any
    ) -> None:
        self.folder = folder
        kinds = {"anthropic": claude.says(), "vllm": answer, "openai": answer, "lorax": answer}
        student = more.pop("student", "vllm")
        self.teacher: Place = server.place(f"{folder.name}-t", kinds[teacher])
        self.student: Place = server.place(f"{folder.name}-s", kinds[student])
        upstreams = [
            replace(one_upstream("t", teacher, self.teacher.url + "/v1"), api_key="secret", rate_limit_headers=True),
            one_upstream("s", student, self.student.url + "/v1"),
        ]
        route = Route(
            "r", Teacher("t", TEACHER), Student("s", STUDENT), mode=mode, retries=0,
            timeouts=Timeouts(total_s=20), **more,
        )  # type: ignore[arg-type] # fmt: skip
        self.running = Running(folder, upstreams, [route], (KEY,), prices={TEACHER: PRICE})
        self.url = f"http://127.0.0.1:{self.running.port}"
        self._clients = contextlib.ExitStack()

    @cached_property
    def claude(self) -> anthropic.Anthropic:
        return self._clients.enter_context(anthropic.Anthropic(base_url=self.url, api_key=KEY, max_retries=0))

    @cached_property
    def openai(self) -> openai.OpenAI:
        return self._clients.enter_context(openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0))

    def ask(self, body: Json | bytes, *headers: str, path: str = "/v1/messages") -> Answer:
        with Client(self.running.port) as client:
            return client.ask(body, path, (f"x-api-key: {KEY}", *headers))

    def records(self, count: int) -> list[Json]:
        """What is logged, once there are so many."""
        until = time.monotonic() + 20
        while self.running.log.records_written < count and time.monotonic() < until:
            time.sleep(0.01)
        self.close()
        found = records(self.folder)
        assert len(found) == count
        return found

    def close(self) -> None:
        self._clients.close()
        if self.running.loop.is_running():
            self.running.close()


Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream) -> Iterator[Make]:
    made: list[World] = []

    def make(**how: Any) -> World:
        made.append(World(tmp_path, upstream, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


def text(found: anthropic.types.Message) -> str:
    return "".join(block.text for block in found.content if block.type == "text")


# Passed through.


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_passes_byte_for_byte_but_for_the_model(world: Make, stream: bool) -> None:
    there = world()
    body = b'{ "model" : "r","max_tokens":9, "x-new": [1.50, {"model": "r"}], "stream": %b,\n "messages":%b}' % (
        b"true" if stream else b"false", b'[{"role":"user","content":"\\u00fc"}]',
    )  # fmt: skip
    found = there.ask(body, "anthropic-version: 2023-06-01", "anthropic-beta: new-2026-01-01")
    seen = there.teacher.seen[0]
    assert seen.body == body.replace(b'"model" : "r"', b'"model" : "claude-opus"')
    assert seen.line == f"POST /{there.folder.name}-t/v1/messages HTTP/1.1"
    assert seen.header("anthropic-beta") == "new-2026-01-01"
    assert [value for name, value in seen.headers if name == "anthropic-version"] == ["2023-06-01"]
    assert [value for name, value in seen.headers if name == "x-api-key"] == ["secret"]
    assert seen.header("authorization") is None
    assert found.headers["content-type"] == ("text/event-stream" if stream else "application/json")
    assert (found.status, found.headers["x-upstream-request-id"]) == (200, "req_1")
    if not stream:
        assert found.data == {**claude.message(TEACHER), "model": TEACHER}
        return
    sent = claude.framed(claude.events(claude.message(TEACHER)))
    assert found.body == sent.replace(b"claude-opus-20260801", b"claude-opus")


@pytest.mark.parametrize("stream", [False, True])
def test_what_claude_answers_is_counted_and_logged(world: Make, stream: bool) -> None:
    there = world()
    there.teacher.then = claude.says([claude.THOUGHT, claude.said("x"), *claude.CALLS], "tool_use")
    there.ask({**ASKED, "stream": stream})
    [record] = there.records(1)
    assert (record["endpoint"], record["error"], record["completed"]) == ("/messages", None, True)
    assert record["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "kind": "exact"}
    assert record["cost"] == pytest.approx((6 * 1.0 + 1 * 0.1 + 5 * 2.0) / 1e6)
    assert record["upstream_request_id"] == "req_1"
    assert record["served_model"] == "claude-opus-20260801"
    logged = json.loads(record["response_json"])
    assert logged["content"] == [claude.THOUGHT, claude.said("x"), *claude.CALLS]
    assert json.loads(record["request_json"]) == {**ASKED, "stream": stream}


# Translated.


@pytest.mark.parametrize("kind", ["vllm", "openai", "lorax"])
def test_the_anthropic_sdk_gets_messages_of_any_model(world: Make, kind: str) -> None:
    there = world(mode="student", student=kind)
    found = there.claude.messages.create(model="r", max_tokens=9, system="Be kind.", messages=USER)
    assert (text(found), found.stop_reason, found.model) == (text_of(STUDENT), "end_turn", STUDENT)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (7, 5)
    asked = there.student.seen[0].data
    limit = "max_tokens" if kind == "lorax" else "max_completion_tokens"
    system = {"role": "system", "content": "Be kind."}
    assert asked == {"model": STUDENT, "messages": [system, *USER], limit: 9}
    with there.claude.messages.stream(model="r", max_tokens=9, messages=USER) as stream:
        assert "".join(stream.text_stream) == text_of(STUDENT)
        last = stream.get_final_message()
    assert (last.stop_reason, last.usage.input_tokens, last.usage.output_tokens) == ("end_turn", 7, 5)


def test_tools_pictures_and_thinking_reach_a_student(world: Make) -> None:
    there = world(mode="student")

    def calls(conversation: Conversation) -> None:
        function = {"name": "weather", "arguments": '{"city": "Köln"}'}
        said = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        }
        choice = {"index": 0, "message": {**said, "reasoning_content": "Hm."}, "finish_reason": "tool_calls"}
        conversation.whole(200, message(STUDENT, choices=[choice]))

    there.student.then = calls
    picture: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    said: Any = [{"role": "user", "content": [{"type": "text", "text": "Where?"}, picture]}]
    found = there.claude.messages.create(
        model="r", max_tokens=2000, messages=said, tools=[TOOL], tool_choice={"type": "any"},
        thinking={"type": "enabled", "budget_tokens": 1024},
    )  # fmt: skip
    assert [block.type for block in found.content] == ["thinking", "tool_use"]
    assert found.content[1].to_dict() | {"caller": None} == {
        "type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}, "caller": None,
    }  # fmt: skip
    asked = there.student.seen[0].data
    assert asked["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PNG}"},
    }
    assert (asked["tool_choice"], asked["reasoning_effort"]) == ("required", "low")
    # The answer goes back as the SDK holds it, with what the tool found.
    there.student.then = answer
    result: Any = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
    there.claude.messages.create(
        model="r", max_tokens=9, tools=[TOOL],
        messages=[*said, {"role": "assistant", "content": found.content}, {"role": "user", "content": [result]}],
    )  # fmt: skip
    again = there.student.seen[1].data["messages"]
    assert again[1]["tool_calls"][0]["id"] == again[2]["tool_call_id"] == "t1"
    assert again[1]["reasoning_content"] == "Hm."


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_a_begun_answer_goes_on_only_where_it_can(world: Make, kind: str) -> None:
    there = world(mode="student", student=kind, on_student_failure="error")
    begun = {**ASKED, "messages": [*USER, {"role": "assistant", "content": "I am"}]}
    found = there.ask(begun)
    if kind == "vllm":
        assert found.status == 200
        asked = there.student.seen[0].data
        assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    else:
        assert found.status == 400
        assert "messages[1].role" in found.error["message"]


def test_the_openai_sdk_gets_chats_of_claude(world: Make) -> None:
    there = world()
    found = there.openai.chat.completions.create(model="r", messages=USER)
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (text_of(TEACHER), "stop")
    assert found.model == TEACHER
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (7, 5)
    seen = there.teacher.seen[0]
    assert seen.data == {"model": TEACHER, "max_tokens": 16384, "messages": USER}
    assert (seen.header("x-api-key"), seen.header("anthropic-version")) == ("secret", "2023-06-01")
    with there.openai.chat.completions.stream(model="r", messages=USER) as stream:
        said = [event.delta for event in stream if event.type == "content.delta"]
    assert "".join(said) == text_of(TEACHER)
    there.teacher.then = claude.says(claude.CALLS, "tool_use")
    function: Any = {"type": "function", "function": {"name": "weather", "parameters": TOOL["input_schema"]}}
    with there.openai.chat.completions.stream(model="r", messages=USER, tools=[function]) as stream:
        stream.until_done()
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Köln", "days": [1, 2]}, {}]
    assert there.teacher.seen[2].data["tools"] == [TOOL]


# Counted.


def test_claude_counts_tokens_for_itself(world: Make) -> None:
    there = world(mode="shadow")
    found = there.claude.messages.count_tokens(model="r", messages=USER, system="Be kind.", tools=[TOOL])
    assert found.input_tokens == 12
    seen = there.teacher.seen[0]
    assert seen.line == f"POST /{there.folder.name}-t/v1/messages/count_tokens HTTP/1.1"
    assert seen.data["system"] == "Be kind."
    [record] = there.records(1)  # no copy of it
    assert (record["endpoint"], record["cost"], record["usage"]["prompt_tokens"]) == ("/messages/count_tokens", 0.0, 0)
    assert not reader.asks(record)  # type: ignore[arg-type]


def test_a_student_is_counted_exactly_or_not_at_all(world: Make) -> None:
    there = world(mode="student")
    there.student.then = lambda conversation: conversation.whole(200, {"count": 5, "max_model_len": 99, "tokens": []})
    assert there.claude.messages.count_tokens(model="r", messages=USER, system="Be kind.").input_tokens == 5
    seen = there.student.seen[0]
    assert seen.line == f"POST /{there.folder.name}-s/tokenize HTTP/1.1"
    assert seen.data == {"model": STUDENT, "messages": [{"role": "system", "content": "Be kind."}, *USER]}
    picture: Any = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    with pytest.raises(anthropic.BadRequestError, match="cannot count"):
        there.claude.messages.count_tokens(model="r", messages=[{"role": "user", "content": [picture]}])
    assert there.teacher.asked == 0


@pytest.mark.parametrize("kind", ["openai", "lorax"])
def test_who_cannot_count_says_so(world: Make, kind: str) -> None:
    there = world(mode="student", student=kind)
    with pytest.raises(anthropic.BadRequestError, match="cannot count tokens exactly"):
        there.claude.messages.count_tokens(model="r", messages=USER)
    assert (there.student.asked, there.teacher.asked) == (0, 0)


# Two models of two kinds on one route.

FAILS: Action = refuses(500, "down")


@pytest.mark.parametrize("stream", [False, True])
def test_claude_answers_when_the_student_fails(world: Make, stream: bool) -> None:
    there = world(mode="student")
    there.student.then = FAILS
    found = there.ask({**ASKED, "stream": stream})
    assert found.said == ("teacher", "fallback:http_500")
    by_chat = there.openai.chat.completions.create(model="r", messages=USER)
    assert by_chat.choices[0].message.content == text_of(TEACHER)
    first, second = there.records(2)
    assert [one["arm"] for one in first["attempts"]] == ["student", "teacher"]
    assert reader.answer(first) == reader.answer(second) == text_of(TEACHER)  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chatting_teacher_answers_when_claude_fails(world: Make, stream: bool) -> None:
    """Claude may be the student as well, and the teacher a model that chats."""
    there = world(teacher="openai", student="anthropic", mode="student")
    there.student.then = claude.refuses(529, "overloaded_error", "Overloaded")
    if stream:
        with there.claude.messages.stream(model="r", max_tokens=9, messages=USER) as found:
            assert text(found.get_final_message()) == text_of(TEACHER)
    else:
        assert text(there.claude.messages.create(model="r", max_tokens=9, messages=USER)) == text_of(TEACHER)
    [record] = there.records(1)
    assert record["reason"] == "fallback:http_529"


@pytest.mark.parametrize("stream", [False, True])
def test_a_copy_is_put_in_the_other_models_words(world: Make, stream: bool) -> None:
    """The same request by both APIs: the records of the answers and of their copies say the same."""
    there = world(mode="shadow")
    asked = {"model": "r", "max_tokens": 9, "messages": USER, "stream": stream}
    system = {"role": "system", "content": "Be kind."}
    there.ask({**asked, "system": "Be kind."})
    there.ask({**asked, "messages": [system, *USER]}, f"authorization: Bearer {KEY}", path="/v1/chat/completions")
    found = there.records(4)
    by_api = {name: [one for one in found if one["endpoint"] == name] for name in ("/messages", "/chat/completions")}
    same = (
        "role",
        "arm",
        "adapter",
        "status",
        "completed",
        "error",
        "usage",
        "cost",
        "copy_wanted",
        "prompt_sha256",
        "served_model",
    )
    first, second = ([{name: one[name] for name in same} for one in listed] for listed in by_api.values())
    assert first == second
    for one, other in zip(*by_api.values(), strict=True):
        assert reader.answered(one) == reader.answered(other)
        mine, yours = reader.request(one), reader.request(other)
        assert mine["messages"] == yours["messages"]
        assert (reader.conversation(mine), reader.system(mine)) == (reader.conversation(yours), "Be kind.")
    copies = sorted((seen.data for seen in there.student.seen), key=lambda data: "max_tokens" in data)
    by_message, by_chat = copies
    assert by_message.pop("max_completion_tokens") == by_chat.pop("max_tokens") == 9
    assert by_message == by_chat


def test_a_student_that_answers_is_audited_by_claude(world: Make) -> None:
    there = world(mode="student", audit_bp=10_000)
    there.openai.chat.completions.create(model="r", messages=USER)
    there.ask({**ASKED, "x_new": 1}, "anthropic-beta: new-2026-01-01")  # only Claude knows what that is
    found = {(one["endpoint"], one["role"]): one for one in there.records(3)}
    audit = found["/chat/completions", "audit"]
    assert (audit["arm"], audit["error"]) == ("teacher", None)
    assert reader.answer(audit) == text_of(TEACHER)  # type: ignore[arg-type]
    assert found["/messages", "served"]["reason"] == "fallback:untranslatable"
    [fallback] = [seen for seen in there.teacher.seen if "x_new" in seen.data]
    assert fallback.header("anthropic-beta") == "new-2026-01-01"


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_copy_of_claudes_own_request_is_what_the_client_sent(world: Make, kind: str) -> None:
    """What only a beta allows would be refused without its header."""
    there = (
        world(student="anthropic", mode="shadow")
        if kind == "teacher"
        else world(student="anthropic", mode="student", audit_bp=10_000)
    )
    there.ask({**ASKED, "x_new": 1}, "anthropic-beta: new-2026-01-01")
    assert [one["error"] for one in there.records(2)] == [None, None]
    [first], [second] = there.teacher.seen, there.student.seen
    assert first.header("anthropic-beta") == second.header("anthropic-beta") == "new-2026-01-01"
    assert {**first.data, "model": ""} == {**second.data, "model": ""}


def test_what_a_student_cannot_be_told_goes_to_the_teacher_and_counts_for_nobody(world: Make) -> None:
    there = world(mode="shadow")
    there.ask({**ASKED, "container": "c"}, "anthropic-beta: new-2026-01-01")
    served, copy = there.records(2)
    assert (served["arm"], served["error"], served["status"]) == ("teacher", None, 200)
    assert (copy["role"], copy["error"], copy["adapter"], copy["completed"]) == (
        "shadow",
        "untranslatable",
        STUDENT,
        False,
    )
    assert [one["outcome"] for one in copy["attempts"]] == ["untranslatable"]
    assert reader.nobodys(copy)  # type: ignore[arg-type]
    assert not reader.failed_first(copy)  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_to_tell_it_to_is_a_refusal_by_name(world: Make, stream: bool) -> None:
    there = world(mode="student", on_student_failure="error")
    found = there.ask({**ASKED, "stream": stream, "mcp_servers": [{"name": "x"}]})
    assert found.status == 400
    assert found.data == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "'mcp_servers' has no counterpart in OpenAI's chat API"},
    }
    assert there.student.asked == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_claude_cannot_be_told_is_refused_by_name(world: Make, stream: bool) -> None:
    there = world()
    with pytest.raises(
        openai.BadRequestError, match="'seed' has no counterpart in Anthropic's Messages API"
    ) as refused:
        there.openai.chat.completions.create(model="r", messages=USER, seed=1, stream=stream)
    assert (refused.value.param, refused.value.code) == ("seed", "unsupported_parameter")
    for path, asked in {
        "/v1/completions": {"model": "r", "prompt": "Hi"}, "/v1/embeddings": {"model": "r", "input": "Hi"},
        "/generate": {"inputs": "Hi", "parameters": {"adapter_id": "r"}},
    }.items():  # fmt: skip
        found = there.ask(asked, f"authorization: Bearer {KEY}", path=path)
        assert (found.status, there.teacher.asked) == (400, 0)


# Errors.

BAD_REQUESTS: list[tuple[bytes | Json, str]] = [
    (b"{", "the body is not JSON"), (b"[]", "must be a JSON object"), ({**ASKED, "model": None}, "'model' must be"),
    ({"model": "r", "max_tokens": 9}, "'messages' is missing"), ({**ASKED, "messages": []}, "'messages' must be"),
    ({**ASKED, "messages": "Hi"}, "'messages' must be"), ({"model": "r", "messages": USER}, "'max_tokens' is missing"),
    ({**ASKED, "max_tokens": "9"}, "'max_tokens' must be"), ({**ASKED, "max_tokens": -1}, "'max_tokens' must be"),
    ({**ASKED, "max_tokens": True}, "'max_tokens' must be"), ({**ASKED, "stream": 1}, "'stream' must be"),
    (b'{"model": "r", "messages": [%b{}]}' % (b"[]," * 600_000), "objects, lists and strings"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says"), BAD_REQUESTS, ids=[says for _, says in BAD_REQUESTS])
def test_a_request_that_is_none_is_refused_in_anthropics_shape(world: Make, body: bytes | Json, says: str) -> None:
    there = world()
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        found = there.ask(body, path=path)
        if path.endswith("count_tokens") and ("max_tokens" in says or "stream" in says):
            assert found.status == 200  # it needs neither
            continue
        assert (found.status, found.data["type"], found.error["type"]) == (400, "error", "invalid_request_error")
        assert says in found.error["message"]


def test_keys_and_names(world: Make) -> None:
    there = world()
    other = anthropic.Anthropic(base_url=there.url, api_key="wrong", max_retries=0)
    with other, pytest.raises(anthropic.AuthenticationError) as unknown:
        other.messages.create(model="r", max_tokens=9, messages=USER)
    assert unknown.value.type == "authentication_error"
    with pytest.raises(anthropic.NotFoundError, match="there is no model 'q' here"):
        there.claude.messages.create(model="q", max_tokens=9, messages=USER)
    by_token = anthropic.Anthropic(base_url=there.url, auth_token=KEY, api_key=None, max_retries=0)
    with by_token:
        assert text(by_token.messages.create(model="r", max_tokens=9, messages=USER)) == text_of(TEACHER)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", claude.FAULTS, ids=[one.name for one in claude.FAULTS])
def test_claudes_faults_are_told_in_both_shapes(world: Make, fault: claude.Fault, stream: bool) -> None:
    there = world()
    there.teacher.then = fault.action
    found = there.ask({**ASKED, "stream": stream})
    by_chat = there.ask(
        {"model": "r", "messages": USER, "stream": stream}, f"authorization: Bearer {KEY}", path="/v1/chat/completions"
    )
    if stream and fault.streamed:
        assert not found.whole
        assert not by_chat.whole
        blocks = [block for block in found.body.decode().split("\n\n") if block]
        assert blocks[0].startswith("event: message_start\n")
        assert blocks[-1].startswith(
            'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"the answer broke off'
        )
        assert by_chat.events[-1]["error"]["code"] == fault.streamed
        assert [one["error"] for one in there.records(2)] == [fault.streamed, fault.streamed]
        return
    assert (found.status, found.data["type"], found.error["type"]) == (fault.status, "error", fault.kind)
    assert fault.says in found.error["message"]
    assert by_chat.status == fault.status
    assert fault.says in by_chat.error["message"]
    assert [one["error"] for one in there.records(2)] == [fault.cause, fault.cause]
    assert b"secret" not in found.body + by_chat.body


def test_the_sdks_raise_what_a_stream_says_that_breaks_off(world: Make) -> None:
    there = world()
    there.teacher.then = claude.overloaded_later
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        for _ in there.claude.messages.create(model="r", max_tokens=9, messages=USER, stream=True):
            pass
    with pytest.raises(openai.APIError, match="broke off"):
        for _ in there.openai.chat.completions.create(model="r", messages=USER, stream=True):
            pass


def test_a_student_that_breaks_off_ends_in_an_error_event(world: Make) -> None:
    there = world(mode="student")
    there.student.then = cut
    found = there.ask({**ASKED, "stream": True})
    assert not found.whole
    last = [block for block in found.body.decode().split("\n\n") if block][-1]
    assert last.startswith(
        'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"the answer broke off'
    )


def test_limits_of_the_account_are_passed_on_by_the_same_switch(world: Make) -> None:
    there = world()

    def limited(conversation: Conversation) -> None:
        conversation.whole(
            200, claude.message(TEACHER), "anthropic-ratelimit-requests-remaining: 7", "request-id: req_2"
        )

    there.teacher.then = limited
    found = there.ask(ASKED)
    assert found.headers["anthropic-ratelimit-requests-remaining"] == "7"
    assert found.headers["x-upstream-request-id"] == "req_2"


def test_between_those_who_chat_the_clients_bytes_pass(world: Make) -> None:
    there = world(teacher="openai")
    body = b'{"model": "r", "messages": [{"role": "user", "content": "\\u00fc"}], "x": 1.50}'
    there.ask(body, f"authorization: Bearer {KEY}", path="/v1/chat/completions")
    assert there.teacher.seen[0].body == body.replace(b'"r"', b'"claude-opus"')
    there.ask(chat("r"), f"authorization: Bearer {KEY}", path="/v1/chat/completions")
    assert there.teacher.seen[1].data == {**chat("r"), "model": TEACHER}


# What looks at answers before they leave.


def threshold(bias: float) -> Json:
    """A student that is always sure, or never."""
    fit = {"bias": bias, "weights": [0.0] * 4, "means": [0.0] * 4, "scales": [1.0] * 4}
    return {"fit": fit, "threshold": {"cuts": {"": 0.5}, "expires_at": time.time() + 3600}, "reads": None}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sure", [True, False])
def test_a_hybrid_route_asks_the_student_for_its_confidence(world: Make, stream: bool, sure: bool) -> None:
    there = world(mode="hybrid", threshold=threshold(9.0 if sure else -9.0))
    tops = [{"token": one, "logprob": value, "bytes": None} for one, value in (("yes", -0.1), ("no", -3.0))]
    logprobs = {"content": [{**tops[0], "top_logprobs": tops}]}

    def says(conversation: Conversation) -> None:
        assert conversation.seen.data["top_logprobs"] == 2
        choice = {"index": 0, "finish_reason": "stop", "logprobs": logprobs}
        if not conversation.streams:
            said = {"role": "assistant", "content": "yes"}
            conversation.whole(200, message(STUDENT, choices=[{**choice, "message": said}]))
            return
        conversation.start_stream()
        chunk = {
            "id": "c",
            "object": "chat.completion.chunk",
            "model": STUDENT,
            "choices": [{**choice, "delta": {"content": "yes"}}],
        }
        conversation.events([chunk, "[DONE]"])
        conversation.end_stream()

    there.student.then = says
    found = there.ask({**ASKED, "stream": stream})
    assert found.said == (("student", CONFIDENT) if sure else ("teacher", DEFERRED))
    assert b"logprob" not in found.body
    assert (b"yes" if sure else b"claude-opus") in found.body
    logged = there.records(1 if sure else 2)
    assert "logprobs" in next(one["response_json"] for one in logged if one["arm"] == "student")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("release", ["window", "block"])
def test_a_students_answer_is_checked_before_it_is_a_message(world: Make, stream: bool, release: str) -> None:
    there = world(mode="student", release=release, release_window=50, checks=("refusal",))
    there.student.then = checked("I'm sorry, but I can't help with that.", "stop")
    found = there.ask({**ASKED, "stream": stream})
    assert found.said == ("teacher", "fallback:check:refusal")
    assert b"sorry" not in found.body
