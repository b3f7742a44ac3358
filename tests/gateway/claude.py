"""Claude as an upstream: answers Anthropic's Messages API as its reference says, whole or event by event."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.gateway.upstream import Action, Conversation, text_of

Json = dict[str, Any]
USAGE: Json = {
    "input_tokens": 4, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 1, "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 2}, "service_tier": "standard",
}  # fmt: skip
THOUGHT: Json = {"type": "thinking", "thinking": "They greet me.", "signature": "c2lnbmVk"}
CALLS: list[Json] = [
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln", "days": [1, 2]}},
    {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
]


def said(model: str) -> Json:
    return {"type": "text", "text": text_of(model), "citations": None}


def message(model: str, content: list[Json] | None = None, reason: str = "end_turn", **more: Any) -> Json:
    """A whole answer."""
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": f"{model}-20260801",
        "content": [said(model)] if content is None else content, "stop_reason": reason, "stop_sequence": None,
        "usage": USAGE, **more,
    }  # fmt: skip


def events(whole: Json, *, size: int = 4) -> list[Json]:
    """The events that the reference gives for this answer, its texts in pieces of `size` characters."""
    told = whole["usage"]
    start = {**whole, "content": [], "stop_reason": None, "usage": {**told, "output_tokens": 1}}
    out: list[Json] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for at, block in enumerate(whole["content"]):
        begun, deltas = _pieces(block, size)
        out.append({"type": "content_block_start", "index": at, "content_block": begun})
        out += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        out.append({"type": "content_block_stop", "index": at})
    delta = {name: whole[name] for name in ("stop_reason", "stop_sequence")}
    counts = {name: told[name] for name in told if name != "service_tier"}
    return [*out, {"type": "message_delta", "delta": delta, "usage": counts}, {"type": "message_stop"}]


def _pieces(block: Json, size: int) -> tuple[Json, list[Json]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": one} for one in _cut(block["text"], size)]
    if block["type"] == "thinking":
        pieces = [{"type": "thinking_delta", "thinking": one} for one in _cut(block["thinking"], size)]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*pieces, signed]
    if block["type"] == "tool_use":
        text = json.dumps(block["input"]) if block["input"] else ""
        pieces = [{"type": "input_json_delta", "partial_json": one} for one in ("", *_cut(text, size))]
        return {**block, "input": {}}, pieces
    return block, []


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def framed(listed: Iterable[Json]) -> bytes:
    """Events as they are on the wire."""
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in listed)


def says(content: list[Json] | None = None, reason: str = "end_turn", **more: Any) -> Action:
    """Answers with these blocks, as asked; counts tokens as 12."""

    def action(conversation: Conversation) -> None:
        seen = conversation.seen
        if seen.line.split(" ")[1].endswith("/count_tokens"):
            conversation.whole(200, {"input_tokens": 12})
            return
        whole = message(seen.data["model"], content, reason, **more)
        if not conversation.streams:
            conversation.whole(200, whole, "request-id: req_1")
            return
        conversation.start_stream("request-id: req_1")
        for one in events(whole):
            conversation.piece(framed([one]))
        conversation.end_stream()

    return action


def refuses(status: int, kind: str, text: str) -> Action:
    """Refuses in Anthropic's own shape."""

    def action(conversation: Conversation) -> None:
        error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}
        conversation.whole(status, error)

    return action


def whole(status: int, body: Json | bytes) -> Action:
    return lambda conversation: conversation.whole(status, body)


def cut(conversation: Conversation) -> None:
    """The connection closes in the middle of the answer."""
    if conversation.streams:
        conversation.start_stream()
        conversation.piece(framed(events(message(conversation.seen.data["model"]))[:6]))
        conversation.taken()
    else:
        body = json.dumps(message(conversation.seen.data["model"])).encode()
        conversation.whole(200, body[:40], length=len(body))
    conversation.cut()


