"""`/v1/responses` through the real SDK: passed on to a teacher that speaks it, translated for a student that speaks chat."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from graduand.gateway.model import reader
from graduand.gateway.model.routes import USER_ORDER, Route, Student, Teacher, Unit
from graduand.gateway.model.routes import Upstream as Configured
from graduand.gateway.model.routing import STUDENT
from tests.gateway.checkcases import SECRET
from tests.gateway.dataplane.inprocess import Running, records
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.responsefaults import BROKEN, FAILED, Broken
from tests.gateway.running import until
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import (
    Action,
    Conversation,
    Place,
    Upstream,
    answer,
    chunk,
    message,
    text_of,
    tokens,
    usage_chunk,
)

Json = dict[str, Any]
TEACHER, ADAPTER = "gpt-5", "small@3f9c1a0b22de"
PATH = "/v1/responses"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS: Any = [{"type": "function", "name": "look", "description": None, "strict": True, "parameters": {
    "type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}}]  # fmt: skip
USAGE = {
    "input_tokens": 7, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 12,
}  # fmt: skip


def response(model: str, text: str, status: str = "completed", **more: Any) -> Json:
    """A whole response of an upstream that speaks the API, by the SDK's own object."""
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
    data = {
        "id": "resp_1", "object": "response", "created_at": 1.0, "model": model + "-2026-01-01", "status": status,
        "output": [thought, {**said, "content": content}], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": USAGE, "error": None, "store": True, "temperature": 1.0, **more,
    }  # fmt: skip
    return Response.model_validate(data).to_dict(mode="json")


def passing_events(model: str, text: str, end: str = "response.completed", **more: Any) -> list[Json]:
    """The events of the same as a stream, with what a hosted tool tells in between."""
    whole = response(model, text, end.partition(".")[2], **more)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    thought, said = whole["output"]
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    part = said["content"][0]
    half = len(text) // 2
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": thought},
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**said, "content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": text[:half], "logprobs": [], "obfuscation": "x1"},
        {"type": "response.output_text.delta", **place, "delta": text[half:], "logprobs": [], "obfuscation": "y"},
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 1, "item": said},
        {"type": end, "response": whole},
    ]
    return [{**event, "sequence_number": at} for at, event in enumerate(events)]


def stream(conversation: Conversation, events: list[Json], last: bytes = b"", *, cut: bool = False) -> None:
    conversation.start_stream()
    for event in events:
        conversation.piece(f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
    if last:
        conversation.piece(last)
    if cut:
        conversation.taken()
        conversation.cut()
    else:
        conversation.end_stream()


def speaks(conversation: Conversation) -> None:
    """Answers both APIs well."""
    if "/responses" not in conversation.seen.line:
        answer(conversation)
        return
    model = conversation.seen.data["model"]
    if conversation.streams:
        stream(conversation, passing_events(model, text_of(model)))
    else:
        conversation.whole(200, response(model, text_of(model)))


def says(*chunks: Json, whole: Json | None = None) -> Action:
    """A model that speaks chat, with these chunks, or this message."""

    def say(conversation: Conversation) -> None:
        if conversation.streams:
            conversation.start_stream()
            conversation.events([*(json.dumps(one) for one in (*chunks, usage_chunk(ADAPTER))), "[DONE]"])
            conversation.end_stream()
        else:
            assert whole is not None
            conversation.whole(200, message(ADAPTER, choices=[{"index": 0, **whole}]))

    return say


@dataclass
class World:
    folder: Path
    running: Running
    teacher: Place
    student: Place
    sdk: openai.OpenAI

    def ask(self, body: Json, path: str = PATH) -> Answer:
        with Client(self.running.port) as client:
            return client.ask(body, path)

    def end(self) -> list[Json]:
        """What it has logged, copies included."""
        self.sdk.close()
        self.running.do(asyncio.sleep(0))  # whoever has just been answered offers its copies in the same turn
        until(lambda: not self.running.plane.shadower.size, "all copies are answered")
        self.running.close()
        return records(self.folder)


Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path, upstream: Upstream) -> Iterator[Make]:
    made: list[World] = []

    def make(mode: str = "student", student: Action = answer, teacher: Action = speaks, **more: Any) -> World:
        upstreams: dict[str, Json] = {"t": {"kind": "openai"}, "s": {"kind": "vllm"}}
        for name in ("t", "s"):
            upstreams[name] |= more.pop(name, {})
        places = {
            "t": upstream.place(f"{tmp_path.name}-t", teacher),
            "s": upstream.place(f"{tmp_path.name}-s", student),
        }
        configured: list[Configured] = [
            replace(one_upstream(name, of.pop("kind"), places[name].url), **of) for name, of in upstreams.items()
        ]
        route = Route("r", Teacher("t", TEACHER), Student("s", ADAPTER), mode=mode, retries=0, **more)
        running = Running(tmp_path, configured, [route])
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key="k", max_retries=0, timeout=60)
        world = World(tmp_path, running, places["t"], places["s"], sdk)
        made.append(world)
        return world

    yield make
    for world in made:
        if not world.running.loop.is_closed():
            world.end()


