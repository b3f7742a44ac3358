"""The pydantic edge's shared grammar: strict keys, durations, list entries such as `canary 5` or `canary: {...}`."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from graduand.gateway.errors import ConfigError, did_you_mean

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """`500ms`, `90s`, `30m`, `1h` or `7d` as seconds; anything else is left for pydantic to judge.

    >>> seconds("30m"), seconds("500ms"), seconds(5)
    (1800.0, 0.5, 5)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value) if isinstance(value, str) else None
    return float(match[1]) * UNITS_S[match[2]] if match else value


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class Strict(BaseModel):
    """Refuses unknown keys, naming the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    hint = did_you_mean(str(key), known)
                    raise ValueError(f"unknown key {key!r}.{hint} Known keys: {', '.join(known)}")
        return data


Model = TypeVar("Model", bound=Strict)


def entry(item: object, known: Mapping[str, type[Strict]], short: str | None, where: str) -> tuple[str, Strict]:
    """One list entry: `word`, `word value`, `word: value` or `word: {key: value}`; `value` is the key `short`'s."""
    word, rest = _split(item, where)
    if word not in known:
        raise ConfigError(f"{where}: {word!r} is not known.{did_you_mean(word, known)} Known: {', '.join(known)}")
    model = known[word]
    if rest is None:
        rest = {}
    elif not isinstance(rest, Mapping):
        if short is None or short not in model.model_fields:
            raise ConfigError(f"{where}: {word} takes keys, not {rest!r}. Known keys: {', '.join(model.model_fields)}")
        rest = {short: rest.removesuffix("%") if isinstance(rest, str) else rest}
    return word, checked(model, rest, f"{where} ({word})")


def _split(item: object, where: str) -> tuple[str, Any]:
    if isinstance(item, str) and item.split():
        word, *rest = item.split(maxsplit=1)
        return word, rest[0] if rest else None
    if isinstance(item, Mapping) and len(item) == 1:
        word, value = next(iter(item.items()))
        return str(word), value
    raise ConfigError(f"{where}: write a name, or one name with its keys; this is {item!r}")


def checked(model: type[Model], data: object, where: str) -> Model:
    """`data` as `model`, or a ConfigError that says where and what."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [
            ".".join(str(part) for part in problem["loc"]) + ": " * bool(problem["loc"]) + problem["msg"]
            for problem in error.errors()
        ]
        raise ConfigError(
            f"{where}: " + "; ".join(problem.replace("Value error, ", "") for problem in problems)
        ) from None
