"""A chat put to whatever upstream: what goes out, the whole answer, and the stream as chat chunks.

Dialects whose clients speak another API than the upstream's make a chat of the request and come here; so does OpenAI's chat
itself where the upstream is Anthropic's. What the upstream's API cannot say is refused by name, as an UpstreamFailed that lets
another model answer.
"""

import time
from typing import Any, Protocol

import orjson

from graduand.gateway.dataplane.dialects import answers, logprobs
from graduand.gateway.dataplane.dialects.answers import StreamReader
from graduand.gateway.dataplane.dialects.claude_events import ClaudeEvents, message_in
from graduand.gateway.dataplane.dialects.dialect import Addressee, Progress, Sending, Whole
from graduand.gateway.dataplane.dialects.openai import LORAX_NAMES, lorax_format
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.model import lenient
from graduand.gateway.model.forms import claude, messages
from graduand.gateway.model.forms.untranslatable import Untranslatable

Json = dict[str, Any]

CHAT_PATH = "/chat/completions"
CLAUDE_PATH = "/messages"
# What vLLM reads of an earlier turn, and no other API that speaks chat.
THOUGHTS = ("reasoning_content", "reasoning")


class Chunks(Protocol):
    """Reads an upstream's stream as chat chunks, and keeps its `progress` up to date."""

    @property
    def progress(self) -> Progress: ...

    def feed(self, data: bytes) -> list[Json]:
        """The chunks in the next bytes from the upstream, one with the usage among them if it is told."""

    def finish(self) -> list[Json]:
        """Called at the end of the bytes: the last chunks; raise UpstreamFailed if the answer broke off."""


def sending(data: Json, to: Addressee, *, scored: bool = False) -> Sending:
    """What puts a chat request, as JSON data, to `to`; raise UpstreamFailed if its API cannot say it."""
    try:
        asked = claude.request_of(data, to.model) if to.anthropic else _chat(data, to, scored=scored)
    except Untranslatable as error:
        raise untranslatable(error) from error
    return Sending(CLAUDE_PATH if to.anthropic else CHAT_PATH, request_body(asked))


def whole(body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
    """Read and check a whole answer; it is a chat answer, whatever it came as. Raise UpstreamFailed if it is none."""
    if not by.anthropic:
        return answers.whole(body, headers, by)
    message, strange = message_in(body)
    try:
        form = messages.answer_of(message, int(time.time()))
    except Untranslatable as error:
        raise UpstreamFailed(failures.told(failures.UNREADABLE, body)) from error
    return Whole(encoded({**form, "model": by.model}), form, strange=strange)


def chunks(by: Addressee, choices: Any = 1) -> Chunks:
    """What reads the stream of `by`; `choices` is the request's `n`."""
    return ClaudeChunks() if by.anthropic else ChatChunks(by, choices)


def untranslatable(error: Untranslatable) -> UpstreamFailed:
    """How it is said that the API of who is asked cannot say what the client does."""
    return UpstreamFailed(failures.untranslatable(error.field, str(error)))


def request_body(asked: Json) -> bytes:
    """A request as JSON; raise UpstreamFailed if it is nested deeper than can be written."""
    try:
        return orjson.dumps(asked)
    except TypeError as error:
        raise UpstreamFailed(failures.untranslatable("messages", "the request is nested too deeply")) from error


def encoded(data: Json) -> bytes:
    """An answer as JSON; raise UpstreamFailed if it is nested deeper than can be written."""
    try:
        return orjson.dumps(data)
    except TypeError as error:
        raise UpstreamFailed(failures.UNREADABLE) from error


class ChatChunks:
    """Chunks as they come."""

    def __init__(self, by: Addressee, choices: Any) -> None:
        self._reader = StreamReader(by, keep_usage=True, choices=choices)

    @property
    def progress(self) -> Progress:
        return self._reader

    def feed(self, data: bytes) -> list[Json]:
        return _parsed(self._reader.feed(data))

    def finish(self) -> list[Json]:
        return _parsed(self._reader.finish())


class ClaudeChunks:
    """Chunks made of Anthropic's events."""

    def __init__(self) -> None:
        self._events = ClaudeEvents()

    @property
    def progress(self) -> Progress:
        return self._events

    def feed(self, data: bytes) -> list[Json]:
        return [chunk for event in self._events.feed(data) for chunk in event.chunks]

    def finish(self) -> list[Json]:
        return [chunk for event in self._events.finish() for chunk in event.chunks]


class Framed:
    """A stream of chunks as chat's clients read it; `keep_usage`: they asked for the usage."""

    def __init__(self, by: Addressee, *, keep_usage: bool) -> None:
        self._by = by
        self._chunks: Chunks = chunks(by)
        self._keep_usage = keep_usage

    @property
    def progress(self) -> Progress:
        return self._chunks.progress

    def feed(self, data: bytes) -> bytes:
        return self._framed(self._chunks.feed(data))

    def finish(self) -> bytes:
        return self._framed(self._chunks.finish()) + b"data: [DONE]\n\n"

    def _framed(self, listed: list[Json]) -> bytes:
        kept = [chunk for chunk in listed if self._keep_usage or chunk["choices"]]
        return b"".join(b"data: %b\n\n" % _written({**chunk, "model": self._by.model}) for chunk in kept)


def _written(chunk: Json) -> bytes:
    try:
        return orjson.dumps(chunk)
    except TypeError:  # half pairs
        return lenient.encoded(chunk)


def _parsed(block: bytes) -> list[Json]:
    return [lenient.loads(event[6:])[0] for event in block.split(b"\n\n") if event.startswith(b"data: {")]


def _chat(data: Json, to: Addressee, *, scored: bool) -> Json:
    """A chat request for an upstream that speaks chat, in the names that it knows."""
    if to.kind == "openai" and data.get("top_k") is not None:
        raise Untranslatable("top_k", "has no counterpart in OpenAI's chat API")
    if to.lorax and data.get("reasoning_effort") is not None:
        raise Untranslatable("reasoning_effort", "has no counterpart in LoRAX, whose models think or do not")
    asked = {**data, "model": to.model}
    if to.kind != "vllm":
        asked["messages"] = [_without_thoughts(message) for message in data["messages"]]
    if to.lorax:
        _for_lorax(asked)
    if data.get("stream") is True and to.adds_usage:
        asked["stream_options"] = {"include_usage": True}
    if scored:
        asked |= {"logprobs": True, "top_logprobs": max(logprobs.TOP, asked.get("top_logprobs") or 0)}
    return asked


def _for_lorax(asked: Json) -> None:
    for name, other in LORAX_NAMES.items():
        if asked.get(name) is not None:
            asked[other] = asked.pop(name)
    if isinstance(asked.get("stop"), str):
        asked["stop"] = [asked["stop"]]  # LoRAX takes lists only
    form = lorax_format(asked.pop("response_format", None))
    if form is not None:
        asked["response_format"] = form


def _without_thoughts(message: Json) -> Json:
    if not any(name in message for name in THOUGHTS):
        return message
    return {name: one for name, one in message.items() if name not in THOUGHTS}
