"""JSON as servers write it, where the standard refuses it: NaN, Infinity, half of a surrogate pair, bytes that are no UTF-8,
bare control characters in texts, a byte order mark.

The bytes pass to the client as they came; this is for whoever must look inside. Such an answer is `strange`: it is not taken
for more than it says, and nobody calls the server ill for it.
"""

import json
from typing import Any

import orjson

from graduand.gateway.model import bounds

# Whole numbers as JSON can be written here; a longer one is read as a fraction, as everybody else does.
LEAST, MOST, LONGEST = -(2**63), 2**64 - 1, 10**300
# How deep a value may be for readers, who walk it and write it again. Nobody's answer is; json and orjson go further.
DEEPEST = 100


class Unreadable(ValueError):
    """It is no JSON, however it is read."""


def loads(data: bytes) -> tuple[Any, bool]:
    """The value, and whether it is strange; raise Unreadable. Texts may hold half pairs: see `mended`.

    >>> loads(b'{"a": 1}'), loads(b'[Infinity]')
    (({'a': 1}, False), ([inf], True))
    """
    try:
        bounds.check_answer(data)
        return orjson.loads(data), False
    except bounds.TooManyParts as many:
        raise Unreadable(str(many)) from many
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8-sig", "replace"), strict=False), True
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def read(text: str) -> Any:
    r"""The value of a text that was kept, mended; raise Unreadable, also if it is nested deeper than DEEPEST.

    >>> read('[NaN, "\\ud83d"]')
    [None, '�']
    """
    value, strange = loads(text.encode("utf-8", "surrogatepass"))
    if strange:
        value = orjson.loads(encoded(value))
    if text.count("[") + text.count("{") > DEEPEST and _deeper(value, DEEPEST):
        raise Unreadable("it is nested too deeply")
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in (one if isinstance(one, list) else one.values())
        ]
        if not level:
            return False
    return True


def mended(text: str) -> str:
    r"""The text with half pairs that came one after the other joined, and others replaced.

    >>> mended("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"
    True
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended_all(value: Any) -> Any:
    """Every text and whole number of a value mended; raise Unreadable if it is nested too deeply to be walked."""
    try:
        return _mended(value)
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error


def encoded(value: Any) -> bytes:
    """The value as JSON by the standard: no half pairs, null for what is no number; raise Unreadable if it is too deep."""
    try:
        return orjson.dumps(mended_all(value))
    except (
        TypeError
    ) as error:  # orjson reads deeper nesting than it writes; or an integer that is longer than it writes
        raise Unreadable(str(error)) from error


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {mended(key): _mended(one) for key, one in value.items()}
    if isinstance(value, int) and not LEAST <= value <= MOST:
        return float(value) if abs(value) < LONGEST else None
    return value
