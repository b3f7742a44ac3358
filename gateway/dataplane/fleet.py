"""The upstreams as one worker knows them: their replicas' connections, load and health, and the choice among them.

The choice: among replicas whose breaker lets requests through, the one with the fewest requests under way; among equals,
the one that the adapter's hash prefers, so that an adapter stays where it is warm. A managed adapter (gateway.fleet) is
asked only where it is ready, and a replica that said it lacks one is passed over for a while. A replica whose rest is over
gets the next request that can still be asked elsewhere, or it would stay out of use until the load on the others is higher
than its own.
"""

import asyncio
import logging
import os
import ssl

from graduand.gateway.dataplane.health import Breaker, RetryBudget
from graduand.gateway.dataplane.http.client import Call, Pool
from graduand.gateway.dataplane.http.failures import Failure
from graduand.gateway.dataplane.http.outbox import Outbox
from graduand.gateway.model import outbound
from graduand.gateway.model.routes import Replica, Upstream
from graduand.gateway.model.routing import preference

MISSING_FOR_S = 5.0
# What vLLM has beside OpenAI's API, and not below `/v1`.
AT_THE_ROOT = ("/tokenize",)
# Ends of a request that say nothing about the replica's health.
NO_VERDICT = ("client_gone", "total_timeout", "overdue")

logger = logging.getLogger("graduand")


class ReplicaState:
    """One address: its pool, its breaker, and how many requests are under way."""

    __slots__ = (
        "_accrued_at", "_dollars_per_s", "_heads", "_lines", "_missing", "_query", "breaker", "in_flight", "pool", "replica",
        "secrets", "shared_dollars", "upstream", "url",
    )  # fmt: skip

    def __init__(
        self, upstream: Upstream, replica: Replica, tls: ssl.SSLContext | None, outbox: Outbox,
        workers: int = 1,
    ) -> None:  # fmt: skip
        self.upstream = upstream
        self.replica = replica
        self.pool = Pool(replica, tls, outbox, outbound.proxy_of(upstream, replica, os.environ))
        self.breaker = Breaker()
        self.in_flight = 0
        self.url = replica.url
        self.secrets = outbound.secrets_of(upstream)
        # A worker knows its own requests only, so each charges its part of the hour: never more than the bill.
        self._dollars_per_s = (upstream.gpu_hour or 0.0) / 3600 / workers
        self._accrued_at = 0.0
        # What a request that was always under way would have been charged; the difference is what one request is.
        self.shared_dollars = 0.0
        self._missing: dict[str, float] = {}
        lines = {
            "host": outbound.authority(replica.host, replica.port, replica.scheme),
            "content-type": "application/json",
            "accept-encoding": "identity",
            **outbound.headers_of(upstream),
        }
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._query = outbound.query_of(upstream)
        self._heads: dict[str, bytes] = {}

    def request(self, path: str, extra_headers: bytes, body: bytes) -> bytes:
        """The bytes of a POST to `path` below the base URL; `extra_headers` are encoded lines."""
        head = self._heads.get(path)
        if head is None:
            # LoRAX's base URL is its root, below which the OpenAI routes have a prefix of their own.
            root = "/v1" if self.upstream.kind == "lorax" and not self.replica.prefix.endswith("/v1") else ""
            prefix = self.replica.prefix.removesuffix("/v1") if path in AT_THE_ROOT else self.replica.prefix + root
            line = f"POST {prefix}{path}{self._query} HTTP/1.1\r\n".encode()
            head = self._heads[path] = line + self._lines
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (head, extra_headers, len(body), body)

    def begin(self, now: float) -> None:
        """A request is about to be sent."""
        self._accrue(now)
        self.in_flight += 1
        self.breaker.begin(now)

    def end(self, failure: Failure | None, now: float, model: str = "") -> None:
        """The request has ended, well or with `failure`."""
        self._accrue(now)
        self.in_flight -= 1
        if failure is None:
            self.breaker.succeeded()
        elif failure.sick:
            self.breaker.failed(now)
        elif failure.cause in NO_VERDICT:
            self.breaker.abandoned()
        else:
            self.breaker.succeeded()
            if failure.cause == "model_missing":
                self._missing[model] = now + MISSING_FOR_S

    def _accrue(self, now: float) -> None:
        if self._dollars_per_s:
            if self.in_flight:
                self.shared_dollars += (now - self._accrued_at) * self._dollars_per_s / self.in_flight
            self._accrued_at = now

    def lacks(self, model: str, now: float) -> bool:
        """Whether the replica said a moment ago that it has no such model."""
        until = self._missing.get(model)
        if until is None:
            return False
        if now >= until:
            del self._missing[model]
            return False
        return True


