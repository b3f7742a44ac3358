"""Read the answers of upstreams that speak OpenAI's API, whole or streamed.

They are checked, named after the model that was asked, and kept as the log needs them.

Invariant: nothing that is broken passes as whole. A stream counts as complete only if it said so (`[DONE]`, or an end for
every choice) and reported no error before.
"""

from typing import Any

import orjson

from graduand.gateway.dataplane.dialects import jsonedit, logprobs
from graduand.gateway.dataplane.dialects.dialect import Addressee, Progress, Whole
from graduand.gateway.dataplane.dialects.template import Template, learn
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.dataplane.http.sse import EventSplitter, EventTooLong
from graduand.gateway.model import lenient
from graduand.gateway.model.openai import SSE_DONE

Json = dict[str, Any]

MOST_LESSONS = 16
USAGE = frozenset(("usage",))


def read(body: bytes) -> tuple[Any, bool]:
    """What a body holds as JSON, and whether it is strange (gateway.model.lenient); raise UpstreamFailed if it is none."""
    try:
        data, strange = lenient.loads(body)
        if strange:
            data = orjson.loads(lenient.encoded(data))
    except lenient.Unreadable as error:
        raise UpstreamFailed(failures.told(failures.UNREADABLE, body)) from error
    return data, strange


def whole(body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
    """Check a whole answer; it is encoded as the upstream did, but for the model that is named."""
    data, strange = read(body)
    if type(data) is not dict or "error" in data or data.get("object") == "error":
        failure = failures.from_error_event(data)
        if failure is not None:
            raise UpstreamFailed(failures.told(failure, body))
    if not data.get("choices") and type(data.get("data")) is not list:
        raise UpstreamFailed(failures.told(failures.NO_ANSWER, body))
    if by.lorax:
        encoded = _encoded(data) if normalise_lorax(data, by.model) else _named(body, data, by)
        return Whole(encoded, data, queued_ms(headers), strange=strange)
    return Whole(_named(body, data, by), data, strange=strange)


def _named(body: bytes, data: Json, by: Addressee) -> bytes:
    """The answer with the name of the model that was asked; `data` keeps the upstream's own word if it is a name."""
    model = data.get("model")
    if model == by.model:
        return body
    if type(model) is str:
        return jsonedit.set_model(body, by.model_json)
    if model is None and "model" not in data:
        return jsonedit.append_member(body, b'"model":' + by.model_json)
    data["model"] = by.model
    return _encoded(data)


def queued_ms(headers: dict[bytes, bytes]) -> float | None:
    """How long a request waited for its batch: LoRAX says so of whole answers, in milliseconds (`x-queue-time`)."""
    told = headers.get(b"x-queue-time", b"")
    return float(told) if told.isdigit() and len(told) < 12 else None


def without_logprobs(released: bytes, keep: int) -> bytes:
    """An answer or a chunk without the log probabilities that the client did not ask for."""
    data = lenient.loads(released)[0]
    return _encoded(data) if logprobs.strip(data, keep) else released


def _encoded(data: Json) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:  # half pairs; or orjson reads deeper nesting than it writes
        pass
    try:
        return lenient.encoded(data)
    except lenient.Unreadable as error:
        raise UpstreamFailed(failures.UNREADABLE) from error


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


class StreamReader(Progress):
    """Reads one event stream: `feed` returns what may go to the client; then look at `failure` and `done`.

    `keep_usage`: the client itself asked for the usage chunk. `choices`: the request's `n`, if it gave one.
    `keep_logprobs`: how many alternatives the client is to see; None: what comes.
    """

    __slots__ = (
        "_choices", "_keep_logprobs", "_keep_usage", "_lessons", "_splitter", "_template", "_wanted",
    )  # fmt: skip

    def __init__(
        self, wanted: Addressee, *, keep_usage: bool, choices: Any = 1, keep_logprobs: int | None = None
    ) -> None:
        super().__init__()
        self._wanted = wanted
        self._choices = choices if type(choices) is int else 1
        self._keep_usage = keep_usage
        self._keep_logprobs = keep_logprobs
        self._splitter = EventSplitter()
        self._template: Template | None = None
        self._lessons = MOST_LESSONS

    @property
    def progress(self) -> Progress:
        return self

    def feed(self, data: bytes) -> bytes:
        """Events for the client, framed anew, out of the next bytes from the upstream."""
        try:
            payloads = self._splitter.feed(data)
        except EventTooLong:
            self.failure = failures.MALFORMED
            return b""
        out: list[bytes] = []
        for payload in payloads:
            if self.done or self.failure is not None:
                break
            template = self._template
            text = b"" if template is None else template.text(payload)
            event = b""
            if text and template is not None and (event := self._plain(template, text)):
                out.append(event)
                continue
            bare = payload.strip()
            if bare == b"[DONE]":
                self.done = True
            elif bare:  # an event without data is a sign of life
                event = self._event(payload)
                if event:
                    out.append(b"data: %b\n\n" % event)
        return b"".join(out)

    def finish(self) -> bytes:
        """Call at the end of the bytes: the last event for the client; raise UpstreamFailed if the answer broke off."""
        if self.failure is not None:
            raise UpstreamFailed(self.failure)
        last = b"" if self.done else self._unended()
        whole = self.assembly.complete and len(self.assembly.finished) >= self._choices
        if not self.done and not whole:
            raise UpstreamFailed(failures.TRUNCATED)
        return last + SSE_DONE

    def _unended(self) -> bytes:
        """The event that the end of the bytes ended, for the client; raise UpstreamFailed if it is only a part of one."""
        payload = (self._splitter.finish() or b"").strip()
        if payload == b"[DONE]":
            self.done = True
        if not payload or self.done:
            return b""
        event = self._event(payload)
        if self.failure is not None:
            cut = self.failure.message == failures.UNREADABLE.message
            raise UpstreamFailed(failures.TRUNCATED if cut else self.failure)
        return b"data: %b\n\n" % event if event else b""

    def _plain(self, template: Template, text: bytes) -> bytes:
        """The event of a recognised chunk; nothing if its text is no UTF-8, which is for whoever reads it as a whole."""
        try:
            self.assembly.add_text(template.index, template.field, text.decode())
        except UnicodeDecodeError:
            return b""
        self.visible = True
        return template.framed(text)

    def _event(self, payload: bytes) -> bytes:
        try:
            chunk, strange = lenient.loads(payload)
        except lenient.Unreadable:
            self.failure = failures.told(failures.UNREADABLE, payload)
            return b""
        self.strange = self.strange or strange
        if type(chunk) is not dict or "error" in chunk or chunk.get("object") == "error":
            failure = failures.from_error_event(chunk)
            if failure is not None:
                self.failure = failures.told(failure, payload)
                return b""
        if b"\n" in payload:  # an event of several data lines: in JSON a newline is a blank
            payload = payload.replace(b"\n", b" ")
        wanted = self._wanted
        if wanted.lorax and normalise_lorax(chunk, wanted.model):
            chunk.setdefault("object", "chat.completion.chunk")
            payload = _encoded(chunk)
        if self.assembly.add(chunk):
            self.visible = True
        elif not self._keep_usage and chunk.get("choices") == [] and type(chunk.get("usage")) is dict:
            return b""  # the usage chunk that the gateway asked for, not the client
        model = chunk.get("model")
        if not self.served_model and type(model) is str:
            self.served_model = lenient.mended(model)
        released = payload
        if not self._keep_usage and type(chunk.get("usage")) is dict:
            # Told with a piece of the answer, because the gateway asked: that is between it and the upstream.
            released = payload = jsonedit.without(payload, USAGE)
        if model != wanted.model and type(model) is str:
            released = jsonedit.set_model(payload, wanted.model_json)
        keep = self._keep_logprobs
        if keep is not None:
            return without_logprobs(released, keep)
        if self._lessons and not wanted.lorax and not self.strange:
            self._template = learn(payload, released, chunk) or self._template
            # A stream whose chunks differ in more than their text is not worth learning from for ever.
            self._lessons -= self._template is not None
        return released
