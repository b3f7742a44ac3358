"""Targets for tests that need one without a fleet."""

import asyncio

from graduand.gateway.dataplane.fleet import UpstreamState
from graduand.gateway.dataplane.http.outbox import Outbox
from graduand.gateway.dataplane.targets import Target
from graduand.gateway.model.routes import Replica, Upstream


def target(model: str, kind: str = "vllm") -> Target:
    """A student of an upstream that is never asked."""
    loop = asyncio.new_event_loop()
    try:
        state = UpstreamState(Upstream("gpu", kind, (Replica("http", "127.0.0.1", 1, "/v1"),)), Outbox(loop))
    finally:
        loop.close()
    return Target("student", state, "gpu", model, f'"{model}"'.encode(), kind == "lorax", False, state.replicas)
