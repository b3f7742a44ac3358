"""Which of several processes leads: the one that holds a lease in the store that they share.

Invariant: at any time at most one holds it, and what another one writes is refused, since the lease is looked at in the
transaction that writes. Its token grows with every new holder, so it says of everything that was written who came later.
Source: Gray and Cheriton (1989), Leases; fencing tokens as in Kleppmann, Designing Data-Intensive Applications, chapter 8.
"""

from collections.abc import Callable

from graduand.gateway.errors import GraduandError
from graduand.gateway.state.store import StateStore


class LeaseLost(GraduandError, RuntimeError):
    """Another process leads; nothing was changed."""


class Lease:
    """One process's claim to the lease `name`, which lasts `length_s` seconds and is renewed after a third of them.

    `holder` names the process, as no other ever; `clock` is the one that all claimants go by.
    """

    def __init__(
        self, state: StateStore, name: str, holder: str, length_s: float, clock: Callable[[], float]
    ) -> None:  # fmt: skip
        self._state = state
        self._name = name
        self._holder = holder
        self._length_s = length_s
        self._clock = clock
        self.token = 0

    def may_lead(self) -> bool:
        """Whether this process holds the lease, or nobody does."""
        holder, _, until = self._state.lease(self._name)
        return holder == self._holder or not self._lasts(until)

    def keep(self) -> None:
        """Take the lease, or renew it in good time; inside a transaction. Raises LeaseLost."""
        holder, token, until = self._state.lease(self._name)
        if holder != self._holder and self._lasts(until):
            raise LeaseLost(f"{holder} holds the lease {self._name!r}")
        self.token = token if holder == self._holder else token + 1
        if holder != self._holder or not self._fresh(until):
            self._state.put_lease(self._name, self._holder, self.token, self._clock() + self._length_s)

    def held(self) -> bool:
        """Whether this process leads; takes and renews the lease in a transaction of its own."""
        holder, token, until = self._state.lease(self._name)
        if (holder, token) == (self._holder, self.token) and self._fresh(until):
            return True
        if not self.may_lead():
            return False
        try:
            with self._state.transaction():
                self.keep()
        except LeaseLost:
            return False
        return True

    def check(self) -> None:
        """Inside a transaction: refuse what a process that has lost the lease would write. Raises LeaseLost."""
        if not self._mine():
            raise LeaseLost(f"{self._state.lease(self._name)[0] or 'nobody'} holds the lease {self._name!r} now")

    def release(self) -> None:
        """Let another one take over at once."""
        if self._mine():
            with self._state.transaction():
                if self._mine():
                    self._state.put_lease(self._name, self._holder, self.token, 0.0)

    def _mine(self) -> bool:
        return self._state.lease(self._name)[:2] == (self._holder, self.token)

    def _fresh(self, until: float) -> bool:
        left_s = until - self._clock()
        return self._length_s * 2 / 3 < left_s <= self._length_s

    def _lasts(self, until: float) -> bool:
        # One that seems to last for ever was taken before the clock was set back.
        return 0 < until - self._clock() <= 10 * self._length_s
