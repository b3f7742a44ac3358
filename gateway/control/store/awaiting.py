"""Requests whose users may still say something: one queue a rollout, of which only the front is ever read.

They come in nearly in the order of their times, and each is taken out once its deadline is over.
"""

import json
from dataclasses import asdict

from graduand.gateway.control.store.rows import Row
from graduand.gateway.state.hashes import Hashes
from graduand.rollout.ledger import Awaited


class Awaiting:
    """By rollout and basis. Methods that write say so by their name and are called inside a transaction only."""

    _hashes: Hashes

    def write_awaited(self, row: Row, awaited: Awaited) -> None:
        """Let a request wait for what its user says."""
        place = self._hashes.next(_of(row), "last")
        self._hashes.set(_of(row), str(place), json.dumps(asdict(awaited)))

    def awaited(self, row: Row, most: int) -> list[tuple[int, Awaited]]:
        """The oldest requests that wait, with their places."""
        done, last = (int(one or 0) for one in self._hashes.many(_of(row), ["done", "last"]))
        places = [*range(done + 1, min(last, done + most) + 1)]
        found = self._hashes.many(_of(row), [str(place) for place in places]) if places else []
        return [
            (place, Awaited(**json.loads(one))) for place, one in zip(places, found, strict=True) if one is not None
        ]

    def write_awaited_done(self, row: Row, places: list[int]) -> None:
        """The oldest wait no longer; `places` are theirs, in order."""
        if places:
            self._hashes.unset(_of(row), [str(place) for place in places])
            self._hashes.set(_of(row), "done", places[-1])

    def write_forget_awaited(self, row: Row) -> None:
        """Drop those of earlier bases, and all of a rollout that nothing is decided about."""
        if row.state.spec.outcomes:
            for basis in range(1, row.state.basis + row.at_rest):
                self._hashes.drop(_key(row.id, basis))


def _of(row: Row) -> str:
    return _key(row.id, row.state.basis)


def _key(rollout: str, basis: int) -> str:
    return f"awaiting:{rollout}:{basis}"
