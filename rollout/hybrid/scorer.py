"""May the student's answer go out? A learnt threshold as the gateway applies it: plain Python, one answer at a time.

Invariant: what cannot be scored is not released. The same code scores calibration pairs and live answers, so that no
rounding stands between what was proved and what is served.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graduand.rollout.hybrid.confidence import features


@dataclass(frozen=True, slots=True)
class Scorer:
    """A logistic calibration with its cut.

    >>> scorer = Scorer(0.0, (1.0, 0.0, 0.0, 0.0), (0.0,) * 4, (1.0,) * 4, cut=0.5, expires_at=100.0)
    >>> scorer.score([2.0, 0, 0, 0]) > 0.5, scorer.score(None)
    (True, 0.0)
    """

    bias: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    cut: float
    expires_at: float

    def score(self, vector: list[float] | None) -> float:
        """The probability of agreement that the fit gives; 0 without features."""
        if vector is None:
            return 0.0
        z = self.bias
        for value, weight, mean, scale in zip(vector, self.weights, self.means, self.scales, strict=True):
            z += weight * (value - mean) / scale
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0

    def confident(self, answer: Mapping[str, Any], now: float) -> bool:
        """Whether this whole answer may be released without the teacher."""
        vector = vector_of(answer)
        return vector is not None and now < self.expires_at and self.score(vector) >= self.cut


def scorer_from_dict(stored: Mapping[str, Any]) -> Scorer:
    """The scorer of a stored threshold: `{"threshold": Threshold.to_dict(), "calibration": calibration.to_dict(...)}`."""
    fit, threshold = stored["calibration"], stored["threshold"]
    parts = {name: tuple(fit[name]) for name in ("weights", "means", "scales")}
    return Scorer(fit["bias"], **parts, cut=threshold["value"], expires_at=threshold["expires_at"])


def vector_of(answer: Mapping[str, Any]) -> list[float] | None:
    """The features of a whole answer in OpenAI's shape; None unless it is a single one with usable log probabilities."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    if isinstance(message, dict) and message.get("tool_calls"):
        return None  # a call acts: that its words were likely does not make it safe
    try:
        found = features(_content(choices[0].get("logprobs")))
    except (AttributeError, TypeError, ValueError):  # a server's own idea of the format
        return None
    return None if found is None else found.vector()


def _content(logprobs: Any) -> list[dict[str, Any]] | None:
    """Tokens in the chat form; completions have lists of the same length instead."""
    if not isinstance(logprobs, dict):
        return None
    if "content" in logprobs:
        content = logprobs["content"]
        return content if isinstance(content, list) else None
    tokens, taken, tops = (logprobs.get(key) for key in ("tokens", "token_logprobs", "top_logprobs"))
    if not (isinstance(tokens, list) and isinstance(taken, list) and isinstance(tops, list)):
        return None
    return [
        {"token": token, "logprob": log, "top_logprobs": [{"logprob": other} for other in (top or {}).values()]}
        for token, log, top in zip(tokens, taken, tops, strict=True)
    ]
