"""Anthropic's `/v1/messages/count_tokens`: exact or refused.

Claude counts for itself. A model on vLLM is counted by its server's `/tokenize`, with the very messages and tools that it would
be sent; pictures have no tokens there, so requests with them are refused, as is whatever no other server can count.
"""

from dataclasses import replace
from typing import Any

import orjson

from graduand.gateway.dataplane.dialects import jsonedit, messages, upstream_chat
from graduand.gateway.dataplane.dialects.dialect import Addressee, Reader, Sending, Whole
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.model import record

Json = dict[str, Any]

TOKENIZE = "/tokenize"
FREE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class CountTokens(messages.Messages):
    """The dialect."""

    def parse(self, body: bytes) -> Json:
        return messages.parse(body)

    def streams(self, data: Json) -> bool:
        return False

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        if to.anthropic:
            return Sending(record.COUNT_TOKENS, jsonedit.set_model(body, to.model_json))
        if to.kind != "vllm":
            raise _refused("model", f"is answered by an upstream of kind {to.kind}, which cannot count tokens exactly")
        chat = messages.chat_of({**data, "max_tokens": 1}, to)
        for at, message in enumerate(chat["messages"]):
            content = message.get("content")
            if isinstance(content, list) and any(part["type"] != "text" for part in content):
                raise _refused(
                    f"messages[{at}].content", "holds more than text, which this model's server cannot count"
                )
        known = ("messages", "tools", "continue_final_message", "add_generation_prompt")
        asked = {"model": to.model, **{name: chat[name] for name in known if name in chat}}
        return Sending(TOKENIZE, upstream_chat.request_body(asked))

    def scorable(self, data: Json, to: Addressee) -> bool:
        return False

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as broken:
            raise UpstreamFailed(failures.told(failures.UNREADABLE, body)) from broken
        counted = data.get("input_tokens" if by.anthropic else "count") if type(data) is dict else None
        if type(counted) is not int:
            failure = failures.from_error_event(data) or failures.MALFORMED
            raise UpstreamFailed(failures.told(failure, body))
        shown = body if by.anthropic else orjson.dumps({"input_tokens": counted})
        return Whole(shown, {"model": by.model, "usage": FREE, "input_tokens": counted})

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        return whole.encoded

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        raise UpstreamFailed(failures.MALFORMED)  # nobody asked for a stream


def _refused(field: str, why: str) -> UpstreamFailed:
    """The count of another model would be another number, so nobody else is asked."""
    return UpstreamFailed(replace(failures.untranslatable(field, f"'{field}' {why}"), fall_back=False))


COUNT_TOKENS = CountTokens(record.COUNT_TOKENS)
