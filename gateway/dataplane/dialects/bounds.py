"""How many parts a JSON body may have: what it costs to read one follows from these, and not from its bytes.

Ten megabytes of `[],` are three million lists and held a worker for four seconds; ten megabytes of text are one string.
"""

import re

# Objects, lists and strings of a request. A conversation of 40,000 messages has as many.
MOST_PARTS = 250_000
# Values that a list or an object holds besides its first: token ids are some, and OpenAI takes 300,000 in a request.
MOST_VALUES = 1_000_000
# An answer may hold twenty log probabilities for each of many tokens; what numbers it has is the upstream's to say.
MOST_ANSWER_PARTS = 1_000_000
# A part takes two bytes at least.
SHORT_BYTES = 2 * MOST_PARTS

# A string, or what is left of one: without an end it reaches to the body's, so that no byte is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class TooManyParts(ValueError):
    """A body has more parts than are read."""


def check_request(body: bytes) -> None:
    """Raise TooManyParts unless a request's body is quick to read.

    >>> check_request(b'{"text": "%b"}' % (b"[{, " * 500_000))
    >>> check_request(b"[%b[]]" % (b"[]," * 500_000))
    Traceback (most recent call last):
    ...
    graduand.gateway.dataplane.dialects.bounds.TooManyParts: it has more than 250000 objects, lists and strings
    """
    if len(body) > SHORT_BYTES:
        _check(body, MOST_PARTS, MOST_VALUES)


def check_answer(body: bytes) -> None:
    """Raise TooManyParts unless an upstream's answer is quick to read."""
    if len(body) > 2 * MOST_ANSWER_PARTS:
        _check(body, MOST_ANSWER_PARTS, len(body))


def _check(body: bytes, most_parts: int, most_values: int) -> None:
    # One pass tells it of nearly every body: that many of these characters, wherever they stand.
    if len(body) - len(body.translate(None, b'"[{,')) <= most_parts:
        return
    # A string has a quote at each end, of which the second alone may look like an escaped one.
    quotes = len(body) - len(body.translate(None, b'"'))
    strings = (quotes - body.count(b'\\"')) // 2
    bare = _STRING.sub(b'"', body) if strings <= most_parts else b""
    if strings > most_parts or len(bare) - len(bare.translate(None, b'"[{')) > most_parts:
        raise TooManyParts(f"it has more than {most_parts} objects, lists and strings")
    if len(bare) - len(bare.translate(None, b",")) > most_values:
        raise TooManyParts(f"it has more than {most_values} values")
