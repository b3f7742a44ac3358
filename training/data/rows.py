"""Rows: one prompt with the completion to learn, read from JSON lines.

Invariant: a row that is returned is whole and usable; anything else is an error that names the file, the line and what
to do. Never repairs or drops a row in silence.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from graduand.gateway.errors import GraduandError, did_you_mean

ROLES = ("system", "user", "assistant", "tool", "developer")
KEYS = ("id", "messages", "prompt", "completion", "weight")
# What earlier stages know about a row besides (training/data/samples.py); a trainer may see it and learns nothing of it.
SAMPLE_KEYS = (*KEYS, "gold", "answers", "user", "conversation", "source", "notes")


class DataError(GraduandError, ValueError):
    """Training data cannot be used as it is."""


class Named(Protocol):
    """What is read from a line and has an id of its own."""

    @property
    def id(self) -> str:
        """Once in a file."""


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True)
class Row:
    """A chat (`messages`) or a plain text (`prompt`), exactly one of the two, and the completion to learn."""

    id: str
    completion: str
    messages: tuple[dict[str, str], ...] | None = None
    prompt: str | None = None
    user: str | None = None  # whose it is, so that splits keep users apart
    weight: float = 1.0  # how much it counts in the loss


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSON-lines file; raises DataError at the first bad one."""
    return read_all(path, parse_row, "rows", "'messages' and 'completion'")


def read_all(path: Path, parse: Callable[[Any, str], T], what: str, keys: str) -> list[T]:
    """All that a JSON-lines file holds, each parsed with a name for one that has none; raises DataError at the first bad."""
    found: list[T] = []
    seen: dict[str, int] = {}
    for number, value in json_lines(path):
        try:
            one = parse(value, f"line-{number}")
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if one.id in seen:
            raise DataError(f"{path}, line {number}: id {one.id!r} was used on line {seen[one.id]}; give each its own")
        seen[one.id] = number
        found.append(one)
    if not found:
        raise DataError(f"{path} holds no {what}; write one JSON object a line, with {keys}")
    return found


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Each line's number, from 1, and its decoded value; empty lines are skipped."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read the rows: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, orjson.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number} is not JSON ({error}); write one JSON object a line") from error


def parse_row(value: Any, default_id: str) -> Row:
    """One decoded row, checked; `default_id` names it when it has no `id`."""
    identity = check_prompted(value, "row", default_id)
    completion, user, weight = _text(value, "completion"), value.get("user"), weight_of(value)
    if user is not None and not isinstance(user, str):
        raise DataError(f"'user' must be a text; it is {user!r}")
    if "prompt" in value:
        return Row(identity, completion, prompt=_text(value, "prompt"), user=user, weight=weight)
    return Row(identity, completion, messages=chat(value["messages"]), user=user, weight=weight)


def check_prompted(value: Any, what: str, default_id: str) -> str:
    """The id of a decoded object that has known keys only, and a chat or else a text; raises DataError."""
    if not isinstance(value, dict):
        raise DataError(f"a {what} is a JSON object, not {type(value).__name__}")
    for key in value:
        if key not in SAMPLE_KEYS:
            raise DataError(f"unknown key {key!r}; known are {', '.join(SAMPLE_KEYS)}.{did_you_mean(key, SAMPLE_KEYS)}")
    if ("messages" in value) == ("prompt" in value):
        raise DataError("give either 'messages' (a chat) or 'prompt' (a text)")
    identity = value.get("id", default_id)
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        raise DataError("'id' must be a string or a whole number")
    return str(identity)


def weight_of(value: dict[str, Any]) -> float:
    """A decoded row's weight, checked; 1 if it has none."""
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not (0 < weight < math.inf):
        raise DataError(f"'weight' must be a number above 0; it is {weight!r}")
    return float(weight)


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text:
        raise DataError(f"{key!r} must be a text that is not empty; it is {text!r}")
    return text


def chat(value: Any) -> tuple[dict[str, str], ...]:
    """A decoded chat, checked: it ends with what is to be answered."""
    if not isinstance(value, list) or not value:
        raise DataError("'messages' must be a list that is not empty")
    for place, message in enumerate(value):
        problem = _message_problem(message)
        if problem:
            raise DataError(f"messages[{place}] {problem}")
    if value[-1]["role"] == "assistant":
        raise DataError("the last message is the assistant's; put it into 'completion' and leave it out of 'messages'")
    return tuple({"role": message["role"], "content": message["content"]} for message in value)


def _message_problem(message: Any) -> str | None:
    if not isinstance(message, dict):
        return "must be an object with 'role' and 'content'"
    role = message.get("role")
    if role not in ROLES:
        return f"has role {role!r}; known are {', '.join(ROLES)}"
    if not isinstance(message.get("content"), str):
        return "needs 'content' as a text (parts, images and tool calls are not trained yet)"
    # A key that were dropped here would be seen by the server at inference, but not in training.
    extra = sorted(set(message) - {"role", "content"})
    return f"has keys that are not trained yet: {', '.join(extra)}" if extra else None
