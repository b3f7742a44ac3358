"""Rules about one row's text: length, script, patterns. Pure."""

import re
import unicodedata
from collections.abc import Sequence

from pydantic import Field, field_validator

from graduand.rollout.answers.strict import Strict


class Rules(Strict):
    """Length, script and patterns of the user's text."""

    min_characters: int = Field(0, ge=0)
    max_characters: int | None = Field(None, ge=1)
    scripts: list[str] = Field(default_factory=list)
    script_share: float = Field(0.8, gt=0, le=1)
    drop: list[str] = Field(default_factory=list)
    keep: list[str] = Field(default_factory=list)

    @field_validator("drop", "keep")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return patterns


def broken(text: str, rules: Rules) -> str:
    """The first rule that the text breaks, in words; empty if it holds to all."""
    if len(text) < rules.min_characters:
        return f"shorter than {rules.min_characters} characters"
    if rules.max_characters is not None and len(text) > rules.max_characters:
        return f"longer than {rules.max_characters} characters"
    if rules.scripts and script_share(text, rules.scripts) < rules.script_share:
        return f"less than {rules.script_share:.0%} of its letters are {', '.join(rules.scripts)}"
    hit = next((pattern for pattern in rules.drop if re.search(pattern, text)), None)  # re keeps compiled patterns
    if hit is not None:
        return f"matches {hit!r}"
    miss = next((pattern for pattern in rules.keep if not re.search(pattern, text)), None)
    return f"does not match {miss!r}" if miss is not None else ""


def script_share(text: str, scripts: Sequence[str]) -> float:
    """The share of the letters whose Unicode names begin with one of `scripts`; 1 without letters.

    >>> script_share("Привет!", ["LATIN"]), script_share("Hello?", ["LATIN"]), script_share("123", ["LATIN"])
    (0.0, 1.0, 1.0)
    """
    letters = [char for char in text if char.isalpha()]
    named = sum(unicodedata.name(char, "").startswith(tuple(scripts)) for char in letters)
    return named / len(letters) if letters else 1.0
