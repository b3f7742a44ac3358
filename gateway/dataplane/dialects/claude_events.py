"""Reads the answers of Anthropic's Messages API: a whole message, or its events, each with the chat chunks that it means.

Source: Anthropic's reference of streamed messages (event flow, error events) and its SDK's types. Event types that are not
known are passed over, as the reference asks. Invariant: a stream counts as complete only if it said so.
"""

import time
from typing import Any, NamedTuple

import orjson

from graduand.gateway.dataplane.dialects import answers
from graduand.gateway.dataplane.dialects.assembly import Assembly
from graduand.gateway.dataplane.dialects.dialect import Progress
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.sse import EventSplitter, EventTooLong
from graduand.gateway.model import lenient
from graduand.gateway.model.forms import messages

Json = dict[str, Any]

# What an event raises that is not made as the API says.
STRANGE = (AttributeError, LookupError, TypeError, ValueError)
PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class Event(NamedTuple):
    """One event: its bytes, what they say, and the chat chunks of it."""

    payload: bytes
    data: Json
    chunks: list[Json]


def message_in(body: bytes) -> tuple[Json, bool]:
    """The message that a body holds, and whether it is strange (gateway.model.lenient); raise UpstreamFailed if it is none."""
    data, strange = answers.read(body)
    if type(data) is not dict or data.get("type") == "error" or "error" in data:
        failure = failures.from_error_event(data)
        if failure is not None:
            raise UpstreamFailed(failures.told(failure, body))
    content = data.get("content")
    if type(content) is not list or not all(type(block) is dict for block in content):
        raise UpstreamFailed(failures.told(failures.MALFORMED, body))
    return data, strange


class MessageAssembly(Assembly):
    """Puts the events of one stream together: the message that the same request would have given without `stream`, for the
    log, and beside it the chat answer, for everybody else."""

    __slots__ = ("_arguments", "_message", "_pieces")

    def __init__(self) -> None:
        super().__init__()
        self._message: Json = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._arguments: dict[int, list[str]] = {}

    def take(self, event: Json) -> None:
        """Take one event in."""
        kind = event.get("type")
        if kind == "message_start":
            self._message = {**event["message"], "content": []}
        elif kind == "content_block_start":
            self._message["content"].append({**event["content_block"]})
        elif kind == "content_block_delta":
            self._delta(event["index"], event["delta"])
        elif kind == "message_delta":
            told = event.get("usage") or {}
            known = self._message.get("usage") or {}
            self._message |= event["delta"]
            self._message["usage"] = {**known, **{name: one for name, one in told.items() if one is not None}}

    def encoded(self) -> str | None:
        """The message as JSON; None if nothing came, or if it is nested deeper than can be written."""
        if not self._message:
            return None
        content = [{**block} for block in self._message["content"]]
        for (at, name), pieces in self._pieces.items():
            content[at][name] = str(content[at].get(name) or "") + "".join(pieces)
        for at, parts in self._arguments.items():
            text = "".join(parts)
            try:
                content[at]["input"] = orjson.loads(text) if text else content[at].get("input") or {}
            except orjson.JSONDecodeError:  # it broke off, or the answer's limit was reached
                content[at]["input"] = text
        try:
            return lenient.encoded({**self._message, "content": content}).decode()
        except lenient.Unreadable:
            return None

    def _delta(self, at: int, delta: Json) -> None:
        kind = delta.get("type")
        block = self._message["content"][at]
        if kind == "input_json_delta":
            self._arguments.setdefault(at, []).append(delta["partial_json"])
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif kind in PIECES:
            name = PIECES[kind]
            self._pieces.setdefault((at, name), []).append(delta[name])


