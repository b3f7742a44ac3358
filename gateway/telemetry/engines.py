"""Reads the upstreams every few seconds: engines' own metrics under common names, loaded adapters, dollars per hour.

Runs beside the admin plane, never on a request's path and never while a scrape waits. Invariant: a value that cannot be
read is not exported: a dead replica's gauges vanish and `graduand_engine_up` falls. Counters are sums of differences,
so the restart of an engine or a gateway process never lowers them.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from graduand.gateway.adapters import connection, residency
from graduand.gateway.errors import GraduandError
from graduand.gateway.model.routes import Replica, Settings, Upstream, UpstreamKind
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.open import open_state
from graduand.monitoring import engines
from graduand.monitoring import metrics as m
from graduand.monitoring.engines import EngineReading, Histogram
from graduand.monitoring.metrics import Family, Metrics

LOOK_EVERY_S = 5.0
TIMEOUT_S = 3.0
MOST_BYTES = 8 << 20
AT_ONCE = 8
POLLED: tuple[UpstreamKind, ...] = ("vllm", "lorax")
HOUR_S = 3600.0

logger = logging.getLogger("graduand")

Values = dict[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Look:
    """What one replica answered: its metrics, and the models it lists (adapters have a parent); None where it did not."""

    upstream: Upstream
    replica: Replica
    reading: EngineReading | None
    listed: Mapping[str, Mapping[str, Any]] | None


class Engines:
    """`look` once; `run` looks until stopped."""

    def __init__(self, metrics: Metrics, settings: Callable[[], Settings]) -> None:
        self._metrics = metrics
        self._settings = settings
        self._before: dict[str, EngineReading] = {}
        self._billed_at: float | None = None

    def run(self, stopping: threading.Event) -> None:
        """Look every few seconds. A failure is logged; the next look tries again."""
        while True:
            try:
                self.look(time.monotonic())
            except (GraduandError, OSError) as error:
                logger.warning("engines could not be looked at: %s", error)
            if stopping.wait(LOOK_EVERY_S):
                return

    def look(self, now: float) -> None:
        """Read every replica, then bring all gauges and counters up to date."""
        settings = self._settings()
        self._bill(settings, now)
        polled = [one for one in settings.upstreams.values() if one.kind in POLLED]
        pairs = [(upstream, replica) for upstream in polled for replica in upstream.replicas]
        with ThreadPoolExecutor(AT_ONCE, "engines") as pool:
            looks = list(pool.map(lambda pair: look_at(*pair), pairs))
        for look in looks:
            self._count(look)
        for family, values in gauges(polled, looks, *wanted(settings)).items():
            self._metrics.keep(family, values)

    def _bill(self, settings: Settings, now: float) -> None:
        passed_s = 0.0 if self._billed_at is None else now - self._billed_at
        self._billed_at = now
        for upstream in settings.upstreams.values():
            if upstream.gpu_hour is not None:
                dollars = upstream.gpu_hour * len(upstream.replicas) * passed_s / HOUR_S
                self._metrics.add(m.GPU_DOLLARS, (upstream.name,), dollars)

    def _count(self, look: Look) -> None:
        reading, labels = look.reading, (look.upstream.name,)
        if reading is None:
            return
        before = self._before.get(look.replica.url)
        self._before[look.replica.url] = reading
        if before is None:  # what was counted before the first look is not ours to count
            return
        if reading.tokens is not None:
            self._metrics.add(m.ENGINE_TOKENS, labels, _added(reading.tokens, before.tokens))
        self._merge(m.ENGINE_FIRST_TOKEN, labels, reading.first_token, before.first_token)
        self._merge(m.ENGINE_PER_TOKEN, labels, reading.per_token, before.per_token)

    def _merge(
        self, family: Family, labels: tuple[str, ...], found: Histogram | None, before: Histogram | None
    ) -> None:  # fmt: skip
        if found is not None:
            added = found.since(before)
            self._metrics.merge(family, labels, added.counts, added.total_s)


def look_at(upstream: Upstream, replica: Replica) -> Look:
    """Ask one replica; never raises."""
    reading = listed = None
    try:
        with connection.client(upstream, replica, TIMEOUT_S) as client:
            root = replica.url.removesuffix("/v1")
            reading = engines.read(_page(client, f"{root}/metrics"))
            if upstream.kind == "vllm":
                listed = residency.listed(upstream, replica, timeout_s=TIMEOUT_S)
    except (httpx.HTTPError, engines.NotMetrics, GraduandError, OSError) as error:
        logger.debug("%s was not read: %s", replica.url, error)
    return Look(upstream, replica, reading, listed)


def _page(client: httpx.Client, url: str) -> str:
    with client.stream("GET", url) as answer:
        answer.raise_for_status()
        parts, size = [], 0
        for part in answer.iter_bytes():
            size += len(part)
            if size > MOST_BYTES:
                raise engines.NotMetrics(f"{url} has more than {MOST_BYTES} bytes")
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def wanted(settings: Settings) -> tuple[set[tuple[str, str]], dict[tuple[str, str], int]]:
    """Adapters that should be loaded, with their upstream: what was added, and the students that routes ask; and on how many
    replicas, where the fleet manager has a say in it."""
    store = open_state(settings)
    try:
        routes = store.table(settings.routes).routes.values()
        students = {(asked.adapter, asked.upstream) for route in routes if (asked := route.asked_student) is not None}
        incumbents = {
            (route.incumbent.adapter, route.student.upstream)
            for route in routes
            if route.student is not None and route.incumbent is not None
        }
        managed = places.read(Documents(store))
        homes = {(name, upstream): len(places.belongs(cells)) for (upstream, name), cells in managed.items()}
        return students | incumbents | {(one.name, one.upstream) for one in store.adapters()}, homes
    finally:
        store.close()


def gauges(
    polled: Iterable[Upstream], looks: Iterable[Look], wanted: Iterable[tuple[str, str]],
    homes: Mapping[tuple[str, str], int],
) -> Mapping[Family, Values]:  # fmt: skip
    """All gauges of this module. LoRAX lists nothing and loads just in time, so nothing is missed there."""
    values: dict[Family, Values] = {
        family: {}
        for family in (
            m.ENGINE_REPLICAS, m.ENGINE_UP, m.ENGINE_RUNNING, m.ENGINE_WAITING, m.ENGINE_CACHE, m.ENGINE_ADAPTERS,
            m.ENGINE_ADAPTERS_BUSY, m.ENGINE_ADAPTER_SLOTS, m.ADAPTER_WANTED, m.ADAPTER_RESIDENT,
        )
    }  # fmt: skip
    by_upstream = {one.name: [look for look in looks if look.upstream.name == one.name] for one in polled}
    for one in polled:
        of_one = by_upstream[one.name]
        readings = [look.reading for look in of_one if look.reading is not None]
        values[m.ENGINE_REPLICAS][one.name,] = len(one.replicas)
        values[m.ENGINE_UP][one.name,] = len(readings)
        for family, value in _engine(readings, of_one).items():
            if value is not None:
                values[family][one.name,] = value
        if one.kind == "vllm":
            for name in (name for name, upstream in wanted if upstream == one.name):
                values[m.ADAPTER_WANTED][name, one.name] = homes.get((name, one.name), len(one.replicas))
                values[m.ADAPTER_RESIDENT][name, one.name] = sum(name in (look.listed or ()) for look in of_one)
    return values


def _engine(readings: list[EngineReading], looks: list[Look]) -> dict[Family, float | None]:
    lists = [look.listed for look in looks if look.listed is not None]
    loaded = {name for listed in lists for name, entry in listed.items() if entry.get("parent")}
    adapters_known = any(reading.adapter_slots is not None for reading in readings)
    return {
        m.ENGINE_RUNNING: _over(sum, (reading.running for reading in readings)),
        m.ENGINE_WAITING: _over(sum, (reading.waiting for reading in readings)),
        m.ENGINE_CACHE: _over(max, (reading.cache_usage for reading in readings)),
        m.ENGINE_ADAPTERS: len(loaded) if lists else None,
        m.ENGINE_ADAPTERS_BUSY: len(frozenset[str]().union(*(reading.busy_adapters for reading in readings)))
        if adapters_known else None,
        m.ENGINE_ADAPTER_SLOTS: _over(min, (reading.adapter_slots for reading in readings)),
    }  # fmt: skip


def _over(fold: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fold(known) if known else None


def _added(now: float, before: float | None) -> float:
    return now if before is None or now < before else now - before
