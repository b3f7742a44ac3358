"""Tells webhooks about a rollout's events: at least once, in order, from a thread that nothing waits for.

Each message carries `id`, the same when it is sent again. An address that does not answer is tried again for a while,
then the event is passed over, so that old news never holds up new ones for ever.
"""

import logging
import os
import threading
import time

import httpx

from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.control.store.rollouts import LEASE, LEASE_S, Rollouts
from graduand.gateway.errors import GraduandError
from graduand.gateway.model.routes import Settings
from graduand.gateway.state.lease import Lease
from graduand.rollout.spec.spec import Webhook
from graduand.rollout.state import Event

EVERY_S = 0.5
TIMEOUT_S = 5.0
TRIES = 5

logger = logging.getLogger("graduand")


class Notifier:
    """Runs until `stop`. `holder`: the controller beside it; while another one leads, that one's notifier tells."""

    def __init__(self, settings: Settings, holder: str) -> None:
        self._settings = settings
        self._holder = holder
        self._stopping = threading.Event()
        self._failed: dict[tuple[str, int], tuple[int, float]] = {}
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop soon; what was not told yet is told by the next controller."""
        self._stopping.set()

    def _run(self) -> None:
        store: Rollouts | None = None
        trouble = ""
        while not self._stopping.wait(EVERY_S):
            try:
                store = store or open_rollouts(self._settings)
                if self._turn(store):
                    self._tell_all(store)
                trouble = ""
            except GraduandError as error:
                if str(error) != trouble:
                    logger.warning("webhooks are not told for now: %s", error)
                trouble = str(error)

    def _turn(self, store: Rollouts) -> bool:
        return Lease(store.state, LEASE, self._holder, LEASE_S, store.state.now).may_lead()

    def _tell_all(self, store: Rollouts) -> None:
        for row in store.rows():
            for number, hook in enumerate(row.state.spec.notify):
                notified = store.notified(row.id, number)
                if row.state.version == notified:
                    continue
                for version, phase, event in store.events(row.id):
                    if version > notified and not self._tell(store, row.id, number, hook, version, phase, event):
                        break

    def _tell(
        self, store: Rollouts, rollout: str, number: int, hook: Webhook, version: int, phase: str, event: Event
    ) -> bool:
        """Whether this event is dealt with."""
        tries, again_at = self._failed.get((rollout, number), (0, 0.0))
        if time.monotonic() < again_at:
            return False
        wanted = not hook.events or event.kind in hook.events or phase in hook.events
        problem = _post(hook, rollout, version, phase, event) if wanted else ""
        if problem and tries + 1 < TRIES:
            self._failed[rollout, number] = (tries + 1, time.monotonic() + 2.0**tries)
            return False
        if problem:
            logger.error("webhook %d of %s was not told of version %d: %s", number, rollout, version, problem)
        self._failed.pop((rollout, number), None)
        with store.transaction():
            store.write_notified(rollout, number, version)
        return True


def _post(hook: Webhook, rollout: str, version: int, phase: str, event: Event) -> str:
    """Send one message; what went wrong, or nothing."""
    url = hook.url or os.environ.get(hook.url_env or "", "")
    if not url:
        return f"the environment variable {hook.url_env} is not set"
    message = {
        "id": f"{rollout}/{version}", "rollout": rollout, "version": version, "phase": phase, "event": event.kind,
        "who": event.actor, "reason": event.reason, "at": event.at,
        "text": f"Rollout {rollout} is now {phase}: {event.reason or event.kind}",
    }  # fmt: skip
    try:
        answer = httpx.post(url, json=message, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__  # an address may hold a secret: it is not repeated
    return "" if answer.is_success else f"it answered {answer.status_code}"
