"""LoRAX's native API towards clients, so that lorax-client can point at the gateway: `/`, `/generate`, `/generate_stream`.

`adapter_id` names a route. A request is translated to OpenAI's API for whichever arm answers, and the answer back: as raw
completion where the upstream takes prompts (vLLM, LoRAX), as one user message where it only chats (OpenAI). OpenAI's API
has no token ids, so a token's `id` is -1, and its `logprob` is 0 where the upstream gave none.
Source: LoRAX's router (routes, parameters, `error_type`s) and lorax-client's types.
"""

from typing import Any, NamedTuple

import orjson

from graduand.gateway.dataplane.dialects import answers
from graduand.gateway.dataplane.dialects.answers import StreamReader
from graduand.gateway.dataplane.dialects.assembly import Assembly
from graduand.gateway.dataplane.dialects.dialect import Addressee, Reader, Sending, Whole
from graduand.gateway.dataplane.dialects.openai import FORWARDS, json_of, one_choice, openai_format
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.errors import RequestError
from graduand.gateway.model import lenient

Json = dict[str, Any]


class Known(NamedTuple):
    """What a parameter is called at upstreams of kind lorax (its OpenAI routes), at vLLM, and at those that only chat; empty:
    there is none, and it is taken out."""

    lorax: str = ""
    vllm: str = ""
    openai: str = ""


# LoRAX's GenerateParameters, all of them. What is not here is no parameter of it and is taken out too.
PARAMETERS: dict[str, Known] = {
    "max_new_tokens": Known("max_tokens", "max_tokens", "max_tokens"),
    "temperature": Known("temperature", "temperature", "temperature"),
    "top_p": Known("top_p", "top_p", "top_p"),
    "seed": Known("seed", "seed", "seed"),
    "stop": Known("stop", "stop", "stop"),
    "top_k": Known("top_k", "top_k"),
    "repetition_penalty": Known("repetition_penalty", "repetition_penalty"),
    "ignore_eos_token": Known("ignore_eos_token", "ignore_eos"),
    "response_format": Known("response_format", "response_format", "response_format"),
    "best_of": Known(),
    "typical_p": Known(),
    "truncate": Known(),
    "watermark": Known(),
    "return_k_alternatives": Known(),
    "decoder_input_details": Known(),
    "apply_chat_template": Known(),
    "adapter_source": Known(),
    "adapter_parameters": Known(),
    "api_token": Known(),
}
# What the gateway itself follows: the route, the answer's form, and whether chance is wanted.
FOLLOWED = ("adapter_id", "merged_adapters", "details", "return_full_text", "do_sample")
FINISH = {"length": "length", "stop": "eos_token"}


# What an answer raises that has `choices` but is not made as OpenAI's API says.
STRANGE = (AttributeError, LookupError, TypeError)


class Lorax:
    """The dialect at one of its paths. `stream`: whether it answers with a stream (None: as the request says)."""

    def __init__(self, endpoint: str, *, stream: bool | None) -> None:
        self.endpoint = endpoint
        self.forwards: tuple[bytes, ...] = FORWARDS
        self._stream = stream

    def credential(self, headers: dict[bytes, bytes]) -> bytes:
        return headers.get(b"authorization", b"")

    def parse(self, body: bytes) -> Json:
        return parse(body, stream=self._stream)

    def streams(self, data: Json) -> bool:
        return data.get("stream") is True

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        return translated(data, to)

    def scorable(self, data: Json, to: Addressee) -> bool:
        return False

    def watchable(self, data: Json) -> bool:
        return one_choice(data) and data.get("echo") is not True

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        return answers.whole(body, headers, by)

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        return rendered(whole.form, data, listed=self._stream is None)

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        return LoraxReader(by, data)

    def error(self, body: bytes, status: int) -> bytes:
        return error(body, status)

    def error_event(self, body: bytes, events: int) -> bytes:
        return b"data:" + error(body, 500) + b"\n\n"


class LoraxReader(StreamReader):
    """Writes LoRAX's token events in place of OpenAI's chunks."""

    __slots__ = ("_data",)

    def __init__(self, by: Addressee, data: Json) -> None:
        super().__init__(by, keep_usage=False)
        self._data = data

    def feed(self, data: bytes) -> bytes:
        chunks = super().feed(data)
        try:
            return events(chunks)
        except STRANGE:
            self.failure = failures.NO_ANSWER
            return b""

    def finish(self) -> bytes:
        super().finish()
        try:
            return last_event(self.assembly, self._data)
        except STRANGE as strange:
            raise UpstreamFailed(failures.NO_ANSWER) from strange


def parse(body: bytes, *, stream: bool | None) -> Json:
    """The request as JSON data with `model` (the route) and `stream` set; `stream` None leaves that to the body."""
    data = json_of(body, 422)
    inputs = data.get("inputs") if type(data) is dict else None
    if type(inputs) is not str or not inputs:
        raise RequestError(422, "'inputs' must be a string that is not empty", param="inputs", code="invalid_type")
    parameters = data.get("parameters") or {}
    if type(parameters) is not dict:
        raise RequestError(422, "'parameters' must be an object", param="parameters", code="invalid_type")
    if parameters.get("merged_adapters") is not None:
        raise RequestError(
            422, "adapters cannot be merged through the gateway, which serves routes; merge them and make a route of it",
            param="parameters.merged_adapters", code="unsupported_parameter",
        )  # fmt: skip
    adapter = parameters.get("adapter_id")
    if type(adapter) is not str or not adapter:
        raise RequestError(
            422, "'parameters.adapter_id' must be a string: the name of a route", param="parameters.adapter_id",
            code="invalid_type",
        )  # fmt: skip
    wants = bool(data.get("stream")) if stream is None else stream
    return {**data, "parameters": parameters, "model": adapter, "prompt": inputs, "stream": wants}


