"""Anthropic's `/v1/messages`.

Towards an upstream of kind anthropic a request passes byte for byte but for `model`, and its answer likewise; towards any other
it is made a chat, and the chat's answer a message. The client's key is in `x-api-key`, or in `authorization` as tokens are.
`anthropic-beta` is passed on; `anthropic-version` is the upstream's (gateway.model.outbound).
"""

import time
from typing import Any, Final

import orjson

from graduand.gateway.dataplane.dialects import jsonedit, upstream_chat
from graduand.gateway.dataplane.dialects.claude_events import ClaudeEvents, Event, message_in
from graduand.gateway.dataplane.dialects.dialect import Addressee, Progress, Reader, Sending, Whole
from graduand.gateway.dataplane.dialects.message_events import MessageEvents, event
from graduand.gateway.dataplane.dialects.openai import json_of, wrong
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.errors import RequestError
from graduand.gateway.model import usage
from graduand.gateway.model.forms import claude, messages
from graduand.gateway.model.forms.untranslatable import Untranslatable

Json = dict[str, Any]

FORWARDS: Final = (b"anthropic-beta",)
# What an answer raises that has `choices` but is not made as OpenAI's API says.
STRANGE = (AttributeError, LookupError, TypeError, ValueError)
KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Made(Whole):
    """A chat answer that a message is made of; `named` is the model that was asked."""

    __slots__ = ("named",)

    def __init__(self, whole: Whole, named: str) -> None:
        super().__init__(whole.encoded, whole.form, whole.queue_ms, strange=whole.strange)
        self.named = named


class Messages:
    """The dialect."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.forwards: tuple[bytes, ...] = FORWARDS

    def credential(self, headers: dict[bytes, bytes]) -> bytes:
        return credential(headers)

    def parse(self, body: bytes) -> Json:
        data = parse(body)
        limit = data.get("max_tokens")
        if type(limit) is not int or limit < 0:
            raise wrong(data, "max_tokens", "a whole number, 0 or more")
        if data.get("stream") is not None and type(data["stream"]) is not bool:
            raise wrong(data, "stream", "true or false")
        return data

    def streams(self, data: Json) -> bool:
        return data.get("stream") is True

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        if to.anthropic:
            return Sending(upstream_chat.CLAUDE_PATH, jsonedit.set_model(body, to.model_json))
        return upstream_chat.sending(chat_of(data, to), to, scored=scored)

    def scorable(self, data: Json, to: Addressee) -> bool:
        return not to.lorax and not to.anthropic

    def watchable(self, data: Json) -> bool:
        return True

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        if not by.anthropic:
            return Made(upstream_chat.whole(body, headers, by), by.model)
        message, strange = message_in(body)
        try:
            form = messages.answer_of(message, int(time.time()))
        except Untranslatable as error:
            raise UpstreamFailed(failures.told(failures.UNREADABLE, body)) from error
        named = body if message.get("model") == by.model else jsonedit.set_model(body, by.model_json)
        return Whole(named, form, strange=strange)

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        if not isinstance(whole, Made):
            return whole.encoded
        used = claude.usage_of(whole.usage or estimated(data, whole.form))
        try:
            named = {**whole.form, "model": whole.named}
            message = claude.message_of(named, data.get("stop_sequences"), thinks=thinks(data), used=used)
        except Untranslatable as error:
            raise UpstreamFailed(failures.UNREADABLE) from error
        except STRANGE as strange:
            raise UpstreamFailed(failures.MALFORMED) from strange
        return upstream_chat.encoded(message)

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        return PassedReader(by) if by.anthropic else MessagesReader(data, by)

    def error(self, body: bytes, status: int) -> bytes:
        return error(body, status)

    def error_event(self, body: bytes, events: int) -> bytes:
        return event("error", error(body, 500))


class PassedReader:
    """Lets Anthropic's own events pass; the message is named after the model that was asked."""

    def __init__(self, by: Addressee) -> None:
        self._by = by
        self._events = ClaudeEvents(whole=True)
        self._last = b""

    @property
    def progress(self) -> Progress:
        return self._events

    def feed(self, data: bytes) -> bytes:
        return self._framed(self._events.feed(data))

    def finish(self) -> bytes:
        return self._framed(self._events.finish()) + self._last

    def _framed(self, listed: list[Event]) -> bytes:
        out = []
        for one in listed:
            kind = one.data.get("type")
            shown = event(
                kind if isinstance(kind, str) else "", self._named(one) if kind == "message_start" else one.payload
            )
            if kind == "message_stop":  # the answer's end leaves by `finish`
                self._last = shown
            else:
                out.append(shown)
        return b"".join(out)

    def _named(self, start: Event) -> bytes:
        message = jsonedit.value_of(start.payload, "message")
        if message is None or start.data["message"].get("model") == self._by.model:
            return start.payload
        return jsonedit.set_value(start.payload, "message", jsonedit.set_model(message, self._by.model_json))


