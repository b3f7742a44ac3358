"""Claude as an upstream: answers Anthropic's Messages API as its reference says, whole or event by event."""

import json
from collections.abc import Iterable
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
