"""The faults of upstreams and what the gateway does about each: one table for the tests and for docs/faults.md.

`python -m tests.gateway.faults > docs/faults.md` writes the page; a test holds it up to date. A row is one fault; it is
committed by the teacher and by the student, in a whole answer and in a stream, with `release: observe` and `block`, and
each of these cases has its own expectation where it differs.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graduand.gateway.dataplane.http.server import KEEP_ALIVE_S
from tests.gateway import checkcases, claude, responsefaults
from tests.gateway.proxies import CONNECTED
from tests.gateway.upstream import (
    Action,
    Conversation,
    answer,
    asked_usage,
    byte_by_byte,
    chunk,
    good_events,
    gzipped,
    message,
    tokens,
)

# Longer than a shared machine stands still: where a fault is not about a timeout, none must end a good answer.
PATIENT_S = 20.0
TIMEOUTS = {"connect_s": PATIENT_S, "first_token_s": PATIENT_S, "idle_s": PATIENT_S, "total_s": 60.0}
# Where it is about one: still longer than such a pause, since the teacher behind a student is held to it, too.
SHORT_S = 2.5
TOTAL_S = 5.0
# Half of it is the student's, and as much the teacher's behind it.
LEAVING_HALF_S = 8.0
RETRIES = 2
UPSTREAM_KEY = "sk-upstream-secret-7f3a"

# Faults. Each is what an upstream does with one request.


def overloaded(*headers: str) -> Action:
    body = {
        "error": {"message": "Rate limit reached for org-secret", "type": "requests", "code": "rate_limit_exceeded"}
    }
    return lambda one: one.whole(429, body, *headers)


def refuses(status: int, text: str, **error: Any) -> Action:
    """An error in OpenAI's shape."""
    return lambda one: one.whole(status, {"error": {"message": text, "type": "invalid_request_error", **error}})


def says(status: int, body: dict[str, Any] | list[Any] | bytes) -> Action:
    return lambda one: one.whole(status, body if isinstance(body, bytes) else json.dumps(body).encode())


def overload(status: int) -> Action:
    """Too much to do, with a status that HTTP's registry does not name."""
    return says(
        status, {"type": "error", "error": {"type": "overloaded_error", "message": "secret host is overloaded"}}
    )


def reset(one: Conversation) -> None:
    one.reset()


def silent(one: Conversation) -> None:
    one.wait_for_close()


def late(one: Conversation) -> None:
    """Begin to answer only after the first token was due, but before a whole answer is."""
    if one.streams:
        one.start_stream()
        one.wait_for_close(SHORT_S * 2)  # so late that even who stood still meanwhile has given it up
        one.events(good_events(one.seen.data["model"]))
        one.end_stream()
    else:
        time.sleep(SHORT_S * 1.1)
        answer(one)


def only_comments(one: Conversation) -> None:
    """Comments now and then, and never a token."""
    one.start_stream()
    while not one.place.ended.is_set():
        one.piece(b": processing\n\n")
        time.sleep(SHORT_S / 5)


def after_comments(one: Conversation) -> None:
    """Comments for so long that silence would have been given up, then the answer."""
    one.start_stream()
    for _ in range(10):
        one.piece(b": processing\n\n")
        time.sleep(SHORT_S / 5)
    one.events(good_events(one.seen.data["model"], usage=asked_usage(one)))
    one.end_stream()


def after_silence(one: Conversation) -> None:
    """Silence for so long that a client is told that somebody works for it, then the answer."""
    one.wait_for_close(KEEP_ALIVE_S + 3)
    answer(one)


def endless(one: Conversation) -> None:
    """A token now and then, and never the last."""
    one.start_stream()
    one.events(tokens(one.seen.data["model"])[:1])
    while not one.place.ended.is_set():
        one.events([chunk(one.seen.data["model"], content="more ")])
        time.sleep(SHORT_S / 5)


def done_without_blank_line(one: Conversation) -> None:
    one.start_stream()
    one.events(good_events(one.seen.data["model"], usage=asked_usage(one))[:-1])
    one.piece(b"data: [DONE]\n")
    one.end_stream()


def without_last_blank_line(one: Conversation) -> None:
    one.start_stream()
    *events, last = good_events(one.seen.data["model"], usage=asked_usage(one))[:-1]
    one.events(events)
    one.piece(f"data: {json.dumps(last)}".encode())
    one.end_stream()


