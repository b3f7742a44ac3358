"""Through the real openai client, and Anthropic's once: answers, streams, helpers, and the right exception for each error."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.conftest import Start
from tests.gateway.faults import CONTEXT, CONTEXT_TEXT, cut, overloaded, refuses
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import chat
from tests.gateway.upstream import (
    Conversation,
    Place,
    Upstream,
    answer,
    asked_usage,
    chunk,
    message,
    text_of,
    usage_chunk,
)

STUDENT = "small@3f9c1a0b22de"
USER: Any = [{"role": "user", "content": "hello"}]
KEY = "client-key-1"
LOW_LIMIT_KEY = "client-key-2"


@pytest.fixture(scope="module")
def place(upstream: Upstream) -> Place:
    return upstream.place("student")


@pytest.fixture(scope="module")
def gateway(start: Start, upstream: Upstream, place: Place) -> Gateway:
    routes = {
        "triage": route("t", "s", mode="student"),
        "alone": route("t", "s", mode="student", on_student_failure="error", retries=0),
    }
    return start(
        {"t": configured(upstream.place("teacher").url), "s": configured(place.url, responses=False)}, routes,
        client_keys={"env": "TEST_KEYS"}, environ={"TEST_KEYS": KEY},
    )  # fmt: skip


@pytest.fixture
def client(gateway: Gateway, place: Place) -> Iterator[openai.OpenAI]:
    place.then = answer
    place.forget()
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


def test_anthropics_client_asks_the_same_route(gateway: Gateway, place: Place) -> None:
    place.then = answer
    url = gateway.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
        raw = client.messages.with_raw_response.create(model="triage", max_tokens=9, system="Be kind.", messages=USER)
        block = raw.parse().content[0]
        assert block.type == "text"
        assert block.text == text_of(STUDENT)
        with client.messages.stream(model="triage", max_tokens=9, messages=USER) as stream:
            assert "".join(stream.text_stream) == text_of(STUDENT)
    record = gateway.record(raw.headers["x-graduand-id"])
    assert (record["endpoint"], record["adapter"], record["client_key"] is None) == ("/messages", STUDENT, False)


def test_chat(client: openai.OpenAI, gateway: Gateway, place: Place) -> None:
    raw = client.chat.completions.with_raw_response.create(model="triage", messages=USER, user="ann", temperature=0.5)
    parsed = raw.parse()
    assert parsed.choices[0].message.content == text_of(STUDENT)
    assert parsed.model == STUDENT
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 12
    assert raw.headers["x-graduand-arm"] == "student"
    assert raw.headers["x-graduand-route"] == "triage"
    sent = place.seen[-1].data
    assert sent == {"model": STUDENT, "messages": USER, "user": "ann", "temperature": 0.5}
    assert KEY not in str(place.seen[-1].headers)
    record = gateway.record(raw.headers["x-graduand-id"])
    assert json.loads(record["request_json"]) == {**sent, "model": "triage"}
    assert json.loads(record["response_json"]) == json.loads(raw.text)
    assert (record["served_model"], record["adapter"]) == (STUDENT + "-2024-08-06", STUDENT)


@pytest.mark.parametrize("include_usage", [None, False, True])
def test_stream(client: openai.OpenAI, include_usage: bool | None) -> None:
    options: Any = openai.NOT_GIVEN if include_usage is None else {"include_usage": include_usage}
    chunks = list(client.chat.completions.create(model="triage", messages=USER, stream=True, stream_options=options))
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == text_of(STUDENT)
    assert {one.model for one in chunks} == {STUDENT}
    assert [one.usage.total_tokens for one in chunks if one.usage] == ([12] if include_usage else [])
    assert all(one.choices for one in chunks) or include_usage


def test_stream_helper(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.stream(model="triage", messages=USER, stream_options=options) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= set(kinds)
    assert final.choices[0].message.content == text_of(STUDENT)
    assert final.usage is not None
    assert final.usage.completion_tokens == 5


def test_responses(client: openai.OpenAI, gateway: Gateway, place: Place) -> None:
    """Asked as a response, whole and with the stream helper; the student is asked by chat (its upstream says so)."""
    raw = client.responses.with_raw_response.create(model="triage", input="hello", instructions="Be brief.", user="ann")
    parsed = raw.parse()
    assert (parsed.output_text, parsed.model, parsed.status) == (text_of(STUDENT), STUDENT, "completed")
    system = {"role": "system", "content": "Be brief."}
    assert place.seen[-1].data == {"model": STUDENT, "messages": [system, *USER], "user": "ann"}
    with client.responses.stream(model="triage", input="hello") as stream:
        assert stream.get_final_response().output_text == text_of(STUDENT)
    record = gateway.record(raw.headers["x-graduand-id"])
    assert (record["endpoint"], record["arm"], record["completed"]) == ("/responses", "student", True)
    assert client.models.retrieve("triage").id == "triage"


TOOLS: Any = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]


def calls_tools(one: Conversation) -> None:
    """Two calls, the second's arguments in pieces and with quotes that look like the model's key."""
    arguments = json.dumps({"q": '"model": "x"', "ü": "🎓"}, ensure_ascii=False)
    if not one.streams:
        calls = [
            {"id": f"call_{at}", "type": "function", "function": {"name": "look_up", "arguments": arguments}}
            for at in range(2)
        ]
        said = {"role": "assistant", "content": None, "tool_calls": calls}
        choice = {"index": 0, "message": said, "finish_reason": "tool_calls", "logprobs": None}
        one.whole(200, message(STUDENT, choices=[choice]))
        return
    one.start_stream()
    one.events([chunk(STUDENT, role="assistant", content=None)])
    for at in range(2):
        begun = {"index": at, "id": f"call_{at}", "type": "function", "function": {"name": "look_up", "arguments": ""}}
        one.events([chunk(STUDENT, tool_calls=[begun])])
        pieces = [arguments[start : start + 3] for start in range(0, len(arguments), 3)]
        one.events([chunk(STUDENT, tool_calls=[{"index": at, "function": {"arguments": piece}}]) for piece in pieces])
    one.events([chunk(STUDENT, finish="tool_calls"), usage_chunk(STUDENT), "[DONE]"])
    one.end_stream()


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: openai.OpenAI, gateway: Gateway, place: Place, stream: bool) -> None:
    place.then = calls_tools
    if stream:
        with client.chat.completions.stream(model="triage", messages=USER, tools=TOOLS) as events:
            final: Any = events.get_final_completion()
    else:
        final = client.chat.completions.create(model="triage", messages=USER, tools=TOOLS)
    calls = final.choices[0].message.tool_calls
    assert [(one.id, one.function.name) for one in calls] == [("call_0", "look_up"), ("call_1", "look_up")]
    assert {json.loads(one.function.arguments)["q"] for one in calls} == {'"model": "x"'}
    assert final.choices[0].finish_reason == "tool_calls"
    logged = json.loads(gateway.records()[-1]["response_json"]) if gateway.records() else {}
    assert place.seen[-1].data["tools"] == TOOLS
    assert logged


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_with_logprobs(client: openai.OpenAI, place: Place, stream: bool) -> None:
    probs = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}

    def several(one: Conversation) -> None:
        if not one.streams:
            said = [
                {"index": n, "message": {"role": "assistant", "content": f"c{n}"}, "finish_reason": "stop", "logprobs": probs}
                for n in range(3)
            ]  # fmt: skip
            one.whole(200, message(STUDENT, choices=said))
            return
        one.start_stream()
        for n in range(3):
            begun = {"index": n, "delta": {"role": "assistant", "content": f"c{n}"}, "logprobs": probs}
            ended = {"index": n, "delta": {}, "finish_reason": "stop"}
            one.events([{**chunk(STUDENT), "choices": [{**begun, "finish_reason": None}]}])
            one.events([{**chunk(STUDENT), "choices": [ended]}])
        one.events([*([usage_chunk(STUDENT)] if asked_usage(one) else []), "[DONE]"])
        one.end_stream()

    place.then = several
    if stream:
        with client.chat.completions.stream(model="triage", messages=USER, n=3, logprobs=True) as events:
            final: Any = events.get_final_completion()
    else:
        final = client.chat.completions.create(model="triage", messages=USER, n=3, logprobs=True)
    assert sorted(one.message.content for one in final.choices) == ["c0", "c1", "c2"]
    assert all(one.logprobs.content[0].logprob == -0.5 for one in final.choices)
    assert place.seen[-1].data["n"] == 3


def test_completions_and_embeddings(client: openai.OpenAI, place: Place) -> None:
    def legacy(one: Conversation) -> None:
        if one.seen.line.endswith("/embeddings HTTP/1.1"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1e-7]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            one.whole(200, {"object": "list", "data": data, "model": "base", "usage": usage})
        else:
            choice = {"index": 0, "text": "yes", "finish_reason": "stop", "logprobs": None}
            body = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "base", "choices": [choice]}
            one.whole(200, body)

    place.then = legacy
    assert client.completions.create(model="triage", prompt="hi").choices[0].text == "yes"
    got = client.embeddings.create(model="triage", input="hi", encoding_format="float")
    assert (got.data[0].embedding, got.model, got.usage.prompt_tokens) == ([0.5, 1e-7], STUDENT, 3)


def test_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["alone", "triage"]


def test_unknown_fields_pass_untouched(client: openai.OpenAI, place: Place) -> None:
    extra = {"guided_json": {"type": "object"}, "seed": 2**60, "x": [1.5, None, {"model": "keep"}]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    client.chat.completions.create(model="triage", messages=USER, extra_body=extra, response_format=form)
    sent = place.seen[-1].data
    assert {key: sent[key] for key in extra} == extra
    assert sent["response_format"] == form


ERRORS = [
    (refuses(400, CONTEXT_TEXT, **CONTEXT), openai.BadRequestError, "context_length_exceeded"),
    (refuses(400, "filtered", code="content_filter"), openai.BadRequestError, "content_filter"),
    (refuses(422, "invalid", code="validation"), openai.UnprocessableEntityError, "validation"),
    (overloaded("retry-after: 3"), openai.RateLimitError, "rate_limit_exceeded"),
    (refuses(401, "sk-upstream"), openai.InternalServerError, "upstream_auth"),
    (refuses(503, "down"), openai.InternalServerError, "http_503"),
    (cut, openai.InternalServerError, "truncated"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "code"), ERRORS, ids=[code for *_, code in ERRORS])
def test_errors(client: openai.OpenAI, place: Place, act: Any, kind: type[openai.APIStatusError], code: str) -> None:
    place.then = act
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="alone", messages=USER)
    assert caught.value.code == code
    assert caught.value.response.headers["x-graduand-arm"] == "student"


def test_the_clients_own_errors(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean 'triage'") as missing:
        client.chat.completions.create(model="triag", messages=USER)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="triage", messages=[])
    for key in ("wrong", "client-key-11", "client-key-"):
        with pytest.raises(openai.AuthenticationError) as unknown:
            client.with_options(api_key=key).chat.completions.create(model="triage", messages=USER)
        assert unknown.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key=key).models.list()


def test_a_key_on_a_kept_connection_is_checked_each_time(gateway: Gateway) -> None:
    with gateway.client() as raw:
        for key, status in ((KEY, 200), ("other", 401), (KEY, 200), ("", 401)):
            got = raw.ask(chat("triage"), headers=(f"authorization: Bearer {key}",))
            assert got.status == status
        got = raw.ask(chat("triage"))
        assert got.error["code"] == "missing_api_key"
    record = gateway.record(got.headers["x-graduand-id"])
    assert (record["status"], record["request_json"]) == (401, None)


def test_a_stream_that_breaks_off_raises(client: openai.OpenAI, place: Place) -> None:
    place.then = cut
    chunks = client.chat.completions.create(model="triage", messages=USER, stream=True)
    got: list[str] = []
    with pytest.raises(openai.APIError, match="broke off"):
        got.extend(choice.delta.content or "" for one in chunks for choice in one.choices)
    assert text_of(STUDENT).startswith("".join(got))
    assert "".join(got)


def test_leaving_a_stream_early_stops_the_upstream(client: openai.OpenAI, place: Place) -> None:
    def endless(one: Conversation) -> None:
        one.start_stream()
        try:
            while True:
                one.events([chunk(STUDENT, content="x")], pause_s=0.002)
        except OSError:
            one.seen.closed_at = 1.0
            raise

    place.then = endless
    with client.chat.completions.create(model="triage", messages=USER, stream=True) as stream:
        next(iter(stream))
    until(lambda: place.seen[-1].closed_at is not None, "the upstream is told")
