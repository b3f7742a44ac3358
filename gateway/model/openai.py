"""OpenAI's wire shapes that Graduand itself writes: errors, ids, answers and stream chunks.

Source: OpenAI's API reference (chat completions, completions, models, errors). Only plain data; no I/O.
"""

import time
import uuid
from typing import Any

import orjson

Json = dict[str, Any]


def error_body(message: str, kind: str, *, param: str | None = None, code: str | int | None = None) -> bytes:
    """OpenAI's error object, encoded: `{"error": {"message", "type", "param", "code"}}`."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def new_id(prefix: str) -> str:
    """A fresh id in OpenAI's style, such as `chatcmpl-6f0c…`."""
    return f"{prefix}-{uuid.uuid4().hex}"


def usage(prompt_tokens: int, completion_tokens: int) -> Json:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def model_list(models: list[Json]) -> Json:
    """The body of `GET /v1/models`; each entry gets the fields that OpenAI's client requires."""
    created = int(time.time())
    return {
        "object": "list",
        "data": [{"object": "model", "created": created, "owned_by": "graduand", **model} for model in models],
    }


def sse(data: Json) -> bytes:
    """One server-sent event carrying `data`."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


SSE_DONE = b"data: [DONE]\n\n"