class ClaudeEvents(Progress):
    """Reads one event stream. `assembly` is the chat answer; with `whole` it keeps the message too (MessageAssembly)."""

    __slots__ = ("_calls", "_ended", "_given", "_message", "_splitter", "_top", "_usage")

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__()
        self._message: MessageAssembly | None = None
        if whole:
            self._message = MessageAssembly()
            self.assembly = self._message
        self._splitter = EventSplitter()
        self._top: Json = {}
        self._usage: Json = {}
        self._calls: dict[int, int] = {}  # of each block that calls a tool, the number of its call
        self._given: set[int] = set()  # blocks whose arguments have begun
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete; then look at `failure` and `done`."""
        try:
            payloads = self._splitter.feed(data)
        except EventTooLong:
            self.failure = failures.MALFORMED
            return []
        events = []
        for payload in payloads:
            if self.done or self.failure is not None:
                break
            event = self._event(payload)
            if event is not None:
                events.append(event)
        return events

    def finish(self) -> list[Event]:
        """Call at the end of the bytes: what no blank line ended; raise UpstreamFailed if the answer broke off."""
        if self.failure is not None:
            raise UpstreamFailed(self.failure)
        if self.done:
            return []
        last = self._unended()
        if last and last[-1].data.get("type") == "message_stop":
            return last
        if not self._ended:
            raise UpstreamFailed(failures.TRUNCATED)
        # It has said why it ended, and its last event is missing.
        stop = {"type": "message_stop"}
        ending = Event(orjson.dumps(stop), stop, self._taken(stop))
        return [*last, ending]

    def _unended(self) -> list[Event]:
        """The event that the end of the bytes ended; raise UpstreamFailed if it is only a part of one."""
        payload = self._splitter.finish()
        last = None if payload is None else self._event(payload)
        if self.failure is not None:
            cut = self.failure.message == failures.UNREADABLE.message
            raise UpstreamFailed(failures.TRUNCATED if cut else self.failure)
        return [] if last is None else [last]

    def _event(self, payload: bytes) -> Event | None:
        try:
            data, strange = lenient.loads(payload)
        except lenient.Unreadable:
            self.failure = failures.told(failures.UNREADABLE, payload)
            return None
        self.strange = self.strange or strange
        if type(data) is not dict or data.get("type") == "error" or "error" in data:
            failure = failures.from_error_event(data)
            if failure is not None:
                self.failure = failures.told(failure, payload)
                return None
        try:
            chunks = self._taken(data)
        except STRANGE:
            self.failure = failures.told(failures.MALFORMED, payload)
            return None
        return Event(payload.replace(b"\n", b" ") if b"\n" in payload else payload, data, chunks)

    def _taken(self, data: Json) -> list[Json]:
        if self._message is not None:
            self._message.take(data)
        chunks = self._chunks(data)
        for chunk in chunks:
            if self.assembly.add(chunk):
                self.visible = True
        return chunks

    def _chunks(self, data: Json) -> list[Json]:
        kind = data.get("type")
        if kind == "content_block_delta":
            return self._piece(data["index"], data["delta"])
        if kind == "content_block_start":
            return self._block(data["index"], data["content_block"])
        if kind == "content_block_stop":
            at = data["index"]
            return self._arguments(at, "{}") if at in self._calls and at not in self._given else []
        if kind == "message_start":
            return self._start(data["message"])
        if kind == "message_delta":
            self._count(data.get("usage"))
            return self._end(data["delta"])
        if kind == "message_stop":
            self.done = True
            usage = messages.usage_of(self._usage)
            return [] if usage is None else [{**self._top, "choices": [], "usage": usage}]
        return []

    def _start(self, message: Json) -> list[Json]:
        self._count(message.get("usage"))
        model = message.get("model")
        if type(model) is str:
            self.served_model = lenient.mended(model)
        self._top = {
            "id": message.get("id"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        return self._chunk({"role": "assistant"})

    def _count(self, told: Any) -> None:
        """Counts are cumulative; those of the end stand in place of those of the beginning."""
        if type(told) is dict:
            self._usage |= {name: one for name, one in told.items() if one is not None}

    def _block(self, at: int, block: Json) -> list[Json]:
        kind = block.get("type")
        if kind == "text":
            return self._chunk({"content": block.get("text") or ""})
        if kind == "thinking":
            return self._chunk({"reasoning_content": block["thinking"]}) if block.get("thinking") else []
        if kind != "tool_use":
            self.visible = self.visible or kind != "redacted_thinking"  # a tool that runs at Anthropic
            return []
        number = self._calls[at] = len(self._calls)
        begun = block.get("input")
        text = orjson.dumps(begun).decode() if begun else ""
        if text:
            self._given.add(at)
        function = {"name": block["name"], "arguments": text}
        return self._chunk(
            {"tool_calls": [{"index": number, "id": block["id"], "type": "function", "function": function}]}
        )

    def _piece(self, at: int, delta: Json) -> list[Json]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunk({"content": delta["text"]})
        if kind == "thinking_delta":
            return self._chunk({"reasoning_content": delta["thinking"]})
        if kind == "input_json_delta" and at in self._calls and delta["partial_json"]:
            return self._arguments(at, delta["partial_json"])
        return []

    def _arguments(self, at: int, piece: str) -> list[Json]:
        self._given.add(at)
        return self._chunk({"tool_calls": [{"index": self._calls[at], "function": {"arguments": piece}}]})

    def _end(self, delta: Json) -> list[Json]:
        if delta.get("stop_reason") is None:
            return []
        self._ended = True
        choice: Json = {"index": 0, "delta": {}, "finish_reason": messages.finish(delta["stop_reason"])}
        if type(delta.get("stop_sequence")) is str:
            choice["stop_reason"] = delta["stop_sequence"]
        return [{**self._top, "choices": [choice]}]

    def _chunk(self, delta: Json) -> list[Json]:
        return [{**self._top, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}]
