"""JSON in the one form that every program writes alike: RFC 8785 (JSON Canonicalization Scheme). Pure.

Invariant: two values have the same bytes if and only if they are the same JSON. So a hash of the bytes stands for the value,
whoever wrote the file and in whatever language. Numbers are doubles, as in ECMAScript; what is none is refused.
"""

import hashlib
import json
import math
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Any

# Larger whole numbers are not exact in a double, so two programs may read two of them.
LARGEST = 2**53 - 1


class NotCanonical(ValueError):
    """The value has no canonical form: it is no JSON, or a number in it is not exact."""


def dumps(value: Any) -> bytes:
    """The canonical bytes of a value; raise NotCanonical if it has none.

    >>> dumps({"b": [1.0, True, None], "a": "é"})
    b'{"a":"\\xc3\\xa9","b":[1,true,null]}'
    """
    try:
        return _text(value).encode()
    except UnicodeEncodeError as error:
        raise NotCanonical(f"half a character cannot be written: {error.reason}") from error
    except RecursionError as error:
        raise NotCanonical("it is nested too deeply") from error


def sha256(value: Any) -> str:
    """The SHA-256 of the canonical bytes, as hexadecimal digits."""
    return hashlib.sha256(dumps(value)).hexdigest()


def loads(data: bytes) -> Any:
    """A value from its canonical bytes; raise NotCanonical if they are not exactly that: no key twice, no other order."""
    try:
        value = json.loads(data, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"it is not JSON: {error}") from error
    if dumps(value) != data:
        raise NotCanonical("its bytes are not the canonical form of what they say")
    return value


def _whole(digits: str) -> int | float:
    """As ECMAScript reads it: beyond what is exact, the nearest double."""
    return int(digits) if abs(float(digits)) <= LARGEST else float(digits)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise NotCanonical(f"{value} is not exact in a double")
        return str(int(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_name(key)}:{_text(value[key])}" for key in sorted(value, key=_order)]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_text(one) for one in value]) + "]"
    raise NotCanonical(f"{type(value).__name__} is no JSON")


@lru_cache(4096)  # most names come again and again
def _name(key: str) -> str:
    return _quoted(key)


@lru_cache(4096)
def _order(key: Any) -> bytes:
    """By UTF-16 code units, as RFC 8785 asks."""
    if not isinstance(key, str):
        raise NotCanonical(f"a name must be text; it is {key!r}")
    return key.encode("utf-16-be", "surrogatepass")


def _number(x: float) -> str:
    """ECMAScript's Number::toString.

    >>> _number(1e21), _number(1e20), _number(-0.0), _number(1e-7), _number(0.000123)
    ('1e+21', '100000000000000000000', '0', '1e-7', '0.000123')
    """
    if not math.isfinite(x):
        raise NotCanonical(f"{x} is no JSON number")
    if x == 0:
        return "0"
    text = repr(x)
    if "e" not in text:
        return text.removesuffix(".0")
    # Python's shortest digits that read back as the same double are ECMAScript's, but for where the point stands.
    negative, digits, exponent = Decimal(text).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + int(exponent)
    sign = "-" if negative else ""
    if len(text) <= point <= 21:
        return sign + text + "0" * (point - len(text))
    if 0 < point <= 21:
        return f"{sign}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{text}"
    power = f"{point - 1:+d}"
    return f"{sign}{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{power}"
