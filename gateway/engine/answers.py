"""Answers of the OpenAI dialect, field by field as vLLM writes them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from graduand.gateway.engine.sampling import Pick
from graduand.gateway.engine.scheduler import Event
from graduand.gateway.model import openai

Json = dict[str, Any]
Decode = Callable[[int], str]


class ChatAnswer:
    """Builds one chat completion, whole or in chunks."""

    def __init__(self, model: str, decode: Decode) -> None:
        self._head = {"id": openai.new_id("chatcmpl"), "created": int(time.time()), "model": model}
        self._decode = decode

    def whole(self, choices: Sequence[Sequence[Event]], usage: Json) -> Json:
        """The answer to a request that does not stream, from all the events of each choice."""
        return {
            "object": "chat.completion",
            **self._head,
            "choices": [self._choice(index, events) for index, events in enumerate(choices)],
            "usage": usage,
        }

    def _choice(self, index: int, events: Sequence[Event]) -> Json:
        return {
            "index": index,
            "message": {"role": "assistant", "content": "".join(event.text for event in events)},
            "logprobs": self._logprobs([event.pick for event in events]),
            "finish_reason": events[-1].finish_reason,
            "stop_reason": events[-1].stop_reason,
        }

    def openings(self, choices: int) -> list[Json]:
        """The first chunk of each choice: the role and no text."""
        delta = {"role": "assistant", "content": ""}
        return [self._chunk([_chat_delta(choice, delta, None)]) for choice in range(choices)]

    def chunk(self, event: Event) -> Json:
        """The chunk for one token."""
        delta = _chat_delta(event.choice, {"content": event.text}, self._logprobs([event.pick]))
        if event.finish_reason is not None:
            delta |= {"finish_reason": event.finish_reason, "stop_reason": event.stop_reason}
        return self._chunk([delta])

    def closing(self, usage: Json) -> Json:
        """The last chunk, with the usage."""
        return self._chunk([]) | {"usage": usage}

    def _chunk(self, choices: list[Json]) -> Json:
        return {"object": "chat.completion.chunk", **self._head, "choices": choices}

    def _logprobs(self, picks: Sequence[Pick | None]) -> Json | None:
        reported = [pick for pick in picks if pick is not None and pick.logprob is not None]
        if not reported:
            return None
        return {"content": [self._token(pick) for pick in reported]}

    def _token(self, pick: Pick) -> Json:
        # The chosen token comes first and, unless it is among the likeliest, takes the last one's place.
        count = pick.asked
        return self._entry(pick.token, pick.logprob) | {
            "top_logprobs": [self._entry(token, logprob) for token, logprob in pick.top[:count]]
        }

    def _entry(self, token: int, logprob: float | None) -> Json:
        text = self._decode(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _chat_delta(choice: int, delta: Json, logprobs: Json | None) -> Json:
    return {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": None}


class CompletionAnswer:
    """Builds one text completion, whole or in chunks."""

    def __init__(self, model: str, decode: Decode) -> None:
        self._head = {
            "id": openai.new_id("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._decode = decode
        self._offsets: dict[int, int] = {}
        self._echoes: dict[int, str] = {}

    def echo(self, prompts: Sequence[str]) -> None:
        """Put each choice's prompt before its text."""
        self._echoes = dict(enumerate(prompts))

    def openings(self, choices: int) -> list[Json]:
        """Nothing: text completions begin with the first token."""
        return []

    def whole(self, choices: Sequence[Sequence[Event]], usage: Json) -> Json:
        """The answer to a request that does not stream, from all the events of each choice."""
        return {
            **self._head,
            "choices": [self._choice(index, events) for index, events in enumerate(choices)],
            "usage": usage,
        }

    def chunk(self, event: Event) -> Json:
        """The chunk for one token."""
        return {**self._head, "choices": [self._choice(event.choice, [event])]}

    def closing(self, usage: Json) -> Json:
        """The last chunk, with the usage."""
        return {**self._head, "choices": [], "usage": usage}

    def _choice(self, index: int, events: Sequence[Event]) -> Json:
        return {
            "index": index,
            "text": self._echoes.pop(index, "") + "".join(event.text for event in events),
            "logprobs": self._logprobs(index, [event.pick for event in events]),
            "finish_reason": events[-1].finish_reason,
            "stop_reason": events[-1].stop_reason,
        }

    def _logprobs(self, index: int, picks: Sequence[Pick | None]) -> Json | None:
        reported = [pick for pick in picks if pick is not None and pick.logprob is not None]
        if not reported:
            return None
        tokens = [self._decode(pick.token) for pick in reported]
        return {
            "text_offset": [self._offset(index, token) for token in tokens],
            "token_logprobs": [pick.logprob for pick in reported],
            "tokens": tokens,
            "top_logprobs": [{self._decode(token): logprob for token, logprob in pick.top} for pick in reported],
        }

    def _offset(self, index: int, token: str) -> int:
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(token)
        return offset