def overloaded_later(conversation: Conversation) -> None:
    """An error event after the first words."""
    if not conversation.streams:
        refuses(529, "overloaded_error", "Overloaded")(conversation)
        return
    conversation.start_stream()
    conversation.piece(framed(events(message(conversation.seen.data["model"]))[:6]))
    conversation.taken()
    conversation.piece(framed([{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]))
    conversation.end_stream()


@dataclass(frozen=True)
class Fault:
    """One row of the page: what Claude does, and what both kinds of clients get; `says` is a part of the message."""

    name: str
    action: Action
    status: int
    kind: str  # Anthropic's word for it
    cause: str  # the log's
    says: str
    streamed: str = ""  # the cause within a stream that has begun; empty: as not streamed


TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
NO_CREDIT = "Your credit balance is too low to access the Anthropic API."
FAULTS = (
    Fault("400 `invalid_request_error`", refuses(400, "invalid_request_error", "max_tokens: 9 > 8"), 400,
          "invalid_request_error", "bad_request", "max_tokens: 9 > 8"),
    Fault("400, the prompt is too long", refuses(400, "invalid_request_error", TOO_LONG), 400, "invalid_request_error",
          "context_length", TOO_LONG),
    Fault("400, the account has no credit", refuses(400, "invalid_request_error", NO_CREDIT), 502, "api_error",
          "upstream_account", "the gateway's own account"),
    Fault("401 `authentication_error`", refuses(401, "authentication_error", "invalid x-api-key"), 502, "api_error",
          "upstream_auth", "the gateway's own key"),
    Fault("402 `billing_error`", refuses(402, "billing_error", "secret"), 502, "api_error", "upstream_account",
          "the gateway's own account"),
    Fault("404, no such model", refuses(404, "not_found_error", "model: claude-9"), 502, "api_error", "model_missing",
          "model: claude-9"),
    Fault("413 `request_too_large`", refuses(413, "request_too_large", "too large"), 413, "request_too_large",
          "bad_request", "too large"),
    Fault("429 `rate_limit_error`", refuses(429, "rate_limit_error", "secret"), 429, "rate_limit_error", "rate_limited",
          "overloaded"),
    Fault("500 `api_error`", refuses(500, "api_error", "secret"), 500, "api_error", "http_500", "answered 500"),
    Fault("529 `overloaded_error`", refuses(529, "overloaded_error", "secret"), 529, "overloaded_error", "http_529",
          "answered 529"),
    Fault("an error within a 200", whole(200, {"type": "error", "error": {"type": "overloaded_error", "message": "secret"}}),
          502, "api_error", "error_event", "reported an error"),
    Fault("a message without content", whole(200, {"type": "message", "content": None}), 502, "api_error", "malformed",
          "not what its protocol promises"),
    Fault("no JSON", whole(200, b"<html>"), 502, "api_error", "malformed", "cannot be read"),
    Fault("cut in the middle", cut, 502, "api_error", "truncated", "broke off", "truncated"),
    Fault("overloaded, streams after the first words", overloaded_later, 529, "overloaded_error", "http_529", "answered 529",
          "error_event"),
)  # fmt: skip
HEAD = """## By Claude

An upstream of kind `anthropic` that fails as Anthropic's reference says, on a route without a student and without retries;
each line is a test in tests/gateway/dataplane/test_messages.py. A client of `/v1/messages` gets Anthropic's error object with
this `type`, a client of `/v1/chat/completions` OpenAI's. What a request says that the API of who is asked cannot say is
`untranslatable`: the teacher answers in a student's place, otherwise it is 400 with the field's name; nobody is asked, and no
rollout counts it.
"""


def lines() -> Iterator[str]:
    """The page's section."""
    yield HEAD
    yield "| fault | status | `type` | in the log | streamed, after the first words |"
    yield "|---" * 5 + "|"
    for fault in FAULTS:
        later = f"what was released, an error event `{fault.streamed}`, connection cut" if fault.streamed else "-"
        yield f"| {fault.name} | {fault.status} | `{fault.kind}` | `{fault.cause}` | {later} |"
    yield ""
