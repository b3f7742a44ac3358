"""The endpoints: what a request must hold, where it goes upstream, and how errors look to its client.

Requests are checked only for what routing needs; everything else is the upstream's to judge and passes untouched. The one
exception are LoRAX's own fields that choose adapters (LORAX_ADAPTERS): a LoRAX server downloads what they name, with the
token that they carry, so a client that could send them would choose what runs on our servers. They are taken out of what
goes to upstreams of kind lorax; the route alone says which adapter answers.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from graduand.gateway.dataplane.dialects import jsonedit, lorax
from graduand.gateway.dataplane.targets import Target
from graduand.gateway.errors import RequestError

Json = dict[str, Any]

INCLUDE_USAGE = b'"stream_options":{"include_usage":true}'
# The last holds the others in LoRAX's own requests.
LORAX_ADAPTERS = frozenset(
    ("adapter_id", "adapter_source", "adapter_parameters", "merged_adapters", "api_token", "parameters")
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its path and the field without which it makes no sense.

    Paths of OpenAI's endpoints are those below an upstream's base URL; `lorax` marks LoRAX's own, which are translated.
    """

    path: str
    needs: str
    streams: bool
    lorax: bool = False


CHAT = Endpoint("/chat/completions", "messages", True)
COMPLETIONS = Endpoint("/completions", "prompt", True)
EMBEDDINGS = Endpoint("/embeddings", "input", False)
GENERATE = Endpoint("/generate", "inputs", False, lorax=True)
GENERATE_STREAM = Endpoint("/generate_stream", "inputs", True, lorax=True)
GENERATE_EITHER = Endpoint("/", "inputs", True, lorax=True)
ENDPOINTS = {
    **{b"/v1" + one.path.encode(): one for one in (CHAT, COMPLETIONS, EMBEDDINGS)},
    **{one.path.encode(): one for one in (GENERATE, GENERATE_STREAM, GENERATE_EITHER)},
}


def parse(body: bytes, endpoint: Endpoint) -> Json:
    """The request as JSON data; raise RequestError if it cannot be routed."""
    if endpoint.lorax:
        return lorax.parse(body, stream=None if endpoint is GENERATE_EITHER else endpoint.streams)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the body is not JSON: {error}", code="invalid_json") from error
    if type(data) is not dict:
        raise RequestError(400, f"the body must be a JSON object, not {_kind(data)}", code="invalid_json")
    model = data.get("model")
    if type(model) is not str or not model:
        raise _wrong(data, "model", "a string: the name of a route")
    needed = data.get(endpoint.needs)
    if endpoint is CHAT:
        if type(needed) is not list or not needed or not all(type(message) is dict for message in needed):
            raise _wrong(data, "messages", "a list of at least one message object")
        for at, message in enumerate(needed):
            if type(message.get("role")) is not str:
                raise RequestError(
                    400, f"messages[{at}].role is missing or not a string; give one such as 'user'",
                    param=f"messages.[{at}].role", code="invalid_type",
                )  # fmt: skip
    elif type(needed) not in (str, list) or not needed:
        raise _wrong(data, endpoint.needs, "a string or a list")
    if data.get("stream") is not None and type(data["stream"]) is not bool:
        raise _wrong(data, "stream", "true or false")
    options = data.get("stream_options")
    if options is not None and type(options) is not dict:
        raise _wrong(data, "stream_options", "an object")
    return data


def keeps_usage(data: Json) -> bool:
    """Whether the client itself asked for the usage chunk of a stream."""
    options = data.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True


def upstream_request(body: bytes, data: Json, endpoint: Endpoint, target: Target) -> tuple[str, bytes]:
    """The path and body that put a client's request to `target`: the client's bytes with another model.

    A stream asks for its usage chunk, so that its tokens are counted exactly.
    """
    if endpoint.lorax:
        return lorax.translated(data, target)
    # Also where the last "model" is right already: the key may be there twice, and an upstream may take the first.
    changed = jsonedit.set_model(body, target.model_json)
    if target.lorax:
        changed = _for_lorax(changed, data)
    if data.get("stream") is not True or not endpoint.streams or keeps_usage(data):
        return endpoint.path, changed
    if "stream_options" not in data:
        return endpoint.path, jsonedit.append_member(changed, INCLUDE_USAGE)
    options = jsonedit.value_of(changed, "stream_options") if data["stream_options"] else None
    return endpoint.path, jsonedit.set_value(
        changed, "stream_options", jsonedit.set_member(options or b"{}", "include_usage", b"true")
    )


def _for_lorax(body: bytes, data: Json) -> bytes:
    if not LORAX_ADAPTERS.isdisjoint(data):
        body = jsonedit.without(body, LORAX_ADAPTERS)
    if type(data.get("stop")) is str:
        body = jsonedit.set_value(body, "stop", orjson.dumps([data["stop"]]))  # LoRAX takes lists only
    return body


def _wrong(data: Json, field: str, what: str) -> RequestError:
    if field in data:
        message, code = f"'{field}' must be {what}; it is {_kind(data[field])}", "invalid_type"
    else:
        message, code = f"'{field}' is missing; it must be {what}", "missing_required_parameter"
    return RequestError(400, message, param=field, code=code)


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
