"""Makes parts of the log of the lines of evidence that wait in the store: from a thread that nothing waits for, or at once.

Must never lose a line or write one twice: a batch leaves the store only after its part is in the log, and the part's name
follows from the batch (gateway.control.store.evidence), so several may do this at once and be killed anywhere.
"""

import logging
import threading

from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.control.store.rollouts import LEASE, LEASE_S, Rollouts
from graduand.gateway.errors import GraduandError
from graduand.gateway.logs import seal
from graduand.gateway.logs.target import Target
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.lease import Lease

logger = logging.getLogger("graduand")


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


class EvidenceShipper:
    """Ships as often as segments are sealed, until `stop`. `holder`: the controller beside it; while another one leads, that
    one's shipper does it."""

    def __init__(self, settings: Settings, holder: str) -> None:
        self._settings = settings
        self._holder = holder
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="evidence", daemon=True).start()

    def stop(self) -> None:
        """Stop soon; what waits then is shipped by the next one."""
        self._stopping.set()

    def _run(self) -> None:
        store: Rollouts | None = None
        trouble = ""
        while not self._stopping.wait(self._settings.record.seal_s):
            try:
                store = store or open_rollouts(self._settings)
                if (
                    Lease(store.state, LEASE, self._holder, LEASE_S, store.state.now).may_lead()
                    and store.evidence_waits()
                ):
                    ship(store, Target(self._settings.logs))
                trouble = ""
            except (GraduandError, OSError) as error:
                if str(error) != trouble:
                    logger.warning("evidence is not shipped, and waits in the state: %s", error)
                trouble = str(error)