class UpstreamState:
    """One upstream's replicas and its retry budget."""

    def __init__(self, upstream: Upstream, outbox: Outbox, workers: int = 1) -> None:
        self.upstream = upstream
        self.by_hour = upstream.gpu_hour is not None
        self.budget = RetryBudget()
        # Whether its streams are asked for their usage where a client does not; not once it has refused that.
        self.adds_usage = upstream.stream_usage == "ask"
        # Whether it has answered a stream so: then a refusal that names no field is about something else.
        self.has_streamed = False
        secure = any(replica.scheme == "https" for replica in upstream.replicas)
        tls = ssl.create_default_context(cafile=upstream.ca_file) if secure else None
        self.replicas = [
            ReplicaState(upstream, replica, tls if replica.scheme == "https" else None, outbox, workers)
            for replica in upstream.replicas
        ]

    def refuses_usage(self) -> None:
        """From now on its streams are asked for their usage only where the client asks."""
        if self.adds_usage:
            text = "upstream %s refuses stream_options: usage of streams is estimated; stream_usage: never spares the question"
            logger.warning(text, self.upstream.name)
        self.adds_usage = False

    def with_ready(self, ready: frozenset[str] | None) -> list[ReplicaState]:
        """The replicas that may be asked, by their addresses; None: all."""
        return [one for one in self.replicas if ready is None or one.url in ready]

    def choose(
        self, model: str, now: float, tried: set[ReplicaState], replicas: list[ReplicaState]
    ) -> ReplicaState | None:  # fmt: skip
        """The one of `replicas` to ask for `model`, not one of `tried` if another is left; None while all are resting."""
        if len(replicas) == 1:
            return replicas[0] if replicas[0].breaker.allows(now) else None
        allowed = [replica for replica in replicas if replica.breaker.allows(now)]
        if not tried:
            for replica in allowed:
                if replica.breaker.resting and not replica.lacks(model, now):
                    return replica
        fresh = [replica for replica in allowed if replica not in tried and not replica.lacks(model, now)]
        candidates = fresh or allowed
        if not candidates:
            return None
        return min(candidates, key=lambda one: (one.in_flight, preference(one.url, model)))

    def close(self) -> None:
        """Close the connections; calls under way end first."""
        for replica in self.replicas:
            replica.pool.close()


class Fleet:
    """All upstreams of a worker, and the calls under way."""

    def __init__(self, upstreams: dict[str, Upstream], loop: asyncio.AbstractEventLoop, workers: int = 1) -> None:
        self.loop = loop
        self.outbox = Outbox(loop)
        self._workers = workers
        self.calls: set[Call] = set()
        self.upstreams: dict[str, UpstreamState] = {}
        self.replace(upstreams)

    def __getitem__(self, name: str) -> UpstreamState:
        return self.upstreams[name]

    @property
    def configured(self) -> dict[str, Upstream]:
        """The upstreams by name."""
        return {name: state.upstream for name, state in self.upstreams.items()}

    def replace(self, upstreams: dict[str, Upstream]) -> None:
        """Take a new configuration over; what did not change keeps its connections and its health."""
        old = self.upstreams
        self.upstreams = {
            name: old[name] if name in old and old[name].upstream == upstream else self._state(upstream)
            for name, upstream in upstreams.items()
        }
        for name, state in old.items():
            if self.upstreams.get(name) is not state:
                state.close()

    def _state(self, upstream: Upstream) -> UpstreamState:
        return UpstreamState(upstream, self.outbox, self._workers)

    def expire(self, now: float) -> None:
        """Fail calls whose deadline has passed; called many times a second."""
        for call in [call for call in self.calls if now >= call.deadline]:
            call.expire(now)

    def postpone(self, by_s: float) -> None:
        """Let all deadlines be so much later."""
        for call in self.calls:
            call.postpone(by_s)

    def forget_old(self, now: float) -> None:
        """Close connections that nobody has used for long; called now and then."""
        for state in self.upstreams.values():
            for replica in state.replicas:
                replica.pool.forget_old(now)
