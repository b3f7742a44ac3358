"""May the student's answer go out? A learnt threshold as the gateway applies it: plain Python, one answer at a time.

Invariant: what cannot be scored is not released. The same code scores calibration pairs and live answers, so that no
rounding stands between what was proved and what is served.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graduand.rollout.answers.answers import Label, parse_label
from graduand.rollout.hybrid.confidence import features


@dataclass(frozen=True, slots=True)
class Reads:
    """How an answer's label is read: the task's labels by their spelling, and the field that holds it."""

    labels: Mapping[str, str]
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Scorer:
    """A logistic calibration with a cut for each label; without `reads` the one cut, of the label "", holds for all.

    >>> scorer = Scorer(0.0, (1.0, 0.0, 0.0, 0.0), (0.0,) * 4, (1.0,) * 4)
    >>> scorer.score([2.0, 0, 0, 0]) > 0.5, scorer.score(None)
    (True, 0.0)
    """

    bias: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    cuts: Mapping[str, float] = field(default_factory=dict)
    expires_at: float = 0.0
    reads: Reads | None = None

    def score(self, vector: Sequence[float] | None) -> float:
        """The probability of agreement that the fit gives; 0 without features."""
        if vector is None:
            return 0.0
        z = self.bias
        for value, weight, mean, scale in zip(vector, self.weights, self.means, self.scales, strict=True):
            z += weight * (value - mean) / scale
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0

    def confident(self, answer: Mapping[str, Any], now: float) -> bool:
        """Whether this whole answer may be released without the teacher."""
        if now >= self.expires_at:
            return False
        vector, cut = vector_of(answer), self._cut(answer)
        return vector is not None and cut is not None and self.score(vector) >= cut

    def _cut(self, answer: Mapping[str, Any]) -> float | None:
        """The cut of the label that the answer gives; None if it gives none that has one."""
        if self.reads is None:
            return self.cuts.get("")
        label = parse_label(text_of(answer), self.reads.labels, self.reads.field)
        return self.cuts.get(label.value) if isinstance(label, Label) else None


def fit_to_dict(scorer: Scorer) -> dict[str, Any]:
    """The fit as plain data, without its cuts."""
    parts = {name: list(getattr(scorer, name)) for name in ("weights", "means", "scales")}
    return {"bias": scorer.bias, **parts}


def fit_from_dict(data: Mapping[str, Any]) -> Scorer:
    """The fit that `fit_to_dict` described; it has no cuts, so it releases nothing."""
    weights, means, scales = (tuple(data[name]) for name in ("weights", "means", "scales"))
    return Scorer(data["bias"], weights, means, scales)


def scorer_from_dict(stored: Mapping[str, Any]) -> Scorer:
    """The scorer that `rollout.hybrid.learning.released_by` stored for the data plane.

    What an earlier version stored has one cut that was proved for no class: it releases nothing.
    """
    threshold = stored["threshold"]
    if "cuts" not in threshold:
        return Scorer(0.0, (), (), ())
    reads = None if stored["reads"] is None else Reads(stored["reads"]["labels"], stored["reads"]["field"])
    return replace(
        fit_from_dict(stored["fit"]), cuts=threshold["cuts"], expires_at=threshold["expires_at"], reads=reads
    )


def text_of(answer: Mapping[str, Any]) -> str:
    """The text of an answer's one choice; empty if it has none."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return ""
    message = choices[0].get("message")
    text = message.get("content") if isinstance(message, dict) else choices[0].get("text")
    return text if isinstance(text, str) else ""


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
