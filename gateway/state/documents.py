"""Small facts that processes leave for each other in the state store, as JSON by kind and key.

Kinds: `alarm` (the monitor's, until the controller has acted), `drift` (where each detector stands), `verdict` (what
alarms have brought about). Writing takes part in the caller's transaction if there is one.
"""

import json
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from graduand.gateway.state.store import StateStore

if TYPE_CHECKING:
    from graduand.gateway.state.redis_store import RedisStore
    from graduand.gateway.state.sqlite import SqliteStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (kind TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (kind, key))
WITHOUT ROWID;
"""
SEPARATOR = "\t"

Json = dict[str, Any]


class Documents(ABC):
    """All documents of a store."""

    @abstractmethod
    def all(self, kind: str) -> dict[str, Json]:
        """Every document of a kind, by key."""

    def any(self, *kinds: str) -> bool:
        """Whether there is a document of one of these kinds."""
        return any(self.all(kind) for kind in kinds)

    @abstractmethod
    def write(self, kind: str, key: str, data: Json) -> None:
        """Store a document, over an older one."""

    @abstractmethod
    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""


class SqliteDocuments(Documents):
    """In the state file."""

    def __init__(self, state: "SqliteStore") -> None:
        self._db = state.db
        if not self._db.in_transaction:
            self._db.executescript(SCHEMA)

    def all(self, kind: str) -> dict[str, Json]:
        """Every document of a kind, by key."""
        found = self._db.execute("SELECT key, data FROM documents WHERE kind = ? ORDER BY key", (kind,))
        return {key: json.loads(data) for key, data in found}

    def write(self, kind: str, key: str, data: Json) -> None:
        """Store a document, over an older one."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, json.dumps(data)))

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""
        self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))


class RedisDocuments(Documents):
    """In Redis, one hash a kind."""

    def __init__(self, state: "RedisStore") -> None:
        self._state = state

    def all(self, kind: str) -> dict[str, Json]:
        """Every document of a kind, by key."""
        found = self._state.hashes.all(f"documents:{kind}")
        return {key: json.loads(data) for key, data in sorted(found.items())}

    def write(self, kind: str, key: str, data: Json) -> None:
        """Store a document, over an older one."""
        with self._changing():
            self._state.hashes.set(f"documents:{kind}", key, json.dumps(data))

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""
        with self._changing():
            self._state.hashes.unset(f"documents:{kind}", [key])

    def _changing(self) -> AbstractContextManager[None]:
        return nullcontext() if self._state.hashes.changing else self._state.transaction()


def documents_in(state: StateStore) -> Documents:
    """The documents in a store that is open already."""
    from graduand.gateway.state.redis_store import RedisStore
    from graduand.gateway.state.sqlite import SqliteStore

    if isinstance(state, SqliteStore):
        return SqliteDocuments(state)
    assert isinstance(state, RedisStore)
    return RedisDocuments(state)


def key_of(*parts: str) -> str:
    """A key out of names."""
    return SEPARATOR.join(parts)
