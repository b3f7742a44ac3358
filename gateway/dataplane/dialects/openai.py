"""What OpenAI's APIs have in common: what a request must hold, where it goes upstream, and how answers reach the client.

Requests are checked only for what routing needs; everything else is the upstream's to judge and passes untouched. The one
exception are LoRAX's own fields that choose adapters (LORAX_ADAPTERS): a LoRAX server downloads what they name, with the
token that they carry, so a client that could send them would choose what runs on our servers. They are taken out of what
goes to upstreams of kind lorax; the route alone says which adapter answers.
"""

from typing import Any, Final

import orjson

from graduand.gateway.dataplane.dialects import answers, jsonedit
from graduand.gateway.dataplane.dialects.answers import StreamReader
from graduand.gateway.dataplane.dialects.dialect import Addressee, Reader, Sending, Whole
from graduand.gateway.dataplane.http import failures
from graduand.gateway.dataplane.http.failures import UpstreamFailed
from graduand.gateway.errors import RequestError
from graduand.gateway.model import bounds

Json = dict[str, Any]

INCLUDE_USAGE: Final = b'"stream_options":{"include_usage":true}'
# The last holds the others in LoRAX's own requests.
LORAX_ADAPTERS = frozenset(
    ("adapter_id", "adapter_source", "adapter_parameters", "merged_adapters", "api_token", "parameters")
)
FORWARDS: Final = (b"openai-beta",)
# Fields that LoRAX knows by other names only. One that it does not know it ignores, and generation runs to its own end.
LORAX_NAMES = {"max_completion_tokens": "max_tokens", "ignore_eos": "ignore_eos_token"}
# The other way round: what LoRAX's clients write, and vLLM knows by another name.
VLLM_NAMES = {"ignore_eos_token": "ignore_eos"}
RESPONSE_FORMAT: Final = "response_format"


class OpenAI:
    """A dialect whose requests and answers pass as they came but for `model`; its `endpoint` is also the upstream's path.

    Each API says what it adds: what a request must hold (`check`) and how log probabilities are asked for.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.forwards: tuple[bytes, ...] = FORWARDS

    # What differs.

    def check(self, data: Json) -> None:
        """Raise RequestError if the request lacks what this API needs besides `model`."""
        raise NotImplementedError

    def scorable(self, data: Json, to: Addressee) -> bool:
        return False

    def with_logprobs(self, body: bytes, data: Json) -> bytes:
        """The request with enough log probabilities asked for to score its answer."""
        return body

    def logprobs_wanted(self, data: Json) -> int:
        """How many alternatives the client itself asked for; -1 if no log probabilities at all."""
        return -1

    # What is the same.

    def credential(self, headers: dict[bytes, bytes]) -> bytes:
        return headers.get(b"authorization", b"")

    def parse(self, body: bytes) -> Json:
        data = json_of(body, 400)
        if type(data) is not dict:
            raise RequestError(400, f"the body must be a JSON object, not {_kind(data)}", code="invalid_json")
        model = data.get("model")
        if type(model) is not str or not model:
            raise wrong(data, "model", "a string: the name of a route")
        self.check(data)
        if data.get("stream") is not None and type(data["stream"]) is not bool:
            raise wrong(data, "stream", "true or false")
        options = data.get("stream_options")
        if options is not None and type(options) is not dict:
            raise wrong(data, "stream_options", "an object")
        return data

    def streams(self, data: Json) -> bool:
        return data.get("stream") is True

    def sending(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        if to.anthropic:
            raise UpstreamFailed(failures.untranslatable("model", f"Anthropic's API has nothing like {self.endpoint}"))
        return self.passed(body, data, to, scored=scored)

    def passed(self, body: bytes, data: Json, to: Addressee, *, scored: bool) -> Sending:
        """The client's bytes with another model; a stream asks for its usage chunk, so that tokens are counted exactly, unless
        the upstream takes no such thing."""
        # Also where the last "model" is right already: the key may be there twice, and an upstream may take the first.
        changed = jsonedit.set_model(body, to.model_json)
        if to.lorax:
            changed = _for_lorax(changed, data)
        elif RESPONSE_FORMAT in data or "ignore_eos_token" in data:
            changed = _for_others(changed, data, to.kind)
        if to.adds_usage and self.streams(data) and not keeps_usage(data):
            changed = _with_usage(changed, data)
        return Sending(self.endpoint, self.with_logprobs(changed, data) if scored else changed)

    def watchable(self, data: Json) -> bool:
        return one_choice(data) and data.get("echo") is not True

    def whole(self, body: bytes, headers: dict[bytes, bytes], by: Addressee) -> Whole:
        return answers.whole(body, headers, by)

    def shown(self, whole: Whole, data: Json, *, scored: bool) -> bytes:
        return answers.without_logprobs(whole.encoded, self.logprobs_wanted(data)) if scored else whole.encoded

    def reader(self, data: Json, by: Addressee, *, scored: bool) -> Reader:
        return self.chunks(data, by, scored=scored)

    def chunks(self, data: Json, by: Addressee, *, scored: bool) -> StreamReader:
        """What reads OpenAI's own chunks."""
        keep = self.logprobs_wanted(data) if scored else None
        return StreamReader(by, keep_usage=keeps_usage(data), choices=data.get("n"), keep_logprobs=keep)

    def error(self, body: bytes, status: int) -> bytes:
        return body

    def error_event(self, body: bytes, events: int) -> bytes:
        return b"data: %b\n\n" % body