def odd_events(one: Conversation) -> None:
    """As the standard of event streams has it, and few servers write it."""
    one.start_stream()
    one.piece(b"\xef\xbb\xbf: ping\n\nevent: ping\ndata:\n\ndata\n\n")
    for event in good_events(one.seen.data["model"], usage=asked_usage(one))[:-1]:
        head, comma, rest = json.dumps(event).partition(", ")
        one.piece(f"id: 1\ndata: {head}{comma}\ndata:{rest}\n\n".encode())
    one.piece(b"data:  [DONE] \n\n")
    one.end_stream()


def no_standard(one: Conversation) -> None:
    """JSON as servers write it and the standard refuses it."""
    model = one.seen.data["model"]
    odd = '"logprobs": {"content": [{"token": "\\ud83d", "logprob": -Infinity, "top_logprobs": [{"logprob": NaN}]}]}'
    if not one.streams:
        one.whole(200, json.dumps(message(model)).replace('"logprobs": null', odd).encode())
        return
    one.start_stream()
    for event in good_events(model, usage=asked_usage(one)):
        text = event if isinstance(event, str) else json.dumps(event)
        text = text.replace('"finish_reason": null', '"finish_reason": null, ' + odd)
        one.piece(f"data: {text}\n\n".encode())
    one.end_stream()


def without_stream_options(one: Conversation) -> None:
    """Refuse what the gateway adds to streams, as validators that know no such field do."""
    if "stream_options" in one.seen.data:
        loc, text = ["body", "stream_options"], "Extra inputs are not permitted"
        one.whole(422, {"detail": [{"type": "extra_forbidden", "loc": loc, "msg": text}]})
    else:
        answer(one)


