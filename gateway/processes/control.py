"""The controller's process: `python -m graduand.gateway.processes.control`, started and configured by the supervisor.

Reads settings from standard input as a worker does; its end means that the supervisor has died. When this process dies
the data plane serves on, unchanged, and the next controller goes on where the store says.
"""

import contextlib
import logging
import threading
import time

from graduand.gateway.control.certificate.parts import EvidenceShipper
from graduand.gateway.control.loop import Controller
from graduand.gateway.control.notify import Notifier
from graduand.gateway.errors import GraduandError
from graduand.gateway.processes.child import SideProcess
from graduand.gateway.telemetry import rollouts
from graduand.monitoring.metrics import Metrics

LOOK_EVERY_S = 0.1
EXPORT_EVERY_S = 1.0
AFTER_TROUBLE_S = 1.0

logger = logging.getLogger("graduand")


def main() -> None:
    """Entry point; the one argument is JSON: run_folder."""
    process = SideProcess("controller")
    metrics = process.metrics()
    controller = Controller(process.settings, process.holder, metrics=metrics)
    notifier = Notifier(process.settings, process.holder)
    shipper = EvidenceShipper(process.settings, process.holder)
    process.follow(controller)
    try:
        _run(controller, metrics, process.stopping)
    finally:
        notifier.stop()
        shipper.stop()
        with contextlib.suppress(GraduandError):  # the lease ends by itself
            controller.close()


def _run(controller: Controller, metrics: Metrics, stopping: threading.Event) -> None:
    wait_s, export_at, trouble = 0.0, 0.0, ""
    while not stopping.wait(wait_s):
        try:
            wait_s, trouble = 0.0 if controller.look() else LOOK_EVERY_S, ""
            if time.monotonic() >= export_at:
                export_at = time.monotonic() + EXPORT_EVERY_S
                standing = controller.standing()
                rollouts.export(metrics, () if standing is None else rollouts.read(*standing, time.time()))
        except (GraduandError, OSError) as error:
            # Nothing was changed: the transaction was undone. The route stays as it is, and nothing moves.
            if str(error) != trouble:
                logger.error("a look failed and changed nothing: %s", error)
            trouble, wait_s = str(error), AFTER_TROUBLE_S


if __name__ == "__main__":
    main()
