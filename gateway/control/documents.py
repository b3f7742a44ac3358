"""Small facts that processes leave for each other in the state file, as JSON by kind and key.

Kinds: `alarm` (the monitor's, until the controller has acted), `drift` (where each detector stands), `verdict` (what
alarms have brought about). Writing takes part in the caller's transaction if there is one.
"""

import json
from typing import Any

from gateway.state import SqliteStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (kind TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (kind, key))
WITHOUT ROWID;
"""
SEPARATOR = "\t"

Json = dict[str, Any]


class Documents:
    """All documents of a store."""

    def __init__(self, state: SqliteStore) -> None:
        self._db = state.db
        if not self._db.in_transaction:
            self._db.executescript(SCHEMA)

    def all(self, kind: str) -> dict[str, Json]:
        """Every document of a kind, by key."""
        found = self._db.execute("SELECT key, data FROM documents WHERE kind = ? ORDER BY key", (kind,))
        return {key: json.loads(data) for key, data in found}

    def any(self, *kinds: str) -> bool:
        """Whether there is a document of one of these kinds."""
        marks = ", ".join("?" * len(kinds))
        return (
            self._db.execute(f"SELECT 1 FROM documents WHERE kind IN ({marks}) LIMIT 1", kinds).fetchone() is not None
        )

    def write(self, kind: str, key: str, data: Json) -> None:
        """Store a document, over an older one."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, json.dumps(data)))

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""
        self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))


def key_of(*parts: str) -> str:
    """A key out of names."""
    return SEPARATOR.join(parts)
