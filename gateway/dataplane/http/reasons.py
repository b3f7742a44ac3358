"""What an upstream says of its refusal, whatever its shape: OpenAI's, vLLM's, FastAPI's, Gemini's, Mistral's, LoRAX's, text.

Pure, and for any bytes: what has no shape that is known here has no reason.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from graduand.gateway.model import lenient

MOST_CHARACTERS = 2_000
MOST_BYTES = 16 << 10
MOST_DETAILS = 5
MOST_DEPTH = 6
PAGE = re.compile(r"<!doctype|</?(html|body|head|title|h1)\b", re.I)
# Where servers write why, in any case of letters; of several the first that says something.
NAMES = (
    "message", "msg", "detail", "details", "error_message", "error_description", "errors", "faultstring", "fault",
    "description", "error", "reason", "title",
)  # fmt: skip

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
        data, strange = lenient.loads(body)
        return of_json(lenient.mended_all(data) if strange else data)
    except lenient.Unreadable:
        return Reason(_plain(body))


def of_json(data: Any, depth: int = MOST_DEPTH) -> Reason:
    """The reason in a refusal, or in an event of a stream, that was read as JSON."""
    if isinstance(data, list):  # Gemini's OpenAI-compatible endpoint wraps its error in one
        return next(
            (found for one in data[:MOST_DETAILS] if isinstance(one, dict) and (found := of_json(one, depth)) != NONE),
            NONE,
        )
    if isinstance(data, str):
        return Reason(_text(data))
    if not isinstance(data, dict):
        return NONE
    error = data.get("error")
    if isinstance(error, dict):
        return _of_error(error)
    detail = data.get("detail")
    if depth and isinstance(detail, dict) and isinstance(detail.get("error"), dict):
        return of_json(detail, depth - 1)
    return Reason(_text(data), _word(data.get("error_type") or data.get("code") or data.get("type")))


def _of_error(error: Json) -> Reason:
    code = _word(error.get("code") or error.get("status") or error.get("type"))
    return Reason(_text(error) or code, code, error)


def _text(said: Any, depth: int = MOST_DEPTH) -> str:
    """Text that is no page, of whatever holds it; nothing that is nested deeper than any server writes it."""
    if isinstance(said, str):
        return "" if PAGE.search(said[:MOST_BYTES]) else cut(said, MOST_CHARACTERS)
    if not depth:
        return ""
    if isinstance(said, dict):
        named = {key.lower(): value for key, value in said.items()}
        return next((text for name in NAMES if (text := _of_name(name, named.get(name), depth - 1))), "")
    if not isinstance(said, list):
        return ""
    return cut("; ".join(text for one in said[:MOST_DETAILS] if (text := _detail(one, depth))), MOST_CHARACTERS)


def _of_name(name: str, value: Any, depth: int) -> str:
    if name == "errors" and isinstance(value, dict):  # by the field that is wrong
        value = [{"loc": [field], "msg": text} for field, text in list(value.items())[:MOST_DETAILS]]
    return _text(value, depth)


def _detail(one: Any, depth: int) -> str:
    """One of the things that are wrong, after the place where it is, as FastAPI lists them."""
    where = one.get("loc") if isinstance(one, dict) else None
    place = ".".join(str(part) for part in where if isinstance(part, str | int)) if isinstance(where, list) else ""
    text = "" if isinstance(one, list) else _text(one, depth - 1)
    return f"{place}: {text}" if place and text else text


def _word(value: Any) -> str:
    return value[:100] if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _plain(body: bytes) -> str:
    """A refusal in plain text; none if it is a page, or no text at all."""
    body = body[:MOST_BYTES]
    try:
        text = body.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = body.decode("latin-1").strip()
        if not all(one.isprintable() or one.isspace() for one in text) or 2 * sum(map(str.isascii, text)) <= len(text):
            return ""
    return "" if text.startswith("<") or PAGE.search(text) else cut(text, MOST_CHARACTERS)


def cut(text: str, most: int) -> str:
    """At most so many characters, without a part of a word at the end: half of a key would not be known as one."""
    if len(text) <= most:
        return text
    head = text[: most - 1]
    words = head.rpartition(" ")[0]
    return (words if len(words) > most // 2 else head) + "…"
