"""Faults of streams in OpenAI's Responses API that are passed on: one table for the tests and for docs/faults.md."""

import json
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
ERROR = {"code": "server_error", "message": "it broke"}


@dataclass(frozen=True)
class Broken:
    """How a stream goes on after a good beginning: the last bytes, whether the connection is cut then, and the log's cause."""

    name: str
    last: bytes
    cause: str
    cut: bool = False


def event(data: Json) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


FAILED = {"id": "resp_1", "object": "response", "status": "failed", "error": ERROR, "output": [], "model": "gpt-5"}
BROKEN = (
    Broken("`response.failed`", event({"type": "response.failed", "sequence_number": 9, "response": FAILED}), "error_event"),
    Broken("the event `error`", event({"type": "error", "sequence_number": 9, **ERROR, "param": None}), "error_event"),
    Broken("an error as chat has it", b'data: {"error": {"message": "it broke"}}\n\n', "error_event"),
    Broken("cut in the middle", b"", "truncated", cut=True),
    Broken("cut within an event", b'data: {"type": "response.comp', "truncated", cut=True),
    Broken("the bytes end, and no event said so", b"", "truncated"),
    Broken("`[DONE]` in place of the last event", b"data: [DONE]\n\n", "truncated"),
    Broken("an event that is no JSON", b'data: {"type": "response.outp\n\n', "malformed"),
    Broken("an event that is no object", b"data: [1]\n\n", "malformed"),
    Broken("a last event without a response", event({"type": "response.completed", "sequence_number": 9}), "malformed"),
    Broken(
        "a last event without an output",
        event({"type": "response.completed", "sequence_number": 9, "response": {"object": "response"}}), "malformed",
    ),
)  # fmt: skip


def lines() -> list[str]:
    """The section of docs/faults.md."""
    rows = [
        f"| {one.name} | 502 `{one.cause}` | {shown(one.cause)} | `fallback:{one.cause}` |" for one in BROKEN
    ]  # fmt: skip
    return [
        "## In `/v1/responses`",
        "",
        "Deadlines, retries and fallbacks are the route's, whatever the API: the tables above hold for this one as well. Its",
        "error event is `error`, with the number that follows the last event. These faults are its own, where a stream is passed",
        "on from an upstream that speaks it; [Responses](responses.md) says what is refused.",
        "",
        "| fault | before anything has left | afterwards | before anything has left, by the student |",
        "|---|---|---|---|",
        *rows,
    ]


def shown(cause: str) -> str:
    return f"what was released, an error event `{cause}`, connection cut"
