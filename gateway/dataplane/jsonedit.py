"""Change one top-level string of a JSON object and leave every other byte as it came.

The gateway rewrites `model` and nothing else, so that unknown fields, number spellings and white space pass untouched.
Finds keys by parsing structure, never by searching text: JSON-looking text inside a prompt is not a key.
"""

import re

import orjson

# A whole string, or one structural character: enough to follow nesting without being fooled by quoted text.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)
_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)


def set_model(body: bytes, model: bytes) -> bytes:
    """Replace the value of the top-level key `model` (a string) by the encoded JSON string `model`.

    `body` must be a JSON object that was parsed before. A key given twice is replaced twice, so that no reader that takes
    the first sees another model than a reader that takes the last. Without the key, `body` is returned unchanged.
    """
    # One occurrence of "model" with its quotes, and no escape that could spell one of its letters: that one is the key.
    if body.count(b'"model"') == 1 and b"\\u006" not in body:
        found = _MODEL.search(body)
        if found is not None:
            start, end = found.span(1)
            return body[:start] + model + body[end:]
    return _set_every(body, b"model", model)


def _set_every(body: bytes, key: bytes, value: bytes) -> bytes:
    pieces, copied, depth, position = [], 0, 0, 0
    while (token := _TOKEN.search(body, position)) is not None:
        text, position = token.group(), token.end()
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and orjson.loads(text).encode() == key:
            found = _VALUE.match(body, position)
            if found is not None:
                start, position = found.span(1)
                pieces += [body[copied:start], value]
                copied = position
    return b"".join(pieces) + body[copied:] if pieces else body


def append_member(body: bytes, member: bytes) -> bytes:
    """Add `member`, an encoded `"key":value`, as the last member of the non-empty JSON object `body`."""
    end = body.rindex(b"}")
    return body[:end] + b"," + member + b"}"
