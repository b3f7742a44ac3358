"""Slices of a route's traffic, so that a student that is worse on one of them cannot hide behind the others.

slices:
  refunds: {label: refund}          # the teacher's label
  french: {prompt: "(?i)bonjour"}   # a regular expression, searched for in the last user message
  mobile: {metadata: {app: mobile}} # what the request says of itself

A gate's slice that is not described here is the value of the request's own `metadata.slice`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator, model_validator

from graduand.rollout.answers.strict import Strict

# A prompt is searched this far: an expression of somebody's own must not cost seconds on a hostile prompt.
SEARCHED = 20_000


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice: everything given must hold."""

    name: str
    label: str | None = None
    prompt: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def holds(self, prompt: str, label: str, metadata: Mapping[str, Any]) -> bool:
        """Whether a request belongs to it.

        >>> Slice("refunds", label="refund").holds("Money back!", "refund", {})
        True
        """
        return (
            (self.label is None or self.label == label)
            and (self.prompt is None or re.search(self.prompt, prompt[:SEARCHED]) is not None)
            and all(str(metadata.get(key)) == value for key, value in self.metadata.items())
        )


class SliceIn(Strict):
    """A slice as written."""

    label: str | int | bool | None = None
    prompt: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    @field_validator("prompt")
    @classmethod
    def _compiles(cls, prompt: str | None) -> str | None:
        try:
            re.compile(prompt or "")
        except re.error as error:
            raise ValueError(f"{prompt!r} is no regular expression: {error}") from None
        return prompt

    @model_validator(mode="after")
    def _something(self) -> "SliceIn":
        if self.label is None and self.prompt is None and not self.metadata:
            raise ValueError("a slice needs a label, a prompt or metadata")
        return self


def named(slices: tuple[Slice, ...], prompt: str, label: str, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the slices that a request belongs to."""
    names = [one.name for one in slices if one.holds(prompt, label, metadata)]
    own = metadata.get("slice")
    return (*names, own) if isinstance(own, str) and own not in {one.name for one in slices} else tuple(names)
