"""Read upstream answers, whole or streamed: check them, name the model that answered, and keep what the log needs.

Invariant: nothing that is broken passes as whole. A stream counts as complete only if it said so (`[DONE]`, or an end for
every choice) and reported no error before.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.dataplane import failures, jsonedit
from gateway.dataplane.assembly import Assembly
from gateway.dataplane.failures import UpstreamFailed
from gateway.dataplane.sse import EventSplitter, EventTooLong
from gateway.openai import SSE_DONE
from gateway.routes import Upstream

Json = dict[str, Any]


@dataclass(slots=True)
class Expected:
    """How to read an answer: the model to name, in JSON; whether the usage chunk was asked for by the client."""

    model: str
    model_json: bytes = field(init=False)
    keep_usage: bool = True
    lorax: bool = False
    choices: int = 1

    def __post_init__(self) -> None:
        self.model_json = orjson.dumps(self.model)


def expected(upstream: Upstream, model: str, *, keep_usage: bool = True, choices: Any = 1) -> Expected:
    """What an answer of `upstream` for `model` should look like; `choices` is the request's `n`."""
    count = choices if type(choices) is int else 1
    return Expected(model, keep_usage=keep_usage, lorax=upstream.kind == "lorax", choices=count)


def whole(body: bytes, wanted: Expected) -> tuple[bytes, Json]:
    """Check a whole answer; return the bytes for the client and the parsed answer as the upstream gave it."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed(failures.MALFORMED) from error
    failure = failures.from_error_event(data)
    if failure is not None:
        raise UpstreamFailed(failure)
    if not data.get("choices") and type(data.get("data")) is not list:
        raise UpstreamFailed(failures.MALFORMED)
    if wanted.lorax and normalise_lorax(data, wanted.model):
        return _encoded(data), data
    model = data.get("model")
    if model == wanted.model:
        return body, data
    if type(model) is str:
        return jsonedit.set_model(body, wanted.model_json), data
    if model is None and "model" not in data:
        return jsonedit.append_member(body, b'"model":' + wanted.model_json), data
    data["model"] = wanted.model
    return _encoded(data), data


def _encoded(data: Json) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError as error:  # orjson reads deeper nesting than it writes
        raise UpstreamFailed(failures.MALFORMED) from error


def normalise_lorax(data: Json, model: str) -> bool:
    """Mend LoRAX's OpenAI shapes in place; return whether anything was changed.

    Known from LoRAX's router: ids and models are the text "null", a chat answer calls itself text_completion, and a hit
    on a stop sequence is reported as content_filter.
    """
    choices = data.get("choices")
    if not isinstance(choices, list):
        return False
    data["model"] = model
    chat = any(isinstance(choice, dict) and "message" in choice for choice in choices)
    if chat:
        data["object"] = "chat.completion"
    if data.get("id") in ("null", "", None):
        data["id"] = "chatcmpl-lorax" if chat or "chat" in str(data.get("object")) else "cmpl-lorax"
    for choice in choices:
        if isinstance(choice, dict) and choice.get("finish_reason") == "content_filter":
            choice["finish_reason"] = "stop"
    return True


class StreamReader:
    """Reads one event stream: `feed` returns what may go to the client; then look at `failure` and `done`."""

    __slots__ = ("_splitter", "_wanted", "assembly", "done", "failure", "served_model", "visible")

    def __init__(self, wanted: Expected) -> None:
        self._wanted = wanted
        self._splitter = EventSplitter()
        self.assembly = Assembly()
        self.done = False
        self.failure: failures.Failure | None = None
        self.served_model: str | None = None
        self.visible = False

    def feed(self, data: bytes) -> bytes:
        """Events for the client, framed anew, out of the next bytes from the upstream."""
        try:
            payloads = self._splitter.feed(data)
        except EventTooLong:
            self.failure = failures.MALFORMED
            return b""
        out = []
        for payload in payloads:
            if self.done or self.failure is not None:
                break
            if payload == b"[DONE]":
                self.done = True
                break
            event = self._event(payload)
            if event:
                out.append(b"data: %b\n\n" % event)
        return b"".join(out)

    def finish(self) -> bytes:
        """Call at the end of the bytes: the last event for the client; raise UpstreamFailed if the answer broke off."""
        if self.failure is not None:
            raise UpstreamFailed(self.failure)
        whole = self.assembly.complete and len(self.assembly.finished) >= self._wanted.choices
        if not self.done and (self._splitter.unfinished or not whole):
            raise UpstreamFailed(failures.TRUNCATED)
        return SSE_DONE

    def _event(self, payload: bytes) -> bytes:
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            self.failure = failures.MALFORMED
            return b""
        if type(chunk) is not dict or "error" in chunk or chunk.get("object") == "error":
            self.failure = failures.from_error_event(chunk)
            if self.failure is not None:
                return b""
        wanted = self._wanted
        if wanted.lorax and normalise_lorax(chunk, wanted.model):
            chunk.setdefault("object", "chat.completion.chunk")
            payload = _encoded(chunk)
        if self.assembly.add(chunk):
            self.visible = True
        elif not wanted.keep_usage and chunk.get("choices") == []:
            return b""  # the usage chunk that the gateway asked for, not the client
        model = chunk.get("model")
        if self.served_model is None and type(model) is str:
            self.served_model = model
        if model == wanted.model:
            return payload
        if type(model) is str:
            return jsonedit.set_model(payload, wanted.model_json)
        return payload
