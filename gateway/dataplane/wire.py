"""The endpoints: what a request must hold, where it goes upstream, and how errors look to its client.

Requests are checked only for what routing needs; everything else is the upstream's to judge and passes untouched.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dataplane import jsonedit
from gateway.errors import RequestError

Json = dict[str, Any]

INCLUDE_USAGE = b'"stream_options":{"include_usage":true}'


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One OpenAI endpoint: its path below an upstream's base URL and the field without which it makes no sense."""

    path: str
    needs: str
    streams: bool


CHAT = Endpoint("/chat/completions", "messages", True)
COMPLETIONS = Endpoint("/completions", "prompt", True)
EMBEDDINGS = Endpoint("/embeddings", "input", False)
ENDPOINTS = {b"/v1" + one.path.encode(): one for one in (CHAT, COMPLETIONS, EMBEDDINGS)}


def parse(body: bytes, endpoint: Endpoint) -> Json:
    """The request as JSON data; raise RequestError if it cannot be routed."""
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


def upstream_body(body: bytes, data: Json, model: str, *, ask_usage: bool) -> bytes:
    """The client's body with another model; with `ask_usage`, asking for the stream's usage chunk as well."""
    changed = body if data["model"] == model else jsonedit.set_model(body, orjson.dumps(model))
    if not ask_usage:
        return changed
    if data.get("stream_options") is None and "stream_options" not in data:
        return jsonedit.append_member(changed, INCLUDE_USAGE)
    options = {**(data.get("stream_options") or {}), "include_usage": True}
    return orjson.dumps({**orjson.loads(changed), "stream_options": options})


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
