"""What an upstream says of its refusal, whatever its shape: OpenAI's, vLLM's, FastAPI's, Gemini's, LoRAX's, plain text.

Pure, and for any bytes: what has no shape that is known here has no reason.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

MOST_CHARACTERS = 2_000
MOST_BYTES = 16 << 10
MOST_DETAILS = 5
MOST_DEPTH = 4

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reason:
    """`message` and `code` in the upstream's words, both empty if it gave none; `error` is its error object, if it has one."""

    message: str = ""
    code: str = ""
    error: Json = field(default_factory=dict)


NONE = Reason()


def of(body: bytes) -> Reason:
    """The reason in a refusal's body.

    >>> of(b'{"detail": [{"loc": ["body", "n"], "msg": "too many"}]}').message
    'body.n: too many'
    >>> of(b'[{"error": {"message": "bad", "status": "INVALID_ARGUMENT"}}]').code
    'INVALID_ARGUMENT'
    >>> of(b"<html>502</html>"), of(b"prompt too long").message
    (Reason(message='', code='', error={}), 'prompt too long')
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Reason(_plain(body))
    if isinstance(data, list):  # Gemini's OpenAI-compatible endpoint wraps its error in one
        return next((found for one in data[:MOST_DETAILS] if (found := _of_json(one)) != NONE), NONE)
    return _of_json(data)


def _of_json(data: Any) -> Reason:
    if isinstance(data, str):
        return Reason(_cut(data))
    if not isinstance(data, dict):
        return NONE
    error = data.get("error")
    if isinstance(error, dict):
        return _of_error(error)
    code = _word(data.get("error_type") or data.get("code") or data.get("type"))
    for name in ("error", "message", "detail", "error_description", "errors", "title"):
        text = _text(data.get(name))
        if text:
            return Reason(text, code)
    return NONE


def _of_error(error: Json) -> Reason:
    text = _text(error.get("message")) or _text(error.get("detail")) or _text(error.get("details"))
    return Reason(text, _word(error.get("code") or error.get("status") or error.get("type")), error)


def _text(said: Any, depth: int = MOST_DEPTH) -> str:
    """Text, or FastAPI's list of what is wrong where; nothing that is nested deeper than any server writes it."""
    if isinstance(said, str):
        return _cut(said)
    if isinstance(said, dict):
        return _text(said.get("message") or said.get("msg") or "", depth - 1) if depth else ""
    if not isinstance(said, list):
        return ""
    return _cut("; ".join(text for one in said[:MOST_DETAILS] if (text := _detail(one, depth))))


def _detail(one: Any, depth: int) -> str:
    if not isinstance(one, dict) or not depth:
        return one if isinstance(one, str) else ""
    where = one.get("loc")
    place = ".".join(str(part) for part in where if isinstance(part, str | int)) if isinstance(where, list) else ""
    text = _text(one.get("msg") or one.get("message") or "", depth - 1)
    return f"{place}: {text}" if place and text else text


def _word(value: Any) -> str:
    return value[:100] if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _plain(body: bytes) -> str:
    """A refusal in plain text; none if it is a page, or no text at all."""
    try:
        text = body[:MOST_BYTES].decode("utf-8").strip()
    except UnicodeDecodeError:
        return ""
    if text.startswith(("<", "{", "[")) or re.search(r"</?(html|body|head|title|h1)\b", text, re.I):
        return ""
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