class MessagesReader:
    """Writes events in place of chat chunks."""

    def __init__(self, data: Json, by: Addressee) -> None:
        self._data = data
        self._chunks = upstream_chat.chunks(by)
        assembly = self._chunks.progress.assembly
        self._events = MessageEvents(assembly, by.model, data.get("stop_sequences"), thinks=thinks(data))

    @property
    def progress(self) -> Progress:
        return self._chunks.progress

    def feed(self, data: bytes) -> bytes:
        listed = self._chunks.feed(data)
        try:
            return self._events.add(listed)
        except STRANGE:
            self.progress.failure = failures.MALFORMED
            return b""

    def finish(self) -> bytes:
        listed = self._chunks.finish()
        try:
            last = self._events.add(listed)
            told = self.progress.assembly.usage
            used = claude.usage_of(told or estimated(self._data, self.progress.assembly.answer()))
            return last + self._events.end(used)
        except STRANGE as strange:
            raise UpstreamFailed(failures.MALFORMED) from strange


def credential(headers: dict[bytes, bytes]) -> bytes:
    """The client's key as an Authorization header has it."""
    key = headers.get(b"x-api-key")
    return headers.get(b"authorization", b"") if key is None else b"Bearer " + key


def parse(body: bytes) -> Json:
    """A request's body as JSON data with `model` and `messages`; raise RequestError."""
    data = json_of(body, 400)
    if type(data) is not dict:
        raise RequestError(400, "the body must be a JSON object", code="invalid_json")
    model, said = data.get("model"), data.get("messages")
    if type(model) is not str or not model:
        raise wrong(data, "model", "a string: the name of a route")
    if type(said) is not list or not said or not all(type(message) is dict for message in said):
        raise wrong(data, "messages", "a list of at least one message object")
    return data


def chat_of(data: Json, to: Addressee) -> Json:
    """The request as a chat for `to`; raise UpstreamFailed if a chat cannot say it."""
    try:
        chat = messages.chat_of(data)
        if chat["messages"][-1]["role"] != "assistant":
            return chat
        if to.kind != "vllm":
            at = len(data["messages"]) - 1
            raise Untranslatable(
                f"messages[{at}].role", "is 'assistant': only Claude and vLLM go on with a begun answer"
            )
        return {**chat, "continue_final_message": True, "add_generation_prompt": False}
    except Untranslatable as error:
        raise upstream_chat.untranslatable(error) from error


def thinks(data: Json) -> bool:
    """Whether the client wants to see what the model thinks."""
    wanted = data.get("thinking")
    return type(wanted) is dict and wanted.get("type") != "disabled" and wanted.get("display") != "omitted"


def estimated(data: Json, form: Json) -> Json:
    """A usage for a client that must be told one, where the upstream told none."""
    found = usage.of(None, data, form, 0, completed=True)
    return {"prompt_tokens": found.prompt, "completion_tokens": found.completion}


def error(body: bytes, status: int) -> bytes:
    """Anthropic's error object made of OpenAI's."""
    data = orjson.loads(body)
    inner = data.get("error") if type(data) is dict else None
    message = inner.get("message") if type(inner) is dict else inner
    kind = KINDS.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": str(message)}})


MESSAGES = Messages(messages.ENDPOINT)
