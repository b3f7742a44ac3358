"""The shipper's process: `python -m graduand.gateway.processes.shipper`, started and configured by the supervisor.

Reads settings from standard input as a worker does; its end means that the supervisor has died. When this process dies
the data plane serves on, segments wait on the disk, and the next shipper does what was left.
"""

import gc
import logging
import threading
import time
from typing import TYPE_CHECKING

from graduand.gateway.logs import places
from graduand.gateway.logs.shipper import Shipper
from graduand.gateway.logs.target import Target
from graduand.gateway.model.routes import Settings
from graduand.gateway.processes import background
from graduand.gateway.processes.child import SideProcess
from graduand.gateway.processes.holding import Holding
from graduand.monitoring.metrics import Metrics

if TYPE_CHECKING:
    from graduand.gateway.control.store.rollouts import Rollouts

LOOK_EVERY_S = 1.0
AFTER_TROUBLE_S = 5.0
GC_THRESHOLDS = (200_000, 20, 20)
# At the end, what the workers wrote last goes to a bucket before the machine may go away.
LAST_LOOKS_S = 10.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point; the one argument is JSON: run_folder."""
    background.give_way()  # what waits on the disk can wait for the processor, too
    # Records have no cycles; looking for some while a segment's records are read would double the time.
    gc.set_threshold(*GC_THRESHOLDS)
    process = SideProcess("shipper")
    process.follow()  # a reload changes nothing here: `logs` and `record` need a restart
    settings = process.settings
    shipper = shipper_of(settings, process.metrics())
    run(shipper, process.stopping)
    if not places.is_local(settings.logs):
        until = time.monotonic() + LAST_LOOKS_S
        while time.monotonic() < until and shipper.look():
            pass


def shipper_of(settings: Settings, metrics: Metrics) -> Shipper:
    """The shipper of a configuration."""

    def rollouts() -> "Rollouts":
        # Loads all of the rollouts' statistics: only once there is something to ask.
        from graduand.gateway.control.store.open import open_rollouts

        return open_rollouts(settings)

    spool = places.spool(settings)
    readers = Holding(spool, rollouts)

    return Shipper(spool, settings.record, lambda: Target(settings.logs), readers, metrics, evidence=readers)


def run(shipper: Shipper, stopping: threading.Event) -> None:
    """Look until told to stop."""
    wait_s = 0.0
    while not stopping.wait(wait_s):
        wait_s = LOOK_EVERY_S
        try:
            shipper.look()
        except Exception:  # a fault here must not stop shipping for ever; segments wait meanwhile
            logger.exception("a look failed; nothing is lost")
            wait_s = AFTER_TROUBLE_S


if __name__ == "__main__":
    main()
