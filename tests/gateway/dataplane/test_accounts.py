"""What an answer is charged and what the log keeps of an upstream's own words, over sockets: one test for each kind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graduand.gateway.dataplane.health import TRIP_AFTER
from graduand.gateway.model.recording import RecordPolicy
from graduand.gateway.model.routes import Route, Teacher, Unit
from graduand.monitoring.prices import Price
from tests.gateway.dataplane.inprocess import records, serving
from tests.gateway.dataplane.inprocess import upstream as one_upstream
from tests.gateway.faults import PAGE, says
from tests.gateway.speaking import Answer, Client, chat
from tests.gateway.upstream import Action, Conversation, Upstream, chunk, message, usage_chunk

KEY = "sk-the/gateway's-own"
PRICES = {"gpt-4o": Price(3, 15, cached_input=0.3, cache_write=3.75)}
GROK = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 11500}
CACHED = {
    "prompt_tokens": 1000,
    "completion_tokens": 10,
    "total_tokens": 1010,
    "prompt_tokens_details": {"cached_tokens": 800},
}
ANTHROPIC = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010, "cache_read_input_tokens": 800,
             "cache_creation_input_tokens": 100}  # fmt: skip


def ask(
    folder: Path, upstream: Upstream, action: Action, body: dict[str, Any] | None = None, policy: RecordPolicy | None = None
) -> tuple[Answer, dict[str, Any]]:  # fmt: skip
    """The answer of a route with one upstream, and its record."""
    place = upstream.place(folder.name, action)
    route = Route("r", Teacher("t", "gpt-4o"), None, "teacher", 0, Unit(("request",)), retries=0)
    known = replace(one_upstream("t", "openai", place.url), api_key=KEY)
    with serving(folder, [known], [route], prices=PRICES, policy=policy) as port, Client(port) as client:
        got = client.ask(body or chat("r"))
    [record] = records(folder)
    return got, record


def streamed(usage: Any, *texts: str) -> Action:
    def act(one: Conversation) -> None:
        one.start_stream()
        one.events([chunk("gpt-4o", content=text) for text in texts])
        one.events(
            [chunk("gpt-4o", finish="stop"), *([{**usage_chunk("gpt-4o"), "usage": usage}] if usage else []), "[DONE]"]
        )
        one.end_stream()

    return act


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        (GROK, (1000, 10500), 0.1605),
        ({**GROK, "completion_tokens_details": {"reasoning_tokens": 10000}}, (1000, 10500), 0.1605),
        (CACHED, (1000, 10), (200 * 3 + 800 * 0.3 + 10 * 15) / 1e6),
        (ANTHROPIC, (1000, 10), (100 * 3 + 800 * 0.3 + 100 * 3.75 + 10 * 15) / 1e6),
    ],
)
def test_usage_as_its_vendor_means_it(
    tmp_path: Path, upstream: Upstream, usage: Any, tokens: tuple[int, int], cost: float, stream: bool
) -> None:
    action = streamed(usage, "yes") if stream else says(200, message("gpt-4o", usage=usage))
    _, record = ask(tmp_path, upstream, action, chat("r", stream=stream))
    assert record["usage"] == {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "kind": "exact"}
    assert record["cost"] == pytest.approx(cost)


@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_is_no_text(tmp_path: Path, upstream: Upstream, stream: bool) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "x" * 400}, picture]}]
    whole = {**message("gpt-4o"), "usage": None}
    whole["choices"][0]["message"]["content"] = "y" * 40
    action = streamed(None, *("y" * 4,) * 10) if stream else says(200, whole)
    _, record = ask(tmp_path, upstream, action, {**chat("r", stream=stream), "messages": messages})
    assert record["usage"] == {"prompt_tokens": 100, "completion_tokens": 10, "kind": "estimated"}
    assert record["cost"] == pytest.approx((100 * 3 + 10 * 15) / 1e6)


SECRET = f"no such thing for {KEY} of org-secret, ann@example.org"
ERROR = {"error": {"message": SECRET, "type": "x", "code": "y", "more": ["z" * 50]}}


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 503, 529])
@pytest.mark.parametrize(
    "body", [ERROR, {"detail": SECRET}, SECRET.encode(), f"<html><h1>{SECRET}</h1></html>".encode()]
)
def test_what_is_not_about_the_request_stays_in_the_log(
    tmp_path: Path, upstream: Upstream, status: int, body: dict[str, Any] | bytes
) -> None:
    got, record = ask(tmp_path, upstream, says(status, body))
    assert got.status >= 400
    assert b"org-secret" not in got.body
    assert b"no such thing" not in got.body
    [attempt] = record["attempts"]
    kept = (body.decode() if isinstance(body, bytes) else json.dumps(body, separators=(",", ":"))).replace(KEY, "[key]")
    assert attempt["said"] == kept


@pytest.mark.parametrize("status", [400, 413, 422, 499])
def test_what_is_about_the_request_is_told_and_logged(tmp_path: Path, upstream: Upstream, status: int) -> None:
    escaped = json.dumps(ERROR).replace("/", "\\/").replace("sk", "\\u0073k").replace("@", "\\u0040")
    got, record = ask(tmp_path, upstream, says(status, escaped.encode()), policy=RecordPolicy(redact=("email",)))
    assert (got.status, got.error["message"]) == (status, SECRET.replace(KEY, "[key]"))
    said = json.loads(record["attempts"][0]["said"])
    assert said["error"]["message"] == "no such thing for [key] of org-secret, [redacted:email]"
    assert said["error"]["more"] == ["z" * 50]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, SECRET.replace(KEY, "[key]").replace("ann@example.org", "[redacted:email]")),
        (401, "the upstream refused the gateway's own key; whoever runs this gateway must correct api_key"),
        (503, "the upstream answered 503"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_log_says_in_words_why_there_is_no_answer(
    tmp_path: Path, upstream: Upstream, status: int, words: str, stream: bool
) -> None:
    policy = RecordPolicy(redact=("email",))
    _, record = ask(tmp_path, upstream, says(status, ERROR), chat("r", stream=stream), policy=policy)
    assert record["error"] in ("bad_request", "upstream_auth", "http_503")
    assert record["error_message"] == words


def test_a_refusal_of_the_gateways_own_is_in_words_too(tmp_path: Path, upstream: Upstream) -> None:
    got, record = ask(tmp_path, upstream, says(200, message("gpt-4o")), {"model": "r", "messages": []})
    assert record["error_message"] == got.error["message"]
    assert "messages" in record["error_message"]


def test_a_whole_answer_has_no_error_in_words(tmp_path: Path, upstream: Upstream) -> None:
    _, record = ask(tmp_path, upstream, says(200, message("gpt-4o")))
    assert (record["error"], record["error_message"]) == (None, None)


@pytest.mark.parametrize("body", [PAGE, b"", b"{}"])
def test_a_refusal_without_words_is_still_one_of_the_request(tmp_path: Path, upstream: Upstream, body: bytes) -> None:
    got, _ = ask(tmp_path, upstream, says(413, body))
    assert (got.status, got.error["type"]) == (413, "invalid_request_error")


NO_CHOICE = {"object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9, "total_tokens": 9}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body", [NO_CHOICE, {}, b"not json", b'{"choices": [', b"[1]", b"null", b'"text"', b"<html>", b""]
)
def test_an_answer_that_cannot_be_taken_closes_nothing_to_others(
    tmp_path: Path, upstream: Upstream, body: dict[str, Any] | bytes, stream: bool
) -> None:
    """A vendor's filter, or one client's prompt, may bring it about as often as that client likes."""
    place = upstream.place(tmp_path.name, says(200, body))
    route = Route("r", Teacher("t", "gpt-4o"), None, "teacher", 0, Unit(("request",)), retries=2)
    with serving(tmp_path, [one_upstream("t", "openai", place.url)], [route]) as port, Client(port) as client:
        for _ in range(4):
            assert client.ask(chat("r", stream=stream)).error["code"] == "malformed"
        place.then = says(200, message("gpt-4o"))
        assert client.ask(chat("r")).status == 200


def test_who_opens_the_breaker_is_told_what_the_upstream_said(tmp_path: Path, upstream: Upstream) -> None:
    place = upstream.place(tmp_path.name, says(529, {}))
    route = Route("r", Teacher("t", "gpt-4o"), None, "teacher", 0, Unit(("request",)), retries=2)
    with serving(tmp_path, [one_upstream("t", "openai", place.url)], [route]) as port, Client(port) as client:
        assert [client.ask(chat("r")).status for _ in range(3)] == [529, 529, 503]
    assert place.asked == TRIP_AFTER


def test_what_was_said_is_bounded(tmp_path: Path, upstream: Upstream) -> None:
    text = "x" * (16 * 1024 - 5) + KEY + "y" * 100_000
    _, record = ask(tmp_path, upstream, says(400, text.encode()))
    [attempt] = record["attempts"]
    assert len(attempt["said"]) == 16 * 1024
    assert attempt["said"].endswith("[key]")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "told", "kind"),
    [
        ({"message": SECRET, "code": 401}, False, "server_error"),
        ({"message": SECRET, "code": "insufficient_quota"}, False, "server_error"),
        ({"message": SECRET, "type": "server_error", "code": None}, False, "server_error"),
        ({"message": f"<html>{SECRET}</html>"}, False, "server_error"),
        ({"message": SECRET}, True, "server_error"),
        ({"message": SECRET + "x" * 5000}, True, "server_error"),
        ({"message": SECRET, "code": "content_filter"}, True, "invalid_request_error"),
    ],
)
def test_an_error_within_a_200(
    tmp_path: Path, upstream: Upstream, error: Any, told: bool, kind: str, stream: bool
) -> None:
    def act(one: Conversation) -> None:
        if not stream:
            return one.whole(200, {"error": error})
        one.start_stream()
        one.events([{"error": error}])
        one.end_stream()

    got, record = ask(tmp_path, upstream, act, chat("r", stream=stream))
    assert KEY not in got.body.decode()
    assert len(got.body) < 1000
    assert ("org-secret" in got.error["message"]) is told
    assert got.error["type"] == kind
    assert got.status == (400 if kind == "invalid_request_error" else 502)
    assert json.loads(record["attempts"][0]["said"].replace("[key]", KEY)) == {"error": error}


STRANGE = [
    ('{"logprob": -Infinity, "x": NaN}', '{"logprob":null,"x":null}'),
    ('"cut \\ud83d"', '"cut �"'),
    (str(10**400), "null"),
]


@pytest.mark.parametrize(("strange", "kept"), STRANGE)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("redact", [(), ("email",)])
def test_an_answer_that_is_no_json_is_noted(
    tmp_path: Path, upstream: Upstream, strange: str, kept: str, stream: bool, redact: tuple[str, ...]
) -> None:
    def act(one: Conversation) -> None:
        if not stream:
            text = json.dumps({**message("gpt-4o"), "odd": "@@"}).replace('"@@"', strange)
            return one.whole(200, text.encode())
        one.start_stream()
        one.events([json.dumps({**chunk("gpt-4o", content="hi"), "odd": "@@"}).replace('"@@"', strange)])
        one.events([chunk("gpt-4o", finish="stop"), "[DONE]"])
        one.end_stream()

    got, record = ask(tmp_path, upstream, act, chat("r", stream=stream), RecordPolicy(redact=redact))
    assert got.status == 200
    assert strange.encode() in got.body
    assert record["response_note"] == "mended"
    assert json.loads(record["response_json"])["odd"] == json.loads(kept)


@pytest.mark.parametrize("body", [b'{"choices": [', b"\xff\xfe", b"not json", b"[" * 5000])
def test_what_cannot_be_read_at_all_is_kept_with_its_attempt(tmp_path: Path, upstream: Upstream, body: bytes) -> None:
    got, record = ask(tmp_path, upstream, says(200, body))
    assert (got.status, record["error"]) == (502, "malformed")
    assert record["attempts"][0]["said"] == body.decode("utf-8", "replace")
    assert body not in got.body


def test_an_attempt_names_its_model(tmp_path: Path, upstream: Upstream) -> None:
    """With or without a span: whose failure a fallback was is read from there."""
    _, record = ask(tmp_path, upstream, says(200, message("gpt-4o")))
    assert [one["model"] for one in record["attempts"]] == ["gpt-4o"]


def test_a_usual_answer_has_no_note(tmp_path: Path, upstream: Upstream) -> None:
    _, record = ask(tmp_path, upstream, says(200, message("gpt-4o")))
    assert record["response_note"] is None
    assert "said" not in record["attempts"][0]
