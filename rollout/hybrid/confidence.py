"""Confidence features from a student's log probabilities, in OpenAI's shape (`logprobs.content`).

A margin is the difference between the two likeliest tokens' log probabilities: small top_logprobs are enough (a large
one slows vLLM down). Invariant: an answer without usable log probabilities has no features, and is deferred.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Below this a probability is as good as zero; keeps margins finite when a server reports -inf.
FLOOR = -50.0


@dataclass(frozen=True, slots=True)
class Features:
    """What is known about one answer's certainty."""

    first_margin: float  # at the first value token
    mean_margin: float  # over value tokens
    min_margin: float
    mean_logprob: float  # of the tokens that were taken, over value tokens

    def vector(self) -> list[float]:
        """In a fixed order, for a fit."""
        return [self.first_margin, self.mean_margin, self.min_margin, self.mean_logprob]


def features(content: Sequence[Mapping[str, Any]] | None) -> Features | None:
    """Features of an answer from its tokens; None if they do not carry two alternatives each.

    >>> token = {"token": "1", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -2.4}]}
    >>> features([token])
    Features(first_margin=2.3, mean_margin=2.3, min_margin=2.3, mean_logprob=-0.1)
    >>> features([{"token": "1", "logprob": -0.1}]) is None
    True
    """
    if not content:
        return None
    tokens = [str(token.get("token", "")) for token in content]
    places = value_tokens(tokens)
    margins, logs = [], []
    for place in places:
        margin, log = _margin(content[place]), _number(content[place].get("logprob"))
        if margin is None or log is None:
            return None
        margins.append(margin)
        logs.append(log)
    if not margins:
        return None
    return Features(margins[0], math.fsum(margins) / len(margins), min(margins), math.fsum(logs) / len(logs))


def _margin(token: Mapping[str, Any]) -> float | None:
    tops = token.get("top_logprobs") or []
    logs = sorted((log for top in tops if (log := _number(top.get("logprob"))) is not None), reverse=True)
    return logs[0] - logs[1] if len(logs) > 1 else None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return max(float(value), FLOOR)


def value_tokens(tokens: Sequence[str]) -> list[int]:
    """Positions of the tokens that carry an answer's values: in an object only what stands after each colon.

    Keys, quotes and braces are nearly certain and would hide the doubt about the value.

    >>> value_tokens(['{"', 'is', '_bad', '":', ' ', '0', '}'])
    [5]
    >>> value_tokens(["tox", "ic", "\\n"])
    [0, 1]
    """
    text = "".join(tokens)
    wanted = _value_characters(text) if "{" in text and ":" in text else [char.isalnum() for char in text]
    places, start = [], 0
    for at, token in enumerate(tokens):
        if any(wanted[start : start + len(token)]):
            places.append(at)
        start += len(token)
    return places


def _value_characters(text: str) -> list[bool]:
    """Which characters are letters or digits of a value: after a colon, up to the comma or brace that ends it."""
    wanted, value, quote, skip, open_brackets = [], False, "", False, ""
    for char in text:
        wanted.append(value and char.isalnum())
        if skip:
            skip = False
        elif quote:
            skip, quote = char == "\\", "" if char == quote else quote
        elif char == '"':
            quote = char
        elif char in "{[":
            open_brackets, value = open_brackets + char, value and char == "["
        elif char in "}]":
            open_brackets, value = open_brackets[:-1], char == "]" and value and len(open_brackets) > 1
        elif char == ":" and open_brackets:
            value = True
        elif char == "," and open_brackets.endswith("{"):
            value = False
    return wanted