def told(answer: Answer) -> list[Json]:
    """The events of a stream; each says its type twice."""
    blocks = [block for block in answer.body.decode().split("\n\n") if block and not block.startswith(":")]
    events = []
    for block in blocks:
        kind, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {events[-1]['type']}"
    return events


def checked(events: list[Any]) -> list[Any]:
    """Events as the SDK has parsed them: each is valid by its own type, and they are in order."""
    for at, event in enumerate(events):
        data = event.to_dict(mode="json")
        assert event.sequence_number == at
        assert type(EVENT.validate_python(data)).__name__ == type(event).__name__
        assert data.keys() >= {name for name, one in type(event).model_fields.items() if one.is_required()}
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    open_items: set[int] = set()
    for event in events[2:-1]:
        if event.type == "response.output_item.added":
            open_items.add(event.output_index)
        else:
            assert event.output_index in open_items
        if event.type == "response.output_item.done":
            open_items.remove(event.output_index)
    assert not open_items
    return events


# Passed on.


def test_passed_whole(make: Make) -> None:
    world = make("teacher")
    body = b'{"model": "r", "input":  "hi", "store": true, "text":{"format":{"type":"text"}},"tools":[{"type":"web_search"}]}'
    with Client(world.running.port) as client:
        got = client.ask(body, PATH)
    seen = world.teacher.seen[0]
    assert seen.line.split()[1].endswith("/responses")
    assert seen.body == body.replace(b'"r"', b'"gpt-5"')
    assert got.data == {**response(TEACHER, text_of(TEACHER)), "model": TEACHER}
    [record] = world.end()
    assert (record["endpoint"], record["request_json"]) == ("/responses", body.decode())
    assert json.loads(record["response_json"]) == got.data
    assert record["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "kind": "exact"}
    assert (record["served_model"], record["arm"], record["completed"]) == (f"{TEACHER}-2026-01-01", "teacher", True)
    assert reader.answer(record) == text_of(TEACHER)


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
def test_passed_stream(make: Make, end: str) -> None:
    why = {"incomplete_details": {"reason": "max_output_tokens"}} if end == "response.incomplete" else {}
    sent = passing_events(TEACHER, "one two", end, **why)
    world = make("teacher", teacher=lambda conversation: stream(conversation, sent))
    events = checked(list(world.sdk.responses.create(model="r", input="hi", stream=True)))
    for event in sent:
        if "response" in event:
            event["response"]["model"] = TEACHER
    assert [event.to_dict(mode="json") for event in events] == sent
    [record] = world.end()
    assert json.loads(record["response_json"]) == {**sent[-1]["response"], "model": f"{TEACHER}-2026-01-01"}
    found = reader.answered(record)
    assert found is not None
    assert (found.text, found.finish) == ("one two", "length" if why else "stop")
    assert record["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "kind": "exact"}


def test_parse_passed(make: Make) -> None:
    class Said(pydantic.BaseModel):
        a: str

    def speak(conversation: Conversation) -> None:
        assert conversation.seen.data["text"]["format"]["type"] == "json_schema"
        conversation.whole(200, response(TEACHER, '{"a": "x"}'))

    parsed = make("teacher", teacher=speak).sdk.responses.parse(model="r", input="hi", text_format=Said)
    assert parsed.output_parsed == Said(a="x")


# Translated.


def test_whole(make: Make) -> None:
    world = make()
    got = world.sdk.responses.create(
        model="r", input="hi", instructions="Brief.", max_output_tokens=20, user="ann", metadata={"k": "v"}, store=True,
        temperature=0.5, reasoning={"effort": "low"}, safety_identifier="h",
    )  # fmt: skip
    Response.model_validate(got.to_dict(mode="json"), strict=False)
    seen = world.student.seen[0]
    assert seen.line.split()[1].endswith("/chat/completions")
    assert seen.data == {
        "model": ADAPTER, "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "hi"}],
        "max_tokens": 20, "user": "ann", "temperature": 0.5, "reasoning_effort": "low", "safety_identifier": "h",
    }  # fmt: skip
    assert (got.output_text, got.status, got.model, got.error) == (text_of(ADAPTER), "completed", ADAPTER, None)
    assert (got.instructions, got.max_output_tokens, got.metadata, got.temperature) == ("Brief.", 20, {"k": "v"}, 0.5)
    assert (got.user, got.safety_identifier, got.reasoning and got.reasoning.effort) == ("ann", "h", "low")
    assert got.usage is not None
    assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.total_tokens) == (7, 5, 12)
    [record] = world.end()
    assert (record["arm"], record["reason"], record["completed"]) == ("student", "student", True)
    assert reader.answer(record) == text_of(ADAPTER)


def test_stream_text(make: Make) -> None:
    world = make()
    with world.sdk.responses.stream(model="r", input="hi") as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    assert final.output_text == text_of(ADAPTER)
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert final.usage is not None
    assert final.usage.total_tokens == 12
    [record] = world.end()
    assert reader.answer(record) == text_of(ADAPTER)
    assert record["usage"]["kind"] == "exact"


def call(index: int | None, arguments: str | None = None, number: str | None = None, name: str | None = None) -> Json:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    places = {key: value for key, value in (("index", index), ("id", number)) if value is not None}
    return {**places, **({"type": "function"} if number else {}), "function": function}


TEN, ELEVEN = '{"q":"10"}', '{"q":"11"}'
CALLS: dict[str, list[list[Json]]] = {
    "in pieces": [[call(0, "", "c1", "look")], [call(0, '{"q"')], [call(0, ':"10"}')], [call(1, "", "c2", "look")],
                  [call(1, ELEVEN)]],
    "at once": [[call(0, TEN, "c1", "look"), call(1, ELEVEN, "c2", "look")]],
    "mixed": [[call(0, '{"q"', "c1", "look"), call(1, '{"q":', "c2", "look")], [call(1, '"11"}'), call(0, ':"10"}')]],
    "a name in pieces": [[call(0, "", "c1", "lo")], [call(0, None, None, "ok")], [call(0, TEN)], [call(1, ELEVEN, "c2", "look")]],
    "all with index 0": [[call(0, TEN, "c1", "look")], [call(0, ELEVEN, "c2", "look")]],
    "no index": [[call(None, TEN, "c1", "look")], [call(None, ELEVEN, "c2", "look")]],
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_calls_of_tools(make: Make, case: str) -> None:
    """Whole and streamed, in whatever pieces: the same two calls."""
    deltas = CALLS[case]
    full = [call(0, TEN, "c1", "look"), call(1, ELEVEN, "c2", "look")]
    world = make(student=says(
        chunk(ADAPTER, role="assistant", content="Let me see."), *(chunk(ADAPTER, tool_calls=one) for one in deltas),
        chunk(ADAPTER, finish="tool_calls"),
        whole={"message": {"role": "assistant", "content": "Let me see.", "tool_calls": full}, "finish_reason": "tool_calls"},
    ))  # fmt: skip
    items: Any = [
        {"role": "user", "content": "go"}, {"type": "function_call", "call_id": "c0", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c0", "output": "nothing"},
    ]  # fmt: skip
    whole = world.sdk.responses.create(model="r", input=items, tools=TOOLS)
    events = checked(list(world.sdk.responses.create(model="r", input=items, tools=TOOLS, stream=True)))
    with world.sdk.responses.stream(model="r", input=items, tools=TOOLS) as followed:
        helped = followed.get_final_response()
    assert [one["role"] for one in world.student.seen[0].data["messages"]] == ["user", "assistant", "tool"]
    assert world.student.seen[0].data["tools"][0]["function"]["name"] == "look"
    for final in (whole, events[-1].response, helped):
        said, *calls = final.output
        assert (said.type, said.content[0].text) == ("message", "Let me see.")
        assert [(one.type, one.call_id, one.name, one.arguments, one.status) for one in calls] == [
            ("function_call", "c1", "look", TEN, "completed"), ("function_call", "c2", "look", ELEVEN, "completed"),
        ]  # fmt: skip
        assert final.status == "completed"
    pieces: dict[str, str] = {}
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            pieces[event.item_id] = pieces.get(event.item_id, "") + event.delta
    assert list(pieces.values()) == [TEN, ELEVEN]
    answers = [reader.answered(record) for record in world.end()]
    assert [one and [call["function"] for call in one.calls] for one in answers] == [
        [one["function"] for one in full]
    ] * 3


REASONED: dict[str, list[Json]] = {
    "vLLM": [chunk(ADAPTER, reasoning_content="I thi"), chunk(ADAPTER, reasoning_content="nk"), chunk(ADAPTER, content="so")],
    "OpenRouter": [chunk(ADAPTER, reasoning="I think"), chunk(ADAPTER, content="so")],
    "Mistral": [chunk(ADAPTER, content=[{"type": "thinking", "thinking": [{"type": "text", "text": "I think"}]}]),
                chunk(ADAPTER, content=[{"type": "text", "text": "so"}])],
}  # fmt: skip


@pytest.mark.parametrize("case", REASONED)
def test_reasoning(make: Make, case: str) -> None:
    world = make(student=says(*REASONED[case], chunk(ADAPTER, finish="stop"), whole={
        "message": {"role": "assistant", "content": "so", "reasoning_content": "I think"}, "finish_reason": "stop",
    }))  # fmt: skip
    whole = world.sdk.responses.create(model="r", input="hi")
    events = checked(list(world.sdk.responses.create(model="r", input="hi", stream=True)))
    for final in (whole, events[-1].response):
        assert [one.type for one in final.output] == ["reasoning", "message"]
        assert (final.output[0].content[0].text, final.output_text) == ("I think", "so")
        assert "reasoning" not in final.to_dict() or final.output[0].summary == []
    thought = "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
    assert thought == "I think"
    # What came back is taken again: vLLM reads what it thought.
    again: Any = [
        {"role": "user", "content": "hi"},
        *(one.to_dict() for one in whole.output),
        {"role": "user", "content": "?"},
    ]
    world.student.forget()
    world.sdk.responses.create(model="r", input=again)
    assert world.student.seen[0].data["messages"][1] == {
        "role": "assistant",
        "content": "so",
        "reasoning_content": "I think",
    }


def test_refusal(make: Make) -> None:
    world = make(student=says(
        chunk(ADAPTER, refusal="I can"), chunk(ADAPTER, refusal="not"), chunk(ADAPTER, finish="stop"),
        whole={"message": {"role": "assistant", "content": None, "refusal": "I cannot"}, "finish_reason": "stop"},
    ))  # fmt: skip
    whole = world.sdk.responses.create(model="r", input="hi")
    events = checked(list(world.sdk.responses.create(model="r", input="hi", stream=True)))
    for final in (whole, events[-1].response):
        assert [one.to_dict() for one in final.output[0].content] == [{"type": "refusal", "refusal": "I cannot"}]


@pytest.mark.parametrize(("finish", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_incomplete(make: Make, finish: str, why: str) -> None:
    world = make(student=says(
        *tokens(ADAPTER), chunk(ADAPTER, finish=finish),
        whole={"message": {"role": "assistant", "content": text_of(ADAPTER)}, "finish_reason": finish},
    ))  # fmt: skip
    whole = world.sdk.responses.create(model="r", input="hi", max_output_tokens=3)
    events = checked(list(world.sdk.responses.create(model="r", input="hi", max_output_tokens=3, stream=True)))
    assert events[-1].type == "response.incomplete"
    for final in (whole, events[-1].response):
        assert (final.status, final.incomplete_details.reason, final.output[-1].status) == (
            "incomplete",
            why,
            "incomplete",
        )
        assert final.output_text == text_of(ADAPTER)


def test_structured(make: Make) -> None:
    class Said(pydantic.BaseModel):
        a: str

    world = make(student=says(
        chunk(ADAPTER, content='{"a"'), chunk(ADAPTER, content=':"x"}'), chunk(ADAPTER, finish="stop"),
        whole={"message": {"role": "assistant", "content": '{"a":"x"}'}, "finish_reason": "stop"},
    ))  # fmt: skip
    assert world.sdk.responses.parse(model="r", input="hi", text_format=Said).output_parsed == Said(a="x")
    with world.sdk.responses.stream(model="r", input="hi", text_format=Said) as events:
        assert events.get_final_response().output_parsed == Said(a="x")
    for seen in world.student.seen:
        form = seen.data["response_format"]
        assert (form["type"], form["json_schema"]["name"], form["json_schema"]["strict"]) == (
            "json_schema",
            "Said",
            True,
        )
        assert form["json_schema"]["schema"]["properties"] == {"a": {"title": "A", "type": "string"}}


def test_nothing_said(make: Make) -> None:
    """A message without text, as an engine that stops at once sends it."""
    world = make(student=says(
        chunk(ADAPTER, role="assistant"), chunk(ADAPTER, finish="stop"),
        whole={"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"},
    ))  # fmt: skip
    whole = world.sdk.responses.create(model="r", input="hi")
    events = checked(list(world.sdk.responses.create(model="r", input="hi", stream=True)))
    for final in (whole, events[-1].response):
        assert [part.text for part in final.output[0].content] == [""]


def test_logprobs_and_halves(make: Make) -> None:
    """Log probabilities only where they were asked for; half of a character is no end of the stream."""
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": [
        {"token": "a", "logprob": -0.1, "bytes": [97]}, {"token": "b", "logprob": -2.0, "bytes": [98]}]}]}  # fmt: skip
    one = chunk(ADAPTER, content="a")
    one["choices"][0]["logprobs"] = logprobs
    world = make(student=says(
        one, chunk(ADAPTER, content="\ud83d"), chunk(ADAPTER, content="\ude00"), chunk(ADAPTER, finish="stop"),
        whole={"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop", "logprobs": logprobs},
    ))  # fmt: skip
    for asked, count in (({}, None), ({"include": ["message.output_text.logprobs"]}, 0), ({"top_logprobs": 1}, 1)):
        world.student.forget()
        whole = world.sdk.responses.create(model="r", input="hi", **asked)
        events = list(world.sdk.responses.create(model="r", input="hi", stream=True, **asked))
        assert events[-1].response.output_text.startswith("a")
        assert world.student.seen[0].data.get("logprobs", False) is (count is not None)
        for final in (whole, events[-1].response):
            listed = [len(token.top_logprobs) for token in final.output[0].content[0].logprobs]
            assert listed == ([] if count is None else [count])


# Refused by name.

REFUSED: dict[str, Json] = {
    "previous_response_id": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "background": {"background": True},
    "input[0]": {"input": [{"type": "item_reference", "id": "msg_1"}]},
    "input[1]": {"input": [{"role": "user", "content": "x"}, {"id": "msg_1"}]},
    "input": {"input": ""},
}  # fmt: skip


@pytest.mark.parametrize("param", REFUSED)
@pytest.mark.parametrize("mode", ["teacher", "student"])
def test_refused_whoever_answers(make: Make, mode: str, param: str) -> None:
    world = make(mode)
    with pytest.raises(openai.BadRequestError) as refused:
        world.sdk.responses.create(**{"model": "r", "input": "hi", **REFUSED[param]})
    assert refused.value.param == param
    assert not world.teacher.seen
    assert not world.student.seen
    assert world.end()[0]["status"] == 400


def test_a_hosted_tool_goes_to_the_teacher(make: Make) -> None:
    world = make()
    got = world.sdk.responses.with_raw_response.create(model="r", input="hi", tools=[{"type": "web_search"}])
    assert got.headers["x-graduand-reason"] == "fallback:untranslatable"
    assert got.parse().output_text == text_of(TEACHER)
    assert not world.student.seen
    [record] = world.end()
    assert (record["fallback_reason"], reader.failure(record), reader.failed_first(record)) == (
        "untranslatable",
        "",
        False,
    )


def test_a_hosted_tool_of_nobody(make: Make) -> None:
    """The student has no teacher behind it; and a teacher that speaks chat only has no such tool."""
    alone = make(on_student_failure="error")
    with pytest.raises(openai.BadRequestError) as refused:
        alone.sdk.responses.create(model="r", input="hi", tools=[{"type": "web_search"}], stream=True)
    assert (refused.value.param, refused.value.code) == ("tools[0]", "unsupported_parameter")
    assert "web_search" in refused.value.message


def test_a_teacher_that_speaks_chat_only(make: Make) -> None:
    world = make("teacher", t={"responses": False})
    assert world.sdk.responses.create(model="r", input="hi").output_text == text_of(TEACHER)
    assert world.teacher.seen[0].line.split()[1].endswith("/chat/completions")
    with pytest.raises(openai.BadRequestError) as refused:
        world.sdk.responses.create(model="r", input="hi", tools=[{"type": "file_search", "vector_store_ids": ["x"]}])
    assert refused.value.param == "tools[0]"


def test_a_student_that_speaks_it(make: Make) -> None:
    world = make(student=speaks, s={"responses": True})
    assert world.sdk.responses.create(model="r", input="hi").output_text == text_of(ADAPTER)
    assert world.student.seen[0].line.split()[1].endswith("/responses")


@pytest.mark.parametrize(("kind", "url", "said", "speaks"), [
    ("openai", "https://api.openai.com/v1", None, True), ("openai", "https://api.openai.com/v1", False, False),
    ("openai", "https://generativelanguage.googleapis.com/v1beta/openai", None, False),
    ("openai", "https://api.mistral.ai/v1", None, False), ("openai", "https://api.mistral.ai/v1", True, True),
    ("openai", "https://r.openai.azure.com/openai/deployments/gpt-4o", None, False),
    ("openai", "https://r.openai.azure.com/openai/v1", None, True), ("vllm", "http://gpu:8000/v1", None, False),
    ("vllm", "http://gpu:8000/v1", True, True), ("lorax", "http://gpu:8000", None, False),
    ("anthropic", "https://api.anthropic.com/v1", None, False),
])  # fmt: skip
def test_who_speaks_it(kind: str, url: str, said: bool | None, speaks: bool) -> None:
    assert replace(one_upstream("u", kind, url), responses=said).speaks_responses is speaks


# Failures.


def fails(conversation: Conversation) -> None:
    conversation.whole(500, {"error": {"message": "no"}})


@pytest.mark.parametrize("streamed", [False, True])
def test_fallback(make: Make, streamed: bool) -> None:
    world = make(student=fails)
    got = world.ask({"model": "r", "input": "hi", "stream": streamed})
    assert got.headers["x-graduand-reason"] == "fallback:http_500"
    final = told(got)[-1]["response"] if streamed else got.data
    assert (final["model"], final["id"]) == (TEACHER, "resp_1")


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("case", BROKEN, ids=[one.name for one in BROKEN])
def test_a_passed_stream_that_breaks(make: Make, case: Broken, released: bool) -> None:
    """Before anything has left it is an error with a status, or the teacher's answer; afterwards an event of this API, the
    number after the last."""
    events = passing_events(TEACHER, "one two")[: 8 if released else 6]

    def breaks(conversation: Conversation) -> None:
        stream(conversation, events, case.last, cut=case.cut)

    world = make("teacher", teacher=breaks)
    got = world.ask({"model": "r", "input": "hi", "stream": True})
    if released:
        last = told(got)[-1]
        assert (last["type"], last["code"], last["sequence_number"]) == ("error", case.cause, len(events))
        assert type(EVENT.validate_python(last)).__name__ == "ResponseErrorEvent"
        assert len(told(got)) == len(events) + 1
        assert not got.whole
    else:
        assert (got.status, got.error["code"], got.error["type"]) == (502, case.cause, "server_error")
    [record] = world.end()
    assert (record["completed"], record["error"]) == (False, case.cause)


@pytest.mark.parametrize("case", BROKEN, ids=[one.name for one in BROKEN])
def test_a_students_stream_that_breaks(make: Make, case: Broken) -> None:
    begun = passing_events(ADAPTER, "one two")[:6]
    world = make(
        student=lambda conversation: stream(conversation, begun, case.last, cut=case.cut), s={"responses": True}
    )
    got = world.ask({"model": "r", "input": "hi", "stream": True})
    assert got.headers["x-graduand-reason"] == f"fallback:{case.cause}"
    assert told(got)[-1]["response"]["model"] == TEACHER


def test_a_whole_answer_that_failed(make: Make) -> None:
    bad: list[Json] = [
        FAILED,
        {"error": {"message": "x"}},
        {"object": "response", "status": "queued", "output": []},
        {},
    ]
    for body in bad:
        world = make("teacher", teacher=lambda conversation, body=body: conversation.whole(200, body))  # type: ignore[misc]
        with pytest.raises(openai.InternalServerError):
            world.sdk.responses.create(model="r", input="hi")
        world.end()


def test_a_translated_stream_that_breaks(make: Make) -> None:
    def breaks(conversation: Conversation) -> None:
        conversation.start_stream()
        conversation.events(tokens(ADAPTER))
        conversation.cut()

    got = make(student=breaks).ask({"model": "r", "input": "hi", "stream": True})
    assert [event["sequence_number"] for event in told(got)] == list(range(len(told(got))))
    assert (told(got)[-1]["type"], told(got)[-1]["code"]) == ("error", "truncated")


# Beside the answer.


def test_shadow_copies_and_one_evidence(make: Make) -> None:
    """The same question through both APIs: both arms' answers are the same to whoever reads the log."""
    world = make("shadow", s={})
    for streamed in (False, True):
        world.ask({"model": "r", "input": "hi", "instructions": "Brief.", "stream": streamed})
        both = [{"role": "system", "content": "Brief."}, {"role": "user", "content": "hi"}]
        world.ask({"model": "r", "messages": both, "stream": streamed}, "/v1/chat/completions")
    world.ask({"model": "r", "input": "hi", "tools": [{"type": "web_search"}]})
    found = world.end()
    refused = [one for one in found if one["error"] == "untranslatable"]
    assert [(one["role"], one["adapter"], reader.nobodys(one)) for one in refused] == [("shadow", ADAPTER, True)]
    whole = [one for one in found if one not in refused and one["completed"]]
    by_role: dict[str, list[Json]] = {}
    for one in whole:
        by_role.setdefault(one["role"], []).append(one)
    assert {role: len(listed) for role, listed in by_role.items()} == {"served": 5, "shadow": 4}
    for role, text in (("served", text_of(TEACHER)), ("shadow", text_of(ADAPTER))):
        assert {reader.answer(one) for one in by_role[role]} == {text}
        assert {reader.conversation(reader.request(one)) for one in by_role[role][:4]} == {
            "[system]\nBrief.\n\n[user]\nhi",
        }  # fmt: skip
    assert {one["arm"] for one in by_role["shadow"]} == {STUDENT}


@pytest.mark.parametrize("release", ["observe", "window", "block"])
@pytest.mark.parametrize("streamed", [False, True])
def test_checks(make: Make, release: str, streamed: bool) -> None:
    """What a check keeps back does not leave, in no event of any kind."""
    secret = SECRET
    world = make(
        student=says(
            chunk(ADAPTER, content="the key "), chunk(ADAPTER, content="is "), chunk(ADAPTER, content=secret),
            chunk(ADAPTER, finish="stop"),
            whole={"message": {"role": "assistant", "content": f"the key is {secret}"}, "finish_reason": "stop"},
        ),
        checks=({"secret": {"action": "fallback"}},), release=release, release_window=5,
    )  # fmt: skip
    got = world.ask({"model": "r", "input": "hi", "stream": streamed})
    if not streamed or release != "observe":
        assert secret not in got.body.decode()
        assert got.headers["x-graduand-reason"] == "fallback:check:secret"


def test_units_and_limits_see_the_same(make: Make) -> None:
    """Who is asked for, and how much was used, is read alike."""
    world = make(unit=Unit(USER_ORDER))
    world.ask({"model": "r", "input": "hi", "user": "ann"})
    world.ask(chat("r", "hi", user="ann"), "/v1/chat/completions")
    one, other = world.end()
    assert one["unit_bucket"] == other["unit_bucket"]
    assert (one["usage"], one["unit_hash"]) == (other["usage"], other["unit_hash"])


# A cut that an answer passes whose tokens are as good as certain.
CUT: Json = {
    "fit": {"bias": 0.0, "weights": [1.0, 0, 0, 0], "means": [0.0] * 4, "scales": [1.0] * 4}, "reads": None,
    "threshold": {"cuts": {"": 0.9}, "expires_at": 1e12},
}  # fmt: skip


def unsure(logprob: float) -> Action:
    told = {"content": [{"token": "so", "logprob": logprob, "bytes": None, "top_logprobs": [
        {"token": "so", "logprob": logprob, "bytes": None}, {"token": "no", "logprob": -9.0, "bytes": None}]}]}  # fmt: skip
    one = chunk(ADAPTER, content="so")
    one["choices"][0]["logprobs"] = told
    said = {"message": {"role": "assistant", "content": "so"}, "finish_reason": "stop", "logprobs": told}
    return says(one, chunk(ADAPTER, finish="stop"), whole=said)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("logprob", "reason"), [(-0.01, "confident"), (-8.99, "deferred")])
