"""Writes a stream of chat chunks as the events of Anthropic's Messages API, in the order that its reference states.

`message_start`, `ping`, then block by block `content_block_start`, its deltas and `content_block_stop`, at the end
`message_delta` with the usage, and `message_stop`. Blocks never overlap: a call of a tool that begins while another is not whole
waits for it, and text that comes after a call follows it. How many tokens the prompt has is known at the end only; the first
event says 0.
"""

from typing import Any

import orjson

from graduand.gateway.dataplane.dialects.assembly import Assembly
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.model import lenient
from graduand.gateway.model.forms import claude

Json = dict[str, Any]

DELTAS = {"text": "text_delta", "thinking": "thinking_delta"}
FIRST_HALVES = range(0xD800, 0xDC00)  # of pairs that are one character
EMPTY: dict[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def framed(data: Json) -> bytes:
    """One event of the API."""
    return event(str(data["type"]), lenient.encoded(data))


def event(kind: str, payload: bytes) -> bytes:
    """One event of the API, encoded before."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), payload)


class MessageEvents:
    """One answer. `stops` are the request's stop sequences; thinking is shown if it `thinks`."""

    def __init__(self, assembly: Assembly, model: str, stops: Any, *, thinks: bool) -> None:
        self._assembly = assembly
        self._model = model
        self._stops = stops
        self._thinks = thinks
        self._begun = False
        self._block = -1  # the number of the last block that was begun
        self._open = ""  # what it is, if it is not ended
        self._call = 0  # which call is being written, or will be next
        self._sent = 0  # how much of its arguments is
        self._called = False  # whether any has begun
        self._late: list[Json] = []  # what was said after that
        self._half = ""  # of a pair whose other half is yet to come
        self._refused = False
        self._ending: Json = {}

    def add(self, chunks: list[Json]) -> bytes:
        """The events of the next chunks, which the assembly has taken in."""
        out: list[bytes] = []
        for chunk in chunks:
            choice = next((one for one in chunk["choices"] if one.get("index", 0) == 0), None)
            if choice is None:
                continue
            if not self._begun:
                out += self._start(chunk)
            self._said(choice.get("delta") or {}, out)
            self._ending |= {name: choice[name] for name in ("finish_reason", "stop_reason") if choice.get(name)}
        self._calls(out, last=False)
        return b"".join(out)

    def end(self, used: Json) -> bytes:
        """The events that end the message; `used` is its usage. Raise UpstreamFailed if a call's arguments are no object."""
        out: list[bytes] = [] if self._begun else self._start({})
        self._calls(out, last=True)
        for late in self._late:
            self._text(late["type"], late["text"], out)
        if self._half:
            self._text("text", "", out, last=True)
        self._close(out)
        reason, sequence = claude.stop_of(self._ending, self._stops, called=self._call > 0, refused=self._refused)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        out += [framed({"type": "message_delta", "delta": delta, "usage": used}), framed({"type": "message_stop"})]
        return b"".join(out)

    def _start(self, chunk: Json) -> list[bytes]:
        self._begun = True
        message: Json = {
            "id": chunk.get("id") or "msg_0",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": claude.usage_of(None),
        }
        return [framed({"type": "message_start", "message": message}), framed({"type": "ping"})]

    def _said(self, delta: Json, out: list[bytes]) -> None:
        thought = claude.thought_of(delta)
        if thought and self._thinks:
            self._say("thinking", thought, out)
        text, refusal = claude.text_of(delta), delta.get("refusal")
        if text:
            self._say("text", text, out)
        if type(refusal) is str and refusal:
            self._refused = True
            self._say("text", refusal, out)
        self._called = self._called or bool(delta.get("tool_calls"))

    def _say(self, kind: str, text: str, out: list[bytes]) -> None:
        if self._called:
            self._late.append({"type": kind, "text": text})
        else:
            self._text(kind, text, out)

    def _text(self, kind: str, text: str, out: list[bytes], *, last: bool = False) -> None:
        text, self._half = self._half + text, ""
        if text and not last and ord(text[-1]) in FIRST_HALVES:
            text, self._half = text[:-1], text[-1]
        if not text:
            return
        if self._open != kind:
            self._begin(kind, EMPTY[kind], out)
        self._delta({"type": DELTAS[kind], kind: text}, out)

    def _calls(self, out: list[bytes], *, last: bool) -> None:
        """Write what is new of the calls: the next one when the one before it is whole."""
        calls = self._assembly.calls_so_far()
        while self._call < len(calls):
            function = calls[self._call]["function"]
            named, arguments = function["name"], function["arguments"]
            if self._open != "tool_use":
                if not named and not last:
                    return
                block = {"type": "tool_use", "id": calls[self._call]["id"], "name": named, "input": {}}
                self._begin("tool_use", block, out)
                self._sent = 0
            if len(arguments) > self._sent:
                self._delta({"type": "input_json_delta", "partial_json": arguments[self._sent :]}, out)
                self._sent = len(arguments)
            if last:
                self._check(arguments)
            elif self._call + 1 == len(calls) or not _is_object(arguments):
                return
            self._close(out)
            self._call += 1

    def _check(self, arguments: str) -> None:
        if arguments and not _is_object(arguments) and self._ending.get("finish_reason") != "length":
            raise UpstreamFailed(failures.UNREADABLE)

    def _begin(self, kind: str, block: Json, out: list[bytes]) -> None:
        self._close(out)
        self._block += 1
        self._open = kind
        out.append(framed({"type": "content_block_start", "index": self._block, "content_block": block}))

    def _delta(self, delta: Json, out: list[bytes]) -> None:
        out.append(framed({"type": "content_block_delta", "index": self._block, "delta": delta}))

    def _close(self, out: list[bytes]) -> None:
        if self._open:
            self._open = ""
            out.append(framed({"type": "content_block_stop", "index": self._block}))


def _is_object(text: str) -> bool:
    try:
        return type(orjson.loads(text)) is dict
    except orjson.JSONDecodeError:
        return False