def json_of(body: bytes, refused: int) -> Any:
    """What a request's body says; RequestError with the status `refused` if it is no JSON, or has too many parts."""
    try:
        bounds.check_request(body)
        return orjson.loads(body)
    except bounds.TooManyParts as many:
        raise RequestError(refused, f"the body cannot be read: {many}", code="too_many_parts") from many
    except orjson.JSONDecodeError as error:
        raise RequestError(refused, f"the body is not JSON: {error}", code="invalid_json") from error


def keeps_usage(data: Json) -> bool:
    """Whether the client itself asked for the usage chunk of a stream."""
    options = data.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True


def one_choice(data: Json) -> bool:
    """Whether the answer is to have one choice, which is the only one that was made."""
    return data.get("n") in (None, 1) and data.get("best_of") in (None, 1)


def some_text(data: Json, field: str) -> None:
    """Raise RequestError unless `field` is a string or a list, and not empty."""
    needed = data.get(field)
    if type(needed) not in (str, list) or not needed:
        raise wrong(data, field, "a string or a list")


def wrong(data: Json, field: str, what: str) -> RequestError:
    """The error of a request whose `field` is missing or is not `what` it must be."""
    if field in data:
        message, code = f"'{field}' must be {what}; it is {_kind(data[field])}", "invalid_type"
    else:
        message, code = f"'{field}' is missing; it must be {what}", "missing_required_parameter"
    return RequestError(400, message, param=field, code=code)


def _with_usage(body: bytes, data: Json) -> bytes:
    if "stream_options" not in data:
        return jsonedit.append_member(body, INCLUDE_USAGE)
    options = (jsonedit.value_of(body, "stream_options") if data["stream_options"] else None) or b"{}"
    options = jsonedit.set_member(options, "include_usage", b"true")
    # vLLM tells the usage with every chunk then. The client did not ask for any: by itself, this option does nothing.
    options = jsonedit.set_value(options, "continuous_usage_stats", b"false")
    return jsonedit.set_value(body, "stream_options", options)


def _for_lorax(body: bytes, data: Json) -> bytes:
    if not LORAX_ADAPTERS.isdisjoint(data):
        body = jsonedit.without(body, LORAX_ADAPTERS)
    body = _renamed(body, data, LORAX_NAMES)
    if type(data.get("stop")) is str:
        body = jsonedit.set_value(body, "stop", orjson.dumps([data["stop"]]))  # LoRAX takes lists only
    return _formatted(body, data, lorax_format(data.get(RESPONSE_FORMAT)))


def _for_others(body: bytes, data: Json, kind: str) -> bytes:
    if kind == "vllm":
        body = _renamed(body, data, VLLM_NAMES)
    return _formatted(body, data, openai_format(data.get(RESPONSE_FORMAT)))


def _renamed(body: bytes, data: Json, names: dict[str, str]) -> bytes:
    """The body with each of these fields under its other name as well, where that one is not there."""
    for name, other in names.items():
        if data.get(name) is not None and data.get(other) is None:
            value = jsonedit.value_of(body, name)
            if value is not None:
                body = jsonedit.set_member(body, other, value)
    return body


def _formatted(body: bytes, data: Json, wanted: Any) -> bytes:
    """The body with this `response_format`; None: without one."""
    if RESPONSE_FORMAT not in data or wanted == data[RESPONSE_FORMAT]:
        return body
    if wanted is None:
        return jsonedit.without(body, frozenset((RESPONSE_FORMAT,)))
    return jsonedit.set_value(body, RESPONSE_FORMAT, orjson.dumps(wanted))


def lorax_format(wanted: Any) -> Any:
    """OpenAI's `{type: json_schema, json_schema: {schema: …}}` as LoRAX has it. Plain text is what LoRAX gives without a format,
    and it refuses to be told so: None. Anything else as it came.

    >>> lorax_format({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}})
    {'type': 'json_object', 'schema': {'type': 'object'}}
    """
    if type(wanted) is not dict:
        return wanted
    inner = wanted.get("json_schema")
    schema = inner.get("schema") if type(inner) is dict else None
    if wanted.get("type") == "json_schema" and type(schema) is dict:
        return {"type": "json_object", "schema": schema}
    return None if wanted.get("type") == "text" else wanted


def openai_format(wanted: Any) -> Any:
    """LoRAX's `{type: json_object, schema: …}` as OpenAI has it; anything else as it came."""
    schema = wanted.get("schema") if type(wanted) is dict else None
    if type(schema) is not dict or "json_schema" in wanted:
        return wanted
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    if value is None:
        return "null"
    return ("an empty " + names[type(value)].split()[-1]) if value in ("", []) else names[type(value)]