def test_hybrid(make: Make, logprob: float, reason: str, streamed: bool) -> None:
    """A student that is asked by chat is scored; its log probabilities are not the client's to see."""
    world = make("hybrid", student=unsure(logprob), threshold=CUT)
    got = world.ask({"model": "r", "input": "hi", "stream": streamed})
    assert world.student.seen[0].data["top_logprobs"] == 2
    assert (got.headers["x-graduand-reason"], b'"logprob"' in got.body) == (f"hybrid:{reason}", False)
    assert (b"-9.0" in got.body, b'"gpt-5"' in got.body) == (False, reason == "deferred")


def test_hybrid_of_a_student_that_speaks_it(make: Make) -> None:
    """Who is sent the client's bytes tells no log probabilities: the teacher answers."""
    world = make("hybrid", student=speaks, s={"responses": True}, threshold=CUT)
    got = world.ask({"model": "r", "input": "hi"})
    assert (got.headers["x-graduand-arm"], got.headers["x-graduand-reason"]) == ("teacher", "hybrid:deferred")


def test_an_estimate_sees_all_that_is_text(make: Make) -> None:
    """Where an upstream tells no usage: instructions, items and calls count as a chat's messages do."""

    def bare(conversation: Conversation) -> None:
        whole = message(ADAPTER)
        del whole["usage"]
        conversation.whole(200, whole)

    world = make(student=bare)
    items = [
        {"role": "user", "content": "x" * 400}, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "y" * 400},
        {"type": "function_call_output", "call_id": "1", "output": "z" * 400},
    ]  # fmt: skip
    world.ask({"model": "r", "input": items, "instructions": "w" * 400})
    one, other = {"model": "r", "input": "hi", "instructions": "a"}, {"model": "r", "input": "hi", "instructions": "b"}
    for body in (one, other, {**one, "temperature": 0}):
        world.ask(body)
    found = world.end()
    assert found[0]["usage"]["kind"] == "estimated"
    assert 395 <= found[0]["usage"]["prompt_tokens"] <= 410
    hashes = [record["prompt_sha256"] for record in found[1:]]
    assert hashes[0] == hashes[2] != hashes[1]