def translated(data: Json, to: Addressee) -> Sending:
    """What puts the request to `to`."""
    if to.anthropic:
        raise UpstreamFailed(failures.untranslatable("inputs", "is LoRAX's own API, which does not reach Anthropic's"))
    parameters, chats = data["parameters"], to.kind == "openai"
    body: Json = {}
    for key, known in PARAMETERS.items():
        name = known.lorax if to.lorax else known.openai if chats else known.vllm
        if name and parameters.get(key) not in (None, [], False):
            body[name] = parameters[key] if key != "response_format" or to.lorax else openai_format(parameters[key])
    if not parameters.get("do_sample") and "temperature" not in body:
        body["temperature"] = 0
    if data["stream"]:
        body["stream"] = True
        if to.adds_usage:
            body["stream_options"] = {"include_usage": True}
    if chats:
        message = {"role": "user", "content": data["prompt"]}
        asking: Json = {"logprobs": True} if parameters.get("details") else {}
        asked = {"model": to.model, "messages": [message], **body, **asking}
        return Sending("/chat/completions", orjson.dumps(asked))
    extra: Json = {"logprobs": 1} if parameters.get("details") else {}
    return Sending("/completions", orjson.dumps({"model": to.model, "prompt": data["prompt"], **body, **extra}))


def rendered(answer: Json, data: Json, *, listed: bool) -> bytes:
    """LoRAX's answer made of OpenAI's; `listed`: as the one element of a list, which POST / gives."""
    try:
        choice = answer["choices"][0]
        text = _text(choice)
        result: Json = {"generated_text": data["prompt"] + text if data["parameters"].get("return_full_text") else text}
        if data["parameters"].get("details"):
            result["details"] = _details(choice, answer.get("usage"))
            result["details"] |= {"prefill": [], "tokens": _tokens(choice)}
        return orjson.dumps([result] if listed else result)
    except STRANGE as strange:
        raise UpstreamFailed(failures.NO_ANSWER) from strange


def error(body: bytes, status: int) -> bytes:
    """LoRAX's error object made of OpenAI's."""
    data = orjson.loads(body)
    inner = data.get("error") if type(data) is dict else None
    message = inner.get("message") if type(inner) is dict else inner
    kind = "overloaded" if status == 429 else "generation" if status >= 500 else "validation"
    return orjson.dumps({"error": str(message), "error_type": kind})


def events(block: bytes) -> bytes:
    """LoRAX's token events made of OpenAI's chunks, framed as they are in `block`."""
    out = []
    for line in block.split(b"\n\n"):
        chunk = lenient.loads(line[6:])[0] if line.startswith(b"data: {") else None
        for choice in (chunk or {}).get("choices") or []:
            text = _text(choice)
            if text:
                tokens = _tokens(choice)
                logprob = tokens[0]["logprob"] if len(tokens) == 1 else 0.0
                out.append(_event(_token(lenient.mended(text), logprob, special=False)))
    return b"".join(out)


def last_event(assembly: Assembly, data: Json) -> bytes:
    """The event that ends a stream: the whole text and the details. LoRAX sends no [DONE], and its client breaks on one."""
    answer = assembly.answer()
    choice = answer["choices"][0]
    text = _text(choice)
    whole_text = data["prompt"] + text if data["parameters"].get("return_full_text") else text
    details = _details(choice, answer.get("usage"))
    return _event(_token("", 0.0, special=True), generated_text=whole_text, details=details)


def _event(token: Json, *, generated_text: str | None = None, details: Json | None = None) -> bytes:
    event = {"token": token, "generated_text": generated_text, "details": details}
    return b"data:" + lenient.encoded(event) + b"\n\n"


def _token(text: str, logprob: float, *, special: bool) -> Json:
    return {"id": -1, "text": text, "logprob": logprob, "special": special}


def _text(choice: Json) -> str:
    message = choice.get("message") or choice.get("delta") or {}
    return str(choice.get("text") or message.get("content") or "")


def _tokens(choice: Json) -> list[Json]:
    logprobs = choice.get("logprobs") or {}
    if logprobs.get("content"):
        return [_token(one["token"], one.get("logprob") or 0.0, special=False) for one in logprobs["content"]]
    pairs = zip(logprobs.get("tokens") or [], logprobs.get("token_logprobs") or [], strict=False)
    return [_token(text, value or 0.0, special=False) for text, value in pairs]


def _details(choice: Json, usage: Any) -> Json:
    used = usage if type(usage) is dict else {}
    reason = choice.get("finish_reason") or "stop"
    stopped = type(choice.get("stop_reason")) is str
    return {
        "finish_reason": "stop_sequence" if stopped else FINISH.get(reason, "eos_token"),
        "prompt_tokens": used.get("prompt_tokens") or 0,
        "generated_tokens": used.get("completion_tokens") or 0,
        "seed": None,
    }


GENERATE = Lorax("/generate", stream=False)
GENERATE_STREAM = Lorax("/generate_stream", stream=True)
GENERATE_EITHER = Lorax("/", stream=None)
