"""JSON as servers write it, where the standard refuses it: NaN, Infinity, half of a surrogate pair, bytes that are no UTF-8.

The bytes pass to the client as they came; this is for whoever must look inside. Such an answer is `strange`: it is not taken
for more than it says, and nobody calls the server ill for it.
"""

import json
from typing import Any

import orjson

from graduand.gateway.dataplane.dialects import bounds


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
    except bounds.TooManyParts as error:
        raise Unreadable(str(error)) from error
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8", "replace")), True
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def mended(text: str) -> str:
    r"""The text with half pairs that came one after the other joined, and others replaced.

    >>> mended("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"
    True
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended_all(value: Any) -> Any:
    """Every text of a value mended; raise Unreadable if it is nested too deeply to be walked."""
    try:
        return _mended(value)
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {mended(key): _mended(one) for key, one in value.items()}
    return value
