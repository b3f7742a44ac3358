"""YAML text as plain data, or a ConfigError: what is read has the types of JSON only, and an end.

A file is read again on SIGHUP in a gateway that serves, so nothing that somebody writes may raise anything else.
"""

import math
from collections.abc import Iterator
from typing import Any

import yaml

from graduand.gateway.errors import ConfigError

MAX_DEPTH = 50
MAX_VALUES = 100_000  # with what aliases repeat
# PyYAML's constructors let through what Python's own raise: `2020-13-45`, a number of 5,000 digits, `!!int ""`.
NOT_YAML = (
    yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip


class _KeysOnce(yaml.SafeLoader):
    """YAML itself forbids a key given twice; PyYAML would silently take the last. A date is text, as in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - so the base class has it
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read(text: str, where: str) -> Any:
    """The data of the text; `where` names it in the error."""
    try:
        return yaml.load(text, _KeysOnce)
    except NOT_YAML as error:
        raise ConfigError(f"{where} is not YAML: {str(error) or type(error).__name__}") from error


def not_plain(data: Any) -> list[str]:
    """What keeps data from being JSON of a bounded size, in words: the first problem, or none."""
    try:
        for count, problem in enumerate(_visited(data, "", 0)):
            if problem:
                return [problem]
            if count > MAX_VALUES:
                return [f"the file holds more than {MAX_VALUES:,} values; are there aliases in aliases?"]
    except _TooDeep as error:
        return [f"{error}: lists and mappings stand in each other more than {MAX_DEPTH} deep"]
    return []


class _TooDeep(Exception):
    """At this path."""


def _visited(value: Any, at: str, depth: int) -> Iterator[str]:
    """A problem, or an empty text, for each value."""
    if depth > MAX_DEPTH:
        raise _TooDeep(at[:80])
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield f"{at or 'the file'}: the key {key!r} is not text; put it in quotes"
            else:
                yield _wrong_text(key, f"the key {key!r}")
                yield from _visited(inner, f"{at}.{key}" if at else key, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _visited(inner, f"{at}.{number}", depth + 1)
    elif isinstance(value, str):
        yield _wrong_text(value, at)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{at}: Input should be a finite number"
    elif value is not None and not isinstance(value, bool | int | float):
        yield f"{at}: a {type(value).__name__} cannot stand in a configuration; put text in quotes"
    else:
        yield ""


def _wrong_text(text: str, at: str) -> str:
    if "\x00" in text:
        return f"{at}: holds the character NUL"
    return "" if text.isascii() or text.isprintable() or _encodes(text) else f"{at}: is not text that UTF-8 can hold"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
