"""Which of several gateways manages the fleet: the one that holds a lease in the store that they share.

A store that is one machine's own has one gateway, so nothing is written there.
"""

import math

from gateway.control.documents import documents_in
from gateway.errors import GraduandError
from gateway.state.store import StateStore

KIND, KEY = "fleet-lease", "manager"
LEASE_S = 10.0


class LeaseLost(GraduandError, RuntimeError):
    """Another gateway manages the fleet; nothing was changed."""


class Lease:
    """One process's hold on it. `holder` names the process."""

    def __init__(self, state: StateStore, holder: str) -> None:
        self._state = state
        self._documents = documents_in(state)
        self._holder = holder
        self._shared = state.heartbeat_s < math.inf

    def held(self, now: float) -> bool:
        """Whether this process manages the fleet; takes the lease if it is free, and renews it in good time."""
        if not self._shared:
            return True
        holder, until = self._read()
        if holder == self._holder and now < until - LEASE_S / 2:
            return True
        if not self._free(holder, until, now):
            return False
        with self._state.transaction():
            holder, until = self._read()
            if self._free(holder, until, now):
                self._documents.write(KIND, KEY, {"holder": self._holder, "until": now + LEASE_S})
                return True
        return False

    def check(self) -> None:
        """Inside a transaction: refuse what a process that has lost the lease would write."""
        if self._shared and self._read()[0] != self._holder:
            raise LeaseLost(f"{self._read()[0] or 'nobody'} manages the fleet now")

    def release(self) -> None:
        """Let another one take over at once."""
        if self._shared and self._read()[0] == self._holder:
            with self._state.transaction():
                if self._read()[0] == self._holder:
                    self._documents.drop(KIND, KEY)

    def _free(self, holder: str, until: float, now: float) -> bool:
        # One that seems to last for ever was taken before the clock was set back.
        return holder in ("", self._holder) or not now < until <= now + 10 * LEASE_S

    def _read(self) -> tuple[str, float]:
        found = self._documents.all(KIND).get(KEY, {})
        return str(found.get("holder", "")), float(found.get("until", 0.0))