def beginning(one: Conversation) -> None:
    """The first half of an answer, in whichever form was asked for."""
    model = one.seen.data["model"]
    if one.streams:
        one.start_stream()
        one.events(tokens(model)[:3])
    else:
        body = json.dumps(message(model)).encode()
        one.whole(200, body[: len(body) // 2], length=len(body))
    one.taken()  # so that what was sent is not lost with the connection, and is released before the fault


def cut(one: Conversation) -> None:
    beginning(one)
    one.cut()


def reset_in_the_middle(one: Conversation) -> None:
    beginning(one)
    one.reset()


def stalled(one: Conversation) -> None:
    beginning(one)
    one.wait_for_close()


def malformed(one: Conversation) -> None:
    model = one.seen.data["model"]
    if not one.streams:
        one.whole(200, b'{"id": "chatcmpl-1", "choices": [')
        return
    beginning(one)
    one.piece(b'data: {"id": "chatcmpl-1", "choi\n\n')
    one.events([chunk(model, content="more"), chunk(model, finish="stop"), "[DONE]"])
    one.end_stream()


def without_done(one: Conversation) -> None:
    model = one.seen.data["model"]
    one.start_stream()
    one.events(good_events(model, usage=asked_usage(one))[:-1])
    one.end_stream()


def without_end(one: Conversation) -> None:
    one.start_stream()
    one.events(tokens(one.seen.data["model"]))
    one.taken()
    one.end_stream()


def error_event(error: dict[str, Any], *, at_once: bool, done: bool) -> Action:
    """An error inside a stream that began with 200."""

    def act(one: Conversation) -> None:
        if at_once:
            one.start_stream()
        else:
            beginning(one)
        one.events([error, *(["[DONE]"] if done else [])])
        one.end_stream()

    return act


def error_with_first_tokens(one: Conversation) -> None:
    """The first tokens and the error in one segment: nothing need have left the gateway yet."""
    one.start_stream()
    events = [json.dumps(event) for event in (*tokens(one.seen.data["model"])[:3], VLLM_ERROR)]
    one.piece("".join(f"data: {event}\n\n" for event in events).encode())
    one.end_stream()


VLLM_ERROR = {"error": {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}}
LORAX_ERROR = {"error": "Request failed during generation: CUDA error", "error_type": "generation"}
CONTEXT = {"code": "context_length_exceeded", "param": "messages"}
CONTEXT_TEXT = "This model's maximum context length is 1024 tokens."
FILTERED_TEXT = "The response was filtered."


def echoes_key(status: int) -> Action:
    """Repeat the gateway's own key, as OpenAI's 401 does in part."""

    def act(one: Conversation) -> None:
        key = (one.seen.header("authorization") or "").removeprefix("Bearer ")
        error = {"message": f"Incorrect API key provided: {key}.", "type": "invalid_request_error", "code": None}
        one.whole(status, {"error": error}, f"x-key: {key}")

    return act


def as_stream(one: Conversation) -> None:
    """A stream that nobody asked for."""
    one.start_stream()
    one.events(good_events(one.seen.data["model"]))
    one.end_stream()


def as_whole(one: Conversation) -> None:
    """A whole answer where a stream was asked for."""
    one.whole(200, message(one.seen.data["model"]))


# What is expected.


@dataclass(frozen=True)
class Expect:
    """`got`: `answer`, `error` (status and code) or `broken` (a stream that began, then an error event and a cut).

    `asked` is how often the faulty upstream saw the request; `fallback` the cause in `fallback:CAUSE`, if the teacher
    answered instead.
    """

    got: str
    asked: int
    status: int = 200
    code: str | None = None
    fallback: str | None = None
    retry_after: str | None = None
    at_least_s: float = 0.0

    @property
    def words(self) -> str:
        tries = {0: "not asked", 1: "asked once", 2: "asked twice"}.get(self.asked, f"asked {self.asked} times")
        if self.fallback is not None:
            return f"{tries}, then the teacher answers: `fallback:{self.fallback}`"
        if self.got == "answer":
            return f"{tries}, the answer is whole"
        if self.got == "broken":
            return f"{tries}; what was released, an error event `{self.code}`, connection cut"
        wait = f", `Retry-After: {self.retry_after}`" if self.retry_after else ""
        return f"{tries}; {self.status} `{self.code}`{wait}"


def whole(asked: int = 1, **more: Any) -> Expect:
    return Expect("answer", asked, **more)


def error(status: int, code: str | None, asked: int = RETRIES + 1, **more: Any) -> Expect:
    return Expect("error", asked, status, code, **more)


def fallback(cause: str, asked: int = RETRIES + 1, **more: Any) -> Expect:
    return Expect("answer", asked, fallback=cause, **more)


def broken(code: str) -> Expect:
    return Expect("broken", 1, code=code)


@dataclass(frozen=True)
class Fault:
    """One row. `script` is done once in order, then `then` for ever (None: good answers).

    `teacher` and `student` are expected of whole answers and of streams with `release: block`; `streamed` (teacher,
    student) overrides that for streams with `observe`; `blocked` for streams with `block`. `forms` are those in which the
    fault can exist.
    """

    name: str
    teacher: Expect
    student: Expect
    script: tuple[Action, ...] = ()
    then: Action | None = None
    streamed: tuple[Expect, Expect] | None = None
    blocked: tuple[Expect, Expect] | None = None
    forms: tuple[str, ...] = ("whole", "stream", "block")
    refused: bool = False
    proxy: bytes | None = None  # what an HTTP proxy on the way answers when it is asked to connect
    first_token_s: float = PATIENT_S
    idle_s: float = PATIENT_S
    total_s: float = TIMEOUTS["total_s"]
    passes: str | None = None  # words of the upstream that must reach the client
    counts: bool = True  # whether it tells how many tokens it has used

    def expected(self, arm: str, form: str) -> Expect:
        at = 0 if arm == "teacher" else 1
        if form == "stream" and self.streamed is not None:
            return self.streamed[at]
        if form == "block" and self.blocked is not None:
            return self.blocked[at]
        return (self.teacher, self.student)[at]


STREAMS = ("stream", "block")
MIDDLE_TRUNCATED = (broken("truncated"), broken("truncated"))
# A refusal without words may be of what the gateway added to a stream: it is taken out, once.
NOT_NAMED = (error(400, "bad_request", 2), fallback("bad_request", 2))
PAGE = b"<html><body><h1>secret host</h1></body></html>"
MIDDLE_ERROR = (broken("error_event"), broken("error_event"))

FAULTS = (
    Fault(
        "429 without Retry-After, for ever", error(429, "rate_limit_exceeded", at_least_s=0.5 + 1.0),
        fallback("rate_limited", 1),
        then=overloaded(),
    ),
    Fault(
        "429 with Retry-After: 1, then well", whole(2, at_least_s=1.0), fallback("rate_limited", 1),
        script=(overloaded("retry-after: 1"),),
    ),
    Fault(
        "429 with Retry-After: 60", error(429, "rate_limit_exceeded", 1, retry_after="60"), fallback("rate_limited", 1),
        then=overloaded("Retry-After: 60"),
    ),
    Fault("500 once", whole(2), whole(2), script=(says(500, b"Internal Server Error"),)),
    Fault(
        "503 for ever", error(503, "http_503"), fallback("http_503"),
        then=refuses(503, "secret hostname gpu-17 is down"),
    ),
    Fault("529 (Anthropic's overload)", error(529, "http_529"), fallback("http_529"), then=overload(529)),
    Fault("520 of a CDN, in HTML", error(520, "http_520"), fallback("http_520"), then=says(520, PAGE)),
    Fault(
        "a status that HTTP does not have (700)", error(502, "http_700"), fallback("http_700"), then=overload(700),
        passes="700",
    ),
    Fault(
        "402, the gateway's own account", error(502, "upstream_account", 1), fallback("upstream_account", 1),
        then=refuses(402, "secret-org has no credit left"),
    ),
    Fault(
        "429 `insufficient_quota`", error(429, "insufficient_quota", 1), fallback("rate_limited", 1),
        then=refuses(429, "secret-org has no quota left", code="insufficient_quota"),
    ),
    Fault("reset before the headers, for ever", error(502, "reset"), fallback("reset"), then=reset),
    Fault("reset before the headers, once", whole(2), whole(2), script=(reset,)),
    Fault("connection refused", error(502, "connect", 0), fallback("connect", 0), refused=True),
    Fault("a proxy on the way", whole(), whole(), proxy=CONNECTED),
    Fault(
        "a proxy on the way that refuses (503)", error(502, "connect", 0), fallback("connect", 0),
        proxy=b"HTTP/1.1 503 Busy\r\n\r\n", passes="in front of the upstream answered 503",
    ),
    Fault(
        "a proxy on the way that wants a password (407)", error(502, "connect", 0), fallback("connect", 0),
        proxy=b"HTTP/1.1 407 Who\r\n\r\n", passes="it wants a user and a password",
    ),
    Fault(
        "a proxy on the way that hangs up", error(502, "connect", 0), fallback("connect", 0), proxy=b"",
        passes="in front of the upstream closed the connection",
    ),
    Fault(
        "silence", error(504, "total_timeout", 1, at_least_s=TOTAL_S),
        fallback("first_token_timeout", 1, at_least_s=SHORT_S),
        streamed=(error(504, "first_token_timeout", 1), fallback("first_token_timeout", 1)),
        blocked=(error(504, "first_token_timeout", 1), fallback("first_token_timeout", 1)),
        then=silent, first_token_s=SHORT_S, idle_s=SHORT_S,
    ),
    Fault(
        "first token after its timeout", whole(1), whole(1), then=late, first_token_s=SHORT_S,
        streamed=(error(504, "first_token_timeout", 1), fallback("first_token_timeout", 1)),
        blocked=(error(504, "first_token_timeout", 1), fallback("first_token_timeout", 1)),
    ),
    Fault(
        "comments, but never a token", error(504, "total_timeout", 1), fallback("first_token_timeout", 1), forms=STREAMS,
        then=only_comments, first_token_s=SHORT_S, total_s=LEAVING_HALF_S,
    ),
    Fault(
        "comments for longer than the first token's timeout, then the answer", whole(), whole(), forms=STREAMS,
        then=after_comments, first_token_s=SHORT_S,
    ),
    Fault(
        "silence for longer than clients are left without a byte, then the answer", whole(), whole(), forms=STREAMS,
        then=after_silence, first_token_s=PATIENT_S - 1,
    ),
    Fault(
        "an answer that goes on for ever", error(504, "total_timeout", 1), fallback("overdue", 1), forms=STREAMS,
        streamed=(broken("total_timeout"), broken("total_timeout")), then=endless, total_s=LEAVING_HALF_S,
    ),
    Fault(
        "cut in the middle", error(502, "truncated"), fallback("truncated"), streamed=MIDDLE_TRUNCATED, then=cut,
    ),
    Fault(
        "reset in the middle", error(502, "truncated"), fallback("truncated"), streamed=MIDDLE_TRUNCATED,
        then=reset_in_the_middle,
    ),
    Fault(
        "cut in the middle, once", whole(2), whole(2), streamed=MIDDLE_TRUNCATED, script=(cut,),
    ),
    Fault(
        "stalled in the middle", error(504, "idle_timeout", 1), fallback("idle_timeout", 1),
        streamed=(broken("idle_timeout"), broken("idle_timeout")), then=stalled, idle_s=SHORT_S,
    ),
    Fault(
        "malformed in the middle", error(502, "malformed"), fallback("malformed"),
        streamed=(broken("malformed"), broken("malformed")), then=malformed,
    ),
    Fault(
        "no [DONE], but finish_reason", whole(1), whole(1), forms=STREAMS, then=without_done,
    ),
    Fault("[DONE] without a blank line", whole(), whole(), forms=STREAMS, then=done_without_blank_line),
    Fault("no [DONE], and the last event without a blank line", whole(), whole(), forms=STREAMS, then=without_last_blank_line),
    Fault("events of two data lines, empty ones, a byte order mark", whole(), whole(), forms=STREAMS, then=odd_events),
    Fault("-Infinity, NaN and half a character beside the text", whole(), whole(), then=no_standard),
    Fault(
        "422 for `stream_options`, which the client did not send", whole(2), whole(2), forms=STREAMS, counts=False,
        then=without_stream_options,
    ),
    Fault(
        "no [DONE] and no finish_reason", error(502, "truncated"), fallback("truncated"), forms=STREAMS,
        streamed=MIDDLE_TRUNCATED, then=without_end,
    ),
    Fault(
        "400 context length", error(400, "context_length_exceeded", 1), fallback("context_length", 1),
        then=refuses(400, CONTEXT_TEXT, **CONTEXT), passes=CONTEXT_TEXT,
    ),
    Fault(
        "400 context length, vLLM's words", error(400, None, 1), fallback("context_length", 1), passes="maximum context",
        then=says(400, {"error": {"message": CONTEXT_TEXT, "type": "BadRequestError", "param": None, "code": 400}}),
    ),
    Fault(
        "400 content filter", error(400, "content_filter", 1), error(400, "content_filter", 1), passes=FILTERED_TEXT,
        then=refuses(400, FILTERED_TEXT, code="content_filter"),
    ),
    Fault(
        "422 validation, LoRAX's words", error(422, "validation", 1), fallback("bad_request", 1),
        then=says(422, {"error": "Input validation error: `top_p` must be > 0.0", "error_type": "validation"}),
        passes="top_p",
    ),
    Fault(
        "422 validation, FastAPI's list", error(422, None, 1), fallback("bad_request", 1), passes="body.top_p: too small",
        then=says(422, {"detail": [{"loc": ["body", "top_p"], "msg": "too small", "type": "value_error"}]}),
    ),
    Fault(
        "422 validation, Mistral's shape", error(422, None, 1), fallback("bad_request", 1), passes="body.top_p: too small",
        then=says(422, {"object": "error", "message": {"detail": [{"loc": ["body", "top_p"], "msg": "too small"}]}}),
    ),
    Fault(
        "400 in a list, Gemini's shape", error(400, None, 1), fallback("bad_request", 1), passes="top_p is too small",
        then=says(400, [{"error": {"code": 400, "message": "top_p is too small", "status": "INVALID_ARGUMENT"}}]),
    ),
    Fault(
        "400 in plain text", error(400, None, 1), fallback("bad_request", 1), passes="top_p is too small",
        then=says(400, b"top_p is too small"),
    ),
    Fault(
        "400 in HTML", error(400, "bad_request", 1), fallback("bad_request", 1), passes="gave no reason",
        streamed=NOT_NAMED, blocked=NOT_NAMED, then=says(400, PAGE),
    ),
    Fault(
        "404 that is not about the model", error(404, None, 1), fallback("http_404", 1), passes="support image input",
        then=refuses(404, "No endpoints found that support image input"),
    ),
    Fault(
        "404 model unknown to the upstream", error(502, "model_missing", 1), fallback("model_missing", 1),
        then=refuses(404, "The model does not exist.", code="model_not_found"),
    ),
    Fault(
        "401 (the key in its words)", error(502, "upstream_auth", 1), fallback("upstream_auth", 1), then=echoes_key(401),
    ),
    Fault(
        "400 (the key in its words)", error(400, None, 1), fallback("bad_request", 1), then=echoes_key(400),
        passes="Incorrect API key provided",
    ),
    Fault(
        "404 (the key in its words)", error(404, None, 1), fallback("http_404", 1), then=echoes_key(404),
        passes="Incorrect API key provided",
    ),
    Fault(
        "200 with an error body", error(502, "error_event"), fallback("error_event"), forms=("whole", "stream"),
        then=says(200, VLLM_ERROR),
    ),
    Fault(
        "200 with an older vLLM's error body", error(502, "error_event"), fallback("error_event"), forms=("whole",),
        then=says(200, {"object": "error", "message": "boom", "type": "InternalServerError", "code": 500}),
    ),
    Fault("200 with an empty object", error(502, "malformed"), fallback("malformed"), forms=("whole",), then=says(200, {})),
    Fault(
        "200 without a choice", error(502, "malformed"), fallback("malformed"), forms=("whole",),
        then=says(200, {"object": "chat.completion", "choices": [], "usage": {"total_tokens": 3}}),
    ),
    Fault("200 with another JSON", error(502, "malformed"), fallback("malformed"), forms=("whole",), then=says(200, b"[1]")),
    Fault("200 with HTML", error(502, "malformed"), fallback("malformed"), then=says(200, b"<html>busy</html>")),
    Fault(
        "vLLM's error event at once", error(502, "error_event"), fallback("error_event"), forms=STREAMS,
        then=error_event(VLLM_ERROR, at_once=True, done=True),
    ),
    Fault(
        "vLLM's error event in the middle, then [DONE]", error(502, "error_event"), fallback("error_event"),
        forms=STREAMS, streamed=MIDDLE_ERROR, then=error_event(VLLM_ERROR, at_once=False, done=True),
    ),
    Fault(
        "vLLM's error event in one segment with the first tokens", error(502, "error_event"), fallback("error_event"),
        forms=STREAMS, then=error_with_first_tokens,
    ),
    Fault(
        "LoRAX's error event at once", error(502, "error_event"), fallback("error_event"), forms=STREAMS,
        then=error_event(LORAX_ERROR, at_once=True, done=False),
    ),
    Fault(
        "LoRAX's error event in the middle", error(502, "error_event"), fallback("error_event"), forms=STREAMS,
        streamed=MIDDLE_ERROR, then=error_event(LORAX_ERROR, at_once=False, done=False),
    ),
    Fault(
        "a stream where none was asked for", error(502, "malformed"), fallback("malformed"), forms=("whole",),
        then=as_stream,
    ),
    Fault(
        "no stream where one was asked for", error(502, "malformed"), fallback("malformed"), forms=STREAMS, then=as_whole,
    ),
    Fault("gzip that nobody asked for", whole(), whole(), then=gzipped),
    Fault(
        "chunks of one byte (inside UTF-8 characters and `data:`)", whole(), whole(), forms=STREAMS, then=byte_by_byte,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One fault, committed by one arm, to one form of request."""

    number: int
    fault: Fault
    arm: str
    form: str
    expect: Expect = field(compare=False)

    @property
    def name(self) -> str:
        return f"{self.fault.name}-{self.arm}-{self.form}"

    @property
    def place(self) -> str:
        return f"case{self.number}"

    @property
    def waits(self) -> bool:
        """Whether a timeout has to pass before it ends."""
        return min(self.fault.first_token_s, self.fault.idle_s, self.fault.total_s) < PATIENT_S

    @property
    def timeouts(self) -> dict[str, float]:
        total_s = TOTAL_S if self.expect.code == "total_timeout" else self.fault.total_s
        own = {"first_token_s": self.fault.first_token_s, "idle_s": self.fault.idle_s, "total_s": total_s}
        return {**TIMEOUTS, **own}


def cases() -> Iterator[Case]:
    number = 0
    for fault in FAULTS:
        for arm in ("teacher", "student"):
            for form in fault.forms:
                yield Case(number, fault, arm, form, fault.expected(arm, form))
                number += 1


# The page.

HEAD = """# Faults of upstreams, and what clients see of them

Written by `python -m tests.gateway.faults > docs/faults.md` from the table that the tests run: each line below is a test
against real sockets (tests/gateway/dataplane/test_faults.py). Retries: {retries}. A student has the teacher behind it
(`on_student_failure: teacher`). 'Streamed' is with `release: observe`; with `release: block` nothing leaves before the
answer is whole. A truncated answer is never presented as a success, and every request has exactly one log record.
"""
COLUMNS = (("not streamed", "whole"), ("streamed, `observe`", "stream"), ("streamed, `block`", "block"))


def page() -> str:
    lines = [HEAD.format(retries=RETRIES)]
    for arm in ("teacher", "student"):
        lines += [f"## By the {arm}", "", "| fault | " + " | ".join(title for title, _ in COLUMNS) + " |"]
        lines.append("|---" * (len(COLUMNS) + 1) + "|")
        for fault in FAULTS:
            cells = [fault.expected(arm, form).words if form in fault.forms else "-" for _, form in COLUMNS]
            lines.append(f"| {fault.name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join([*lines, *claude.lines(), *responsefaults.lines(), "", *checkcases.lines(), ""])


if __name__ == "__main__":
    sys.stdout.write(page())
