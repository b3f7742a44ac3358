"""What a store keeps: hashes (fields and their values, by key), all of whose changes are part of a transaction.

This is all that a backend has to do: `gateway.state.sqlite_hashes` does it in a file, `gateway.state.redis_hashes` in Redis.
What is kept in which hash, and by what rules, is written once above it.

Invariants: a transaction's changes are there together or not at all; nobody else changes anything meanwhile; reads inside a
transaction see its own changes, and nobody else does before its end.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager

from graduand.gateway.errors import GraduandError

Value = str | int | float | bytes
# The field of a list that says how many there have been.
COUNT = "count"


class StateError(GraduandError, RuntimeError):
    """The state store cannot be used."""


class Hashes(ABC):
    """All hashes of a store. Not for two threads at once. Every failure of the backend is a StateError."""

    @property
    @abstractmethod
    def changing(self) -> bool:
        """Whether a transaction is under way."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of what is inside; waits for others that write."""

    @abstractmethod
    def many(self, key: str, fields: list[str]) -> list[bytes | None]:
        """Several fields of one hash, in this order; None for one that is not there."""

    @abstractmethod
    def all(self, key: str) -> dict[str, bytes]:
        """All fields of one hash, in no order."""

    @abstractmethod
    def set(self, key: str, field: str, value: Value) -> None:
        """Write a field; only inside a transaction, as all that follow."""

    @abstractmethod
    def unset(self, key: str, fields: Iterable[str]) -> None:
        """Remove fields."""

    @abstractmethod
    def drop(self, key: str) -> None:
        """Remove a whole hash."""

    def expect(self, key: str, fields: Iterable[str]) -> None:  # noqa: B027
        """The transaction is about to ask for these: a store that is far away fetches them at once."""

    def get(self, key: str, field: str) -> bytes | None:
        """One field."""
        return self.many(key, [field])[0]

    def number(self, key: str, field: str) -> int:
        """A field that counts; 0 without one."""
        return int(self.get(key, field) or 0)

    def next(self, key: str, field: str) -> int:
        """Count one more; the new number."""
        number = self.number(key, field) + 1
        self.set(key, field, number)
        return number

    def append(self, key: str, value: Value) -> int:
        """Write the next of the numbered fields of a hash that is a list; its number, from 1."""
        number = self.next(key, COUNT)
        self.set(key, str(number), value)
        return number

    def latest(self, key: str, most: int) -> list[bytes]:
        """The newest of the numbered fields, oldest first."""
        newest = self.number(key, COUNT)
        found = self.many(key, [str(number) for number in range(max(1, newest - most + 1), newest + 1)])
        return [one for one in found if one is not None]


class BufferedHashes(Hashes):
    """What backends share: a transaction asks for a field once, and keeps its changes until its end, to write them at once."""

    def __init__(self) -> None:
        self._forget()

    def many(self, key: str, fields: list[str]) -> list[bytes | None]:
        """Several fields of one hash; inside a transaction they are not asked for again."""
        seen = self._seen.setdefault(key, {}) if self.changing else {}
        missing = [field for field in fields if field not in seen]
        if missing and key not in self._dropped:
            seen.update(zip(missing, self._fetch(key, missing), strict=True))
        return [seen.get(field) for field in fields]

    def all(self, key: str) -> dict[str, bytes]:
        """All fields of one hash."""
        found: dict[str, bytes | None] = {} if key in self._dropped else {**self._fetch_all(key)}
        found.update(self._changed.get(key, {}))
        return {field: value for field, value in found.items() if value is not None}

    def expect(self, key: str, fields: Iterable[str]) -> None:
        """Fetch these at once."""
        self.many(key, sorted(set(fields)))

    def set(self, key: str, field: str, value: Value) -> None:
        """Write a field."""
        self._change(key, field, stored(value))

    def unset(self, key: str, fields: Iterable[str]) -> None:
        """Remove fields."""
        for field in fields:
            self._change(key, field, None)

    def drop(self, key: str) -> None:
        """Remove a whole hash."""
        assert self.changing, "only inside a transaction"
        self._dropped.add(key)
        self._seen[key], self._changed[key] = {}, {}

    @abstractmethod
    def _fetch(self, key: str, fields: list[str]) -> list[bytes | None]:
        """Fields as they stand in the store."""

    @abstractmethod
    def _fetch_all(self, key: str) -> dict[str, bytes]:
        """A hash as it stands in the store."""

    def _change(self, key: str, field: str, value: bytes | None) -> None:
        assert self.changing, "only inside a transaction"
        self._seen.setdefault(key, {})[field] = value
        self._changed.setdefault(key, {})[field] = value

    def _forget(self) -> None:
        """A transaction is over. What it dropped was dropped before what it wrote."""
        self._seen: dict[str, dict[str, bytes | None]] = {}
        self._changed: dict[str, dict[str, bytes | None]] = {}
        self._dropped: set[str] = set()


def stored(value: Value) -> bytes:
    """A value as every backend keeps it."""
    return value if isinstance(value, bytes) else str(value).encode()
