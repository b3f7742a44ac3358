"""Who the clients are: their keys and names. Pure.

A client is known by its key, never by the key's place in the list: keys come and go, and places move.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from graduand.gateway.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# The blank behind the colon tells a name from a key that holds a colon.
NAMED = re.compile(r"([^\s:]+):\s+(\S.*)")
EMPTY = "the list is empty; give at least one key or leave it out"


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A client's key and its name in the log; without a name it is called by the beginning of its SHA-256."""

    key: str = field(repr=False)
    given: str = ""

    @property
    def digest(self) -> bytes:
        """The SHA-256 by which the key is recognised."""
        return hashlib.sha256(self.key.encode()).digest()

    @property
    def name(self) -> str:
        """Who this is in the log."""
        return self.given or f"key-{self.digest.hex()[:12]}"


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent a request. `number` is the key's place in the list, -1 for nobody known; `key` its name in the log, None where
    no key was asked for or none was known; `digest` what its limits are counted by."""

    number: int
    key: str | None = None
    digest: bytes = b""


UNKNOWN = Client(-1)
ANYBODY = Client(0)


def read_keys(text: str) -> tuple[ClientKey, ...]:
    """The keys in a text: JSON (`{"NAME": "KEY"}` or `["KEY"]`), or `NAME: KEY` and `KEY`, one a line or separated by commas;
    lines that begin with # are notes. Raise ConfigError, which repeats no key."""
    found: dict[str, ClientKey] = {}
    for one in _of_json(text) if text.lstrip().startswith(("{", "[")) else _of_lines(text):
        _check(one)
        known = found.setdefault(one.key, one)
        if known.given != one.given:
            if known.given and one.given:
                raise ConfigError(f"{known.given} and {one.given} have the same key; give each its own")
            found[one.key] = known if known.given else one
    if not found:
        raise ConfigError(EMPTY)
    return tuple(found.values())


def _check(one: ClientKey) -> None:
    who = f"the key of {one.given}" if one.given else "a key"
    if one.given and not NAME.fullmatch(one.given):
        raise ConfigError("a client's name has up to 64 letters, digits and . _ @ - only")
    if not one.key:
        raise ConfigError(f"{who} is empty")
    if not one.key.isascii() or not one.key.isprintable():
        raise ConfigError(f"{who} holds characters that no HTTP header may carry")


def _of_lines(text: str) -> Iterator[ClientKey]:
    lines: Iterable[str] = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for part in (part.strip() for line in lines for part in line.split(",")):
        named = NAMED.fullmatch(part)
        if named is not None:
            yield ClientKey(named[2], named[1])
        elif part.endswith(":"):
            yield ClientKey("", part[:-1])
        elif part:
            yield ClientKey(part)


def _of_json(text: str) -> Iterator[ClientKey]:
    try:
        data: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ConfigError("begins as JSON does, and is none") from None
    pairs = data.items() if isinstance(data, dict) else [("", key) for key in data]
    for name, key in pairs:
        if not isinstance(key, str):
            raise ConfigError('as JSON it must be {"NAME": "KEY"} or ["KEY"], with texts only')
        yield ClientKey(key.strip(), name)
