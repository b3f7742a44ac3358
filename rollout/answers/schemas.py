"""JSON Schema: does an object have the form that its task declares? Validated by jsonschema-rs.

Invariant: a schema is whole in itself. What it refers to must stand inside it: nothing is ever fetched, neither over the
network nor from a file, since a schema may come from whoever may start a rollout.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from graduand.gateway.errors import ConfigError

# Patterns that would take for ever on a hostile answer are given up after so many steps; the answer then does not fit.
BACKTRACKS = 100_000
SHOWN = 240


class Schema:
    """A compiled schema.

    >>> Schema({"type": "object", "properties": {"total": {"type": "number"}}}).misfit({"total": "n/a"})
    'at total: "n/a" is not of type "number"'
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(
                dict(schema), retriever=_refuse, pattern_options=jsonschema_rs.FancyRegexOptions(BACKTRACKS)
            )
        except ValueError as error:
            raise ConfigError(f"task: schema: {_told(error)}") from None

    def misfit(self, value: object) -> str:
        """Where and why `value` does not fit; empty if it does."""
        try:
            error = next(self._validator.iter_errors(value), None)
        except ValueError as raised:  # a number that no JSON has, or a pattern that was given up
            return _told(raised)
        if error is None:
            return ""
        place = ".".join(str(part) for part in error.instance_path)
        return f"at {place}: {_told(error)}" if place else _told(error)


def schema_of(written: Mapping[str, Any]) -> Schema:
    """The compiled schema; compiled once for each that is in use. Raises ConfigError if it is none."""
    try:
        return _compiled(json.dumps(written, sort_keys=True))
    except TypeError as error:
        raise ConfigError(f"task: schema: it holds what no JSON has: {error}") from None


@lru_cache(64)
def _compiled(text: str) -> Schema:
    return Schema(json.loads(text))


def _refuse(address: str) -> Any:
    raise ValueError(f"it refers to {address}, and nothing is fetched; write it below $defs")


def _told(error: Exception) -> str:
    """The first line, since the rest repeats schema and answer."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
