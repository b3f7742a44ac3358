"""Teachers as written in a YAML file, and as used.

    teachers:
      gpt-4: {base_url: https://api.openai.com/v1, model: gpt-4o, api_key: {env: OPENAI_API_KEY},
              price: {input: 2.5, output: 10}, parameters: {temperature: 0, max_tokens: 64}}

Keys are only ever read from the environment or a file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.monitoring.prices import Price
from graduand.rollout.answers.strict import Strict, checked

DEFAULT_PARAMETERS: dict[str, Any] = {"temperature": 0, "max_tokens": 256}


class PriceIn(Strict):
    """Dollars for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0)

    def price(self) -> Price:
        """As asking wants it."""
        return Price(self.input, self.output, self.cached_input)


class KeyIn(Strict):
    """Where the key is read from."""

    env: str | None = None
    file: Path | None = None


class TeacherIn(Strict):
    """One teacher as written."""

    base_url: str
    model: str
    api_key: KeyIn | None = None
    price: PriceIn | None = None
    parameters: dict[str, Any] = Field(default_factory=lambda: dict(DEFAULT_PARAMETERS))
    requests_per_minute: float | None = Field(None, gt=0)


class TeachersIn(Strict):
    """The file."""

    teachers: dict[str, TeacherIn] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher that can be asked. `parameters` go into the request as they are."""

    name: str
    base_url: str
    model: str
    key: KeyIn | None
    price: Price | None
    parameters: Mapping[str, Any]
    requests_per_minute: float | None = None

    def at(self, temperature: float) -> "Teacher":
        """The same teacher at another temperature."""
        return replace(self, parameters={**self.parameters, "temperature": temperature})

    @property
    def most_completion_tokens(self) -> int:
        """The longest answer that it may give."""
        limits = (self.parameters.get(name) for name in ("max_tokens", "max_completion_tokens"))
        return next((limit for limit in limits if isinstance(limit, int)), DEFAULT_PARAMETERS["max_tokens"])

    def dollars(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float | None:
        """What a request costs, `cached_tokens` of its prompt from the provider's cache; None where no price is known."""
        return None if self.price is None else self.price.dollars(prompt_tokens, completion_tokens, cached_tokens)

    def as_json(self) -> dict[str, Any]:
        """What decides its answers: never the key, and not the price."""
        return {"base_url": self.base_url, "model": self.model, "parameters": dict(self.parameters)}

    def secret(self) -> str:
        """The key, or a placeholder where none is configured."""
        if self.key is None:
            return "none"
        if self.key.env is not None:
            value = os.environ.get(self.key.env)
            if not value:
                raise ConfigError(f"teacher {self.name}: the environment variable {self.key.env} is not set")
            return value
        if self.key.file is None:
            raise ConfigError(f"teacher {self.name}: api_key needs env or file")
        try:
            return self.key.file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"teacher {self.name}: cannot read its key: {error}") from error


def read_teachers(path: Path, use: list[str] | None = None) -> list[Teacher]:
    """The file's teachers, or those called `use`, in that order."""
    try:
        data = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the teachers {path}: {error}") from error
    written = checked(TeachersIn, data, str(path)).teachers
    for name in use or []:
        if name not in written:
            raise ConfigError(
                f"{path} has no teacher {name!r}.{did_you_mean(name, written)} It has {', '.join(written)}"
            )
    return [teacher(name, written[name]) for name in use or written]


def teacher(name: str, written: TeacherIn) -> Teacher:
    """The teacher that `written` describes."""
    price = written.price.price() if written.price else None
    return Teacher(
        name, written.base_url, written.model, written.api_key, price, written.parameters, written.requests_per_minute
    )
