"""Lines of evidence that wait to become parts of the log.

They are stored in the transaction in which the rollout learnt from them, so none is lost and none is there twice. What waits
is taken as a batch whose ends are stored first; the part's name follows from its lines. So whoever is killed in the middle,
the next one makes the same part under the same name.
"""

import json
from collections.abc import Iterator, Sequence

from graduand.gateway.control.store.rows import Row
from graduand.gateway.logs.shipper import Shipped
from graduand.gateway.state.hashes import COUNT, Hashes

BATCH = "batch"
# After an outage a batch is no larger than about this.
MOST_BYTES = 16 << 20
TAKEN_AT_ONCE = 64


class EvidenceLines:
    """By rollout. Methods that write say so by their name and are called inside a transaction only."""

    _hashes: Hashes

    def write_lines(self, row: Row) -> None:
        """Store the lines that a row has gathered."""
        row.note_read(row.state.updated_at)
        if row.lines:
            self._hashes.append(_waiting(row.id), b"".join(row.lines))
            self._hashes.set("lines", row.id, "")
            row.lines.clear()

    def write_shipped(self, parts: Sequence[Shipped]) -> None:
        """Leave word of parts of the log that hold records of rollouts; their lines are the controller's to write."""
        for one in parts:
            self._hashes.append("shipped", json.dumps([one.key, one.sha256, dict(one.rollouts)]))

    def write_shipped_taken(self) -> list[Shipped]:
        """The parts of which word was left, in order; they are not told again."""
        found = self._hashes.all("shipped")
        numbers = sorted(int(number) for number in found if number != COUNT)
        self._hashes.unset("shipped", map(str, numbers))
        return [Shipped(*json.loads(found[str(number)])) for number in numbers]

    def evidence_waits(self) -> list[str]:
        """The rollouts that have lines which no part has yet."""
        return sorted(self._hashes.all("lines"))

    def write_batch(self, rollout_id: str) -> tuple[int, int]:
        """The batch to make a part of, with its last place: the one that was begun, or all that waits."""
        key = _waiting(rollout_id)
        begun = self._hashes.get(key, BATCH)
        first, last = (
            json.loads(begun) if begun else (self._hashes.number(key, "done") + 1, self._hashes.number(key, COUNT))
        )
        self._hashes.set(key, BATCH, json.dumps([first, last]))
        return first, last

    def batch(self, rollout_id: str, first: int, last: int) -> Iterator[bytes]:
        """The lines of a batch."""
        for data in self._hashes.many(_waiting(rollout_id), [str(place) for place in range(first, last + 1)]):
            yield from (data or b"").splitlines(keepends=True)

    def write_batch_done(self, rollout_id: str, first: int, last: int) -> None:
        """A batch is part of the log; nothing if somebody else has said so before."""
        key = _waiting(rollout_id)
        if self._hashes.get(key, BATCH) != json.dumps([first, last]).encode():
            return
        self._hashes.unset(key, [BATCH, *(str(place) for place in range(first, last + 1))])
        self._hashes.set(key, "done", last)
        if self._hashes.number(key, COUNT) == last:
            self._hashes.unset("lines", [rollout_id])


def _waiting(rollout_id: str) -> str:
    return f"lines:{rollout_id}"
