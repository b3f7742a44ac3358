"""Small facts that processes leave for each other in the state store, as JSON by kind and key.

Kinds: `alarm` (the monitor's, until the controller has acted), `drift` (where each detector stands), `verdict` (what
alarms have brought about). Writing takes part in the caller's transaction if there is one.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from graduand.gateway.state.store import StateStore

SEPARATOR = "\t"

Json = dict[str, Any]


class Documents:
    """All documents of a store."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._hashes = state.hashes

    def all(self, kind: str) -> dict[str, Json]:
        """Every document of a kind, by key and in their order."""
        return {key: json.loads(data) for key, data in sorted(self._hashes.all(_of(kind)).items())}

    def any(self, *kinds: str) -> bool:
        """Whether there is a document of one of these kinds."""
        return any(self.all(kind) for kind in kinds)

    def write(self, kind: str, key: str, data: Json) -> None:
        """Store a document, over an older one."""
        with self._changing():
            self._hashes.set(_of(kind), key, json.dumps(data))

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""
        with self._changing():
            self._hashes.unset(_of(kind), [key])

    def _changing(self) -> AbstractContextManager[None]:
        return nullcontext() if self._hashes.changing else self._state.transaction()


def key_of(*parts: str) -> str:
    """A key out of names."""
    return SEPARATOR.join(parts)


def _of(kind: str) -> str:
    return f"documents:{kind}"
