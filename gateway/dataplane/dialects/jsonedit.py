"""Change single top-level members of a JSON object and leave every other byte as it came.

The gateway rewrites `model` and little else, so that unknown fields, number spellings and white space pass untouched.
Finds keys by parsing structure, never by searching text: JSON-looking text inside a prompt is not a key. Every function
takes an object that was parsed before; a key given twice, or spelled with escapes, is treated each time it is there, so
that no reader that takes the first sees anything else than a reader that takes the last.
"""

import re
from typing import Final, NamedTuple

import orjson

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY: Final = re.compile(rb"[\s,]*(%b)\s*:\s*" % _STRING, re.DOTALL)
_PLAIN: Final = re.compile(rb'%b|[^\s,{}\[\]"]+' % _STRING, re.DOTALL)
# A whole string, or one structural character: enough to follow nesting without being fooled by quoted text.
_TOKEN: Final = re.compile(rb"%b|[{}\[\]]" % _STRING, re.DOTALL)
_MODEL: Final = re.compile(rb'"model"\s*:\s*(%b)' % _STRING, re.DOTALL)


class Member(NamedTuple):
    """One member of an object: its key, and where key and value stand in the bytes."""

    key: str
    start: int
    value_start: int
    end: int


def set_model(body: bytes, model: bytes) -> bytes:
    """Replace the value of the key `model` by the encoded JSON `model`; without the key, `body` stays as it is."""
    # One occurrence of "model" with its quotes, and no escape that could spell one of its letters: that one is the key.
    # To look for one character is ten times as quick as for several, and many a prompt has no escape at all.
    if body.count(b'"model"') == 1 and (b"\\" not in body or b"\\u006" not in body):
        found = _MODEL.search(body)
        if found is not None:
            start, end = found.span(1)
            return body[:start] + model + body[end:]
    return set_value(body, "model", model)


def set_value(body: bytes, key: str, value: bytes) -> bytes:
    """Replace the value of `key` by the encoded JSON `value`; without the key, `body` stays as it is."""
    pieces, copied = [], 0
    for member in members(body):
        if member.key == key:
            pieces += [body[copied : member.value_start], value]
            copied = member.end
    return b"".join(pieces) + body[copied:] if pieces else body


def set_member(body: bytes, key: str, value: bytes) -> bytes:
    """Replace the value of `key`, or add the member if it is not there."""
    there = members(body)
    if any(member.key == key for member in there):
        return set_value(body, key, value)
    added = b"%b:%b" % (orjson.dumps(key), value)
    return append_member(body, added) if there else b"{%b}" % added


def value_of(body: bytes, key: str) -> bytes | None:
    """The bytes of the value of `key` (the last, if given twice); None without the key."""
    found = None
    for member in members(body):
        if member.key == key:
            found = body[member.value_start : member.end]
    return found


def without(body: bytes, keys: frozenset[str]) -> bytes:
    """The object without the members of these `keys`; white space between members is not kept if one is taken out."""
    there = members(body)
    kept = [body[member.start : member.end] for member in there if member.key not in keys]
    return body if len(kept) == len(there) else b"{%b}" % b",".join(kept)


def append_member(body: bytes, member: bytes) -> bytes:
    """Add `member`, an encoded `"key":value`, as the last member of the non-empty JSON object `body`."""
    end = body.rindex(b"}")
    return body[:end] + b"," + member + b"}"


def members(body: bytes) -> list[Member]:
    """The members of the object, in their order."""
    found = []
    position = body.index(b"{") + 1
    while (key := _KEY.match(body, position)) is not None:
        position = _end(body, key.end())
        found.append(Member(orjson.loads(key.group(1)), key.start(1), key.end(), position))
    return found


def _end(body: bytes, start: int) -> int:
    """Where the value that begins at `start` ends."""
    plain = _PLAIN.match(body, start)
    if plain is not None:
        return plain.end()
    depth, position = 0, start
    while True:
        token = _TOKEN.search(body, position)
        assert token is not None  # the object was parsed before
        text, position = token.group(), token.end()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
            if not depth:
                return position
