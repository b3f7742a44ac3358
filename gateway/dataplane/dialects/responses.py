"""OpenAI's `/v1/responses`: passed on to upstreams that speak it, put as chat to those that speak chat only.

What a chat model cannot be asked (tools that run at the vendor, say) is refused by name, or goes to the route's teacher if that
one can be asked. Nothing is kept between requests: what would need that is refused whoever answers, also because what the
upstream keeps belongs to the gateway's account and not to one of its clients.
Source: OpenAI's API reference (responses) and openai-python's types.
"""

from typing import Any, Final

import orjson

from graduand.gateway.dataplane.dialects import answers, jsonedit, response_events, response_items, upstream_chat
from graduand.gateway.dataplane.dialects.dialect import Addressee, Reader, Sending, Whole
from graduand.gateway.dataplane.dialects.openai import LORAX_ADAPTERS, Json, OpenAI, some_text, wrong
from graduand.gateway.dataplane.dialects.response_events import PassingReader, WritingReader
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.errors import RequestError
from graduand.gateway.model import lenient
from graduand.gateway.model.forms import responses
from graduand.gateway.model.forms.untranslatable import Untranslatable

NOT_KEPT: Final = "no response is kept here; send the whole conversation as 'input'"
REFUSED: Final = {
    "previous_response_id": NOT_KEPT,
    "conversation": NOT_KEPT,
    "background": "no response is kept here; wait for the answer, or stream it",
}
# Of the client's, and of no effect on the answer: chat upstreams take it only for what they keep themselves.
OURS: Final = ("metadata",)
UNSUPPORTED: Final = "unsupported_parameter"


class Responses(OpenAI):
    """The dialect."""

    def check(self, data: Json) -> None:
        for name, why in REFUSED.items():
            if data.get(name):
                raise RequestError(400, f"'{name}' is not supported: {why}", param=name, code=UNSUPPORTED)
        if data.get("prompt") is None or data.get("input") is not None:
            some_text(data, "input")
        given = data.get("input")
        for at, item in enumerate(given if type(given) is list else []):
            if type(item) is not dict:
                raise wrong({f"input[{at}]": item}, f"input[{at}]", "an item object")
            if item.get("type") == "item_reference" or (item.get("type") is None and "role" not in item):
                text = f"input[{at}] refers to an item that is kept elsewhere; {NOT_KEPT}"
                raise RequestError(400, text, param=f"input[{at}]", code=UNSUPPORTED)

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        """The client's bytes with another model, or the chat request that asks the same."""
        if to.responses:
            return Sending(self.endpoint, jsonedit.set_model(body, to.model_json))
        try:
            chat = responses.chat_of(data)
        except Untranslatable as error:
            raise upstream_chat.untranslatable(error) from error
        for name in OURS:
            chat.pop(name, None)
        if to.lorax:
            chat = {name: value for name, value in chat.items() if name not in LORAX_ADAPTERS}
        return upstream_chat.sending(chat, to, scored=scored)

    def scorable(self, data: Json, to: Addressee) -> bool:
        return not (to.responses or to.lorax or to.anthropic)

    def watchable(self, data: Json) -> bool:
        return True

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        if by.responses:
            return _passed(body, by)
        return Written(upstream_chat.whole(body, headers, by), by.model)

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        if not isinstance(whole, Written):
            return whole.encoded
        try:
            choice = whole.form["choices"][0]
            output = response_items.items(choice, data)
            begun = response_items.begun(data, whole.asked)
            response = response_items.ended(begun, output, choice.get("finish_reason"), whole.usage)
            return lenient.encoded(response)
        except (*response_events.STRANGE, lenient.Unreadable) as strange:
            raise UpstreamFailed(failures.MALFORMED) from strange

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        if by.responses:
            return PassingReader(by)
        return WritingReader(by, data, upstream_chat.chunks(by))

    def error_event(self, body: bytes, events: int) -> bytes:
        return response_events.error_event(_error(body), events)


class Written(Whole):
    """A chat answer that the client is to see as a response of the model `asked`."""

    __slots__ = ("asked",)

    def __init__(self, chat: Whole, asked: str) -> None:
        super().__init__(chat.encoded, chat.form, chat.queue_ms, strange=chat.strange)
        self.asked = asked


def _passed(body: bytes, by: Addressee) -> Whole:
    """A response of an upstream that speaks this API, named after the model that was asked."""
    data, strange = answers.read(body)
    failure = response_events.failure_of(data, body)
    if failure is not None:
        raise UpstreamFailed(failure)
    if type(data.get("output")) is not list or data.get("status", "completed") not in ("completed", "incomplete"):
        raise UpstreamFailed(failures.told(failures.MALFORMED, body))
    named = body if data.get("model") == by.model else jsonedit.set_member(body, "model", by.model_json)
    return Whole(named, responses.chat_answer(data), strange=strange)


def _error(body: bytes) -> dict[str, Any]:
    data = orjson.loads(body)
    inner = data.get("error") if type(data) is dict else None
    return inner if type(inner) is dict else {"message": str(inner)}


RESPONSES = Responses(responses.ENDPOINT)
