"""The manager's calls to replicas: list adapters, load, prove, warm up and unload. Runs in threads; writes nothing."""

import logging
import time
from pathlib import Path

import httpx

from graduand.gateway.adapters import residency
from graduand.gateway.errors import AdapterError
from graduand.gateway.model.routes import Replica, Upstream
from graduand.gateway.telemetry.engines import look_at

LIST_TIMEOUT_S = 3.0

logger = logging.getLogger("graduand")


class Slow(residency.UpstreamUnreachable):
    """The replica did not answer in time: it may be busy, or gone."""


def listed(upstream: Upstream, replica: Replica) -> frozenset[str]:
    """The adapters that a replica lists; raises UpstreamUnreachable, or Slow."""
    try:
        models = residency.listed(upstream, replica, timeout_s=LIST_TIMEOUT_S)
    except residency.UpstreamUnreachable as error:
        if isinstance(error.__cause__, httpx.TimeoutException) and not isinstance(
            error.__cause__, httpx.ConnectTimeout
        ):
            raise Slow(str(error)) from error
        raise
    return frozenset(name for name, entry in models.items() if entry.get("parent"))


def busy(upstream: Upstream, replica: Replica) -> frozenset[str] | None:
    """The adapters that a replica has requests for; None if it does not say."""
    reading = look_at(upstream, replica).reading
    return None if reading is None or reading.adapter_slots is None else reading.busy_adapters


def bring(upstream: Upstream, replica: Replica, name: str, path: Path, *, there: bool) -> None:
    """Load unless it is there, prove that it is applied, and warm it; raises GraduandError with the reason."""
    began = time.monotonic()
    logger.info("%s on %s: %s", name, replica.url, "proving" if there else "loading")
    if not there:
        residency.load_on(upstream, replica, name, path)
    proof = residency.verify_on(upstream, replica, name)
    if not proof.applied:
        if proof.listed:
            residency.unload_from(upstream, replica, name)
        raise AdapterError(proof.problem or "it is not applied")
    residency.warm(upstream, replica, name)
    logger.info(
        "%s on %s: proven and warm after %.1f s (log probabilities differ by %.3g)",
        name, replica.url, time.monotonic() - began, proof.distance,
    )  # fmt: skip


def unload(upstream: Upstream, replica: Replica, name: str) -> None:
    """Unload it; raises GraduandError with the reason."""
    residency.unload_from(upstream, replica, name)
    logger.info("%s on %s: drained and unloaded", name, replica.url)
