"""Makes parts of the log of the lines of evidence that wait in the store, and notes which parts hold a rollout's records.

Must never lose a line or write one twice: a batch leaves the store only after its part is in the log, and the part's name
follows from the batch (gateway.control.store.evidence), so several may do this at once and be killed anywhere.
"""

from collections.abc import Callable, Sequence

from graduand.gateway.control import journal
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.logs import seal
from graduand.gateway.logs.shipper import Shipped
from graduand.gateway.logs.target import Target


class EvidenceParts:
    """What the shipper tells of the parts that it has shipped, to the store that `open_store` opens."""

    def __init__(self, open_store: Callable[[], Rollouts]) -> None:
        self._open = open_store

    def shipped(self, parts: Sequence[Shipped], target: Target) -> None:
        """The target has these: note them for each rollout that is alive, and ship what is known of the evidence."""
        store = self._open()
        try:
            note(store, parts)
            ship(store, target)
        finally:
            store.close()


def note(store: Rollouts, parts: Sequence[Shipped]) -> None:
    """Name parts in the evidence of the rollouts whose records they hold."""
    with store.transaction():
        for row in store.live():
            held = [one for one in parts if row.id in one.rollouts]
            for one in held:
                journal.part(row, store.state.now(), one.key, one.sha256, one.rollouts[row.id])
            if held:
                store.write_row(row)


def ship(store: Rollouts, target: Target) -> None:
    """Make parts of all lines that wait."""
    while waiting := store.evidence_waits():
        for rollout in waiting:
            with store.transaction():
                first, last = store.write_batch(rollout)
            if lines := tuple(store.batch(rollout, first, last)):
                part = seal.evidence_part(lines)
                target.put(part.key, part.encoded())
            with store.transaction():
                store.write_batch_done(rollout, first, last)
