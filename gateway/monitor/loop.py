"""The monitor: one look at a time it reads the log, feeds the detectors, stores all of it at once and publishes alarms.

Invariant: it remembers nothing that its store does not have, so being killed anywhere costs nothing. Requests never wait
for it: when it falls behind it looks at every second record, then every fourth, and counts what it left out.
"""

import logging
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.control import verdicts
from graduand.gateway.logs import places, tail
from graduand.gateway.logs.drift import DriftLog
from graduand.gateway.logs.tail import Batch, Line
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.model.routes import Route, Settings
from graduand.gateway.monitor import gathering, observed
from graduand.gateway.monitor.panel import Panel
from graduand.gateway.monitor.store import Heard, MonitorStore
from graduand.gateway.state.documents import Documents, key_of
from graduand.gateway.state.open import open_state
from graduand.monitoring import metrics as m
from graduand.monitoring.drift import DriftError, files
from graduand.monitoring.drift.reference import Reference
from graduand.monitoring.embedding.embedder import Embedder
from graduand.monitoring.embedding.named import load
from graduand.monitoring.metrics import Metrics

Json = dict[str, Any]
BEHIND_S, UP_TO_DATE_S = 30.0, 5.0
MOST_SHED = 6  # one record in 2^6
TELL_EVERY_S = 1.0
TIDY_EVERY_S = 60.0
NO_ADAPTER = verdicts.NOBODY

logger = logging.getLogger("graduand")


@dataclass(slots=True)
class Watched:
    """One panel and under what its state is kept; `problem` says why inputs are not watched."""

    key: str
    panel: Panel
    problem: str
    counted: dict[str, int]  # by monitor, observations and alarms that the metrics have already
    alarms: dict[str, int]
    gathers: int = 0  # so many of the teacher's answers are wanted for a reference set
    an_hour: int = 0  # and of one hour at most so many


class Monitor:
    """`look` at the log; the clock is handed in, and `holder` names this process."""

    def __init__(self, settings: Settings, holder: str, clock: Callable[[], float], metrics: Metrics) -> None:
        self.settings = settings
        self._clock = clock
        self._metrics = metrics
        self._folder = places.spool(settings)
        self._store = MonitorStore(self._folder, holder, clock())
        self._drift = DriftLog(self._folder, settings.record, metrics, clock)
        self._state = open_state(settings)
        self._documents = Documents(self._state)
        self._embedders: dict[str, Embedder] = {}
        self._offsets: dict[str, int] | None = None
        self._watched: dict[str, Watched] = {}
        self._seen: tuple[int, object] = (-1, None)
        self._shed = 0
        self._published_at = self._tidied_at = self._followed_at = 0.0

    def close(self) -> None:
        """Let go of its files."""
        self._drift.close()
        self._store.close()
        self._state.close()

    def look(self) -> bool:
        """One look; whether there is more to do at once."""
        now = self._clock()
        try:
            self._follow_routes(now)
            batch = self._read()
            self._take(batch, now)
        except BaseException:
            self._offsets, self._seen, self._watched = None, (-1, None), {}  # as stored, next time
            raise
        self._drift.tidy()
        self._publish(now, fresh=bool(batch.lines))
        return batch.more

    # What is watched.

    def _follow_routes(self, now: float) -> None:
        """Panels for the routes as they are served now; detectors go on where they were stored."""
        seen = (self._state.version(), self.settings)
        missing = any(watched.problem for watched in self._watched.values())
        again = missing and now - self._followed_at >= TIDY_EVERY_S  # a reference set may have been made meanwhile
        if seen[0] == self._seen[0] and seen[1] is self._seen[1] and not again:
            return
        self._followed_at = now
        paths = {one.name: Path(one.path) for one in self._state.adapters()}
        table = self._state.table(self.settings.routes)
        found: dict[str, Watched] = {}
        for route in table.routes.values():
            known = self._watched.get(route.name)
            fresh = self._watch(route, paths, known)
            if fresh is not None:
                found[route.name] = fresh
        self._watched, self._seen = found, seen

    def _watch(self, route: Route, paths: dict[str, Path], known: Watched | None) -> Watched | None:
        wanted = route.monitors
        adapter = NO_ADAPTER if route.student is None else route.student.adapter
        folder = Path(wanted.folder) if wanted.folder else paths.get(adapter)
        if not wanted.on or (route.student is None and folder is None and not wanted.from_log):
            return None
        reference, problem = _reference(folder, adapter)
        gathers = 0
        if reference is None and wanted.from_log:
            reference, problem, gathers = gathering.look(self._folder, self._store, route.name, wanted)
        digest = "" if reference is None else reference.digest
        key = orjson.dumps([route.name, adapter, digest]).decode()
        if known is not None and known.key == key and known.panel.same(wanted):
            known.problem, known.gathers, known.an_hour = problem, gathers, wanted.an_hour
            return known
        embedder: Embedder | None = None
        if reference is not None:
            embedder = self._embedder(reference)
            if embedder is None:
                problem = f"{folder}: its points were made by another embedder than {reference.embedder} is now; make it again"
                reference = None
        panel = Panel(route.name, adapter, wanted, reference, embedder)
        stored = self._store.panel(key)
        if stored is not None:
            panel.restore(stored)
        readings = panel.readings()
        if problem and not gathers and (known is None or known.problem != problem):
            logger.warning("inputs of route %s are not watched: %s", route.name, problem)
        return Watched(key, panel, problem, {one.monitor: one.n for one in readings},
                       {one.monitor: one.alarms for one in readings}, gathers, wanted.an_hour)  # fmt: skip

    def _settings_of(self, route: str) -> Monitors:
        """How the route is watched now."""
        return self._state.table(self.settings.routes).routes[route].monitors

    def _embedder(self, reference: Reference) -> Embedder | None:
        name = reference.embedder
        found = self._embedders.get(name) or self._embedders.setdefault(name, load(name))
        return found if found.digest == reference.embedder_digest else None

    # The log.

    def _read(self) -> Batch:
        if self._offsets is None:
            self._offsets = self._store.offsets()
        return tail.look(self._folder, self._offsets, self._store.since)

    def _take(self, batch: Batch, now: float) -> None:
        assert self._offsets is not None
        touched: dict[str, Watched] = {}
        gathered: list[Heard] = []
        last = 0.0
        for line, record in _in_order(batch):
            watched = self._watched.get(record["route"])
            if watched is None:
                continue
            last = max(last, float(record["time"]))
            if watched.gathers and (prompt := gathering.wanted(record)) is not None:
                unit = observed.unit(record) or None
                gathered.append(Heard(record["id"], record["route"], prompt, record["time"], unit, watched.an_hour))
            if self._shed and zlib.crc32(record["id"].encode()) % (1 << self._shed):
                self._metrics.add(m.MONITOR_SHED, (record["route"],))
                continue
            try:
                watched.panel.take(record)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                # One strange record must not end all watching.
                logger.error(
                    "%s at %d is no record as this version writes them: %r", line.place.file, line.place.offset, error
                )
            touched[watched.key] = watched
        if batch.offsets or touched:
            alarms = {one.id: one.to_json() for watched in touched.values() for one in watched.panel.take_alarms()}
            states = {key: watched.panel.state() for key, watched in touched.items()}
            # Before the commit: killed in between, it is said again, which readers count once; after it, never.
            self._drift.append(
                [asdict(one) for watched in touched.values() for one in watched.panel.take_evaluations()]
            )
            self._store.commit(batch.offsets, states, alarms, self._gone(now), gathered)
            self._offsets |= batch.offsets
            wanting = {one.panel.route for one in touched.values() if one.gathers}
            if any(gathering.whole(self._store, name, self._settings_of(name)) for name in wanting):
                self._seen = (-1, None)  # the next look makes the set
        self._keep_up(now - last if batch.more and last else 0.0, more=batch.more)

    def _keep_up(self, lag_s: float, *, more: bool) -> None:
        self._metrics.set(m.MONITOR_LAG, (), max(lag_s, 0.0))
        if more and lag_s > BEHIND_S:
            self._shed = min(self._shed + 1, MOST_SHED)
        elif lag_s < UP_TO_DATE_S:
            self._shed = max(self._shed - 1, 0)

    def _gone(self, now: float) -> list[str]:
        """Segments that are there no longer."""
        assert self._offsets is not None
        if now - self._tidied_at < TIDY_EVERY_S:
            return []
        self._tidied_at = now
        gone = [name for name in self._offsets if not (self._folder / "segments" / name).exists()]
        for name in gone:
            del self._offsets[name]
        return gone

    # What others are to know.

    def _publish(self, now: float, *, fresh: bool) -> None:
        waiting = self._store.undelivered()
        if not waiting and now - self._published_at < TELL_EVERY_S:
            return
        with self._state.transaction():
            for key, alarm in waiting.items():
                self._documents.write(verdicts.ALARM, key, alarm)
            self._write_readings(now, changed=fresh or bool(waiting))
        # Killed here, the alarm is delivered again: its id is known by then.
        self._store.delivered(waiting)
        self._published_at = now
        self._measure()

    def _write_readings(self, now: float, *, changed: bool) -> None:
        before = self._documents.all(verdicts.DRIFT)
        kept: dict[str, Json] = {}
        for watched in self._watched.values():
            panel = watched.panel
            for one in panel.readings():
                kept[key_of(panel.route, panel.adapter, one.monitor)] = {
                    "route": panel.route, "adapter": panel.adapter, "monitor": one.monitor, "n": one.n,
                    "value": one.value, "threshold": one.threshold, "alarms": one.alarms, "problem": "",
                }  # fmt: skip
            if watched.problem:
                kept[key_of(panel.route, panel.adapter, "")] = {
                    "route": panel.route, "adapter": panel.adapter, "monitor": "inputs", "n": 0, "value": 0.0,
                    "threshold": 0.0, "alarms": 0, "problem": watched.problem,
                }  # fmt: skip
        for key, data in kept.items():
            if {**before.get(key, {}), "at": None} != {**data, "at": None}:
                self._documents.write(verdicts.DRIFT, key, {**data, "at": now})
        for key in before.keys() - kept.keys():
            self._documents.drop(verdicts.DRIFT, key)

    def _measure(self) -> None:
        """The gauges are of what is watched now: those of a route or an adapter that went are not exported any more."""
        stands = {(one.route, one.adapter, one.monitor) for one in verdicts.standing(self._documents)}
        gauges: dict[m.Family, dict[tuple[str, ...], float]] = {
            family: {} for family in (m.DRIFT_MISSING, m.DRIFT_VALUE, m.DRIFT_THRESHOLD, m.DRIFT_ACTIVE)
        }
        for watched in self._watched.values():
            panel = watched.panel
            gauges[m.DRIFT_MISSING][panel.route,] = float(bool(watched.problem))
            for one in panel.readings():
                labels = (panel.route, panel.adapter, one.monitor)
                gauges[m.DRIFT_VALUE][labels] = one.value
                gauges[m.DRIFT_THRESHOLD][labels] = one.threshold
                gauges[m.DRIFT_ACTIVE][labels] = float(labels in stands)
                self._metrics.add(m.DRIFT_EVALUATED, labels, max(one.n - watched.counted[one.monitor], 0))
                self._metrics.add(m.DRIFT_ALARMS, labels, max(one.alarms - watched.alarms[one.monitor], 0))
                watched.counted[one.monitor], watched.alarms[one.monitor] = one.n, one.alarms
        for family, values in gauges.items():
            self._metrics.keep(family, values)


def _reference(folder: Path | None, adapter: str) -> tuple[Reference | None, str]:
    if folder is None:
        return None, f"the adapter {adapter} was not registered by graduand adapters add, so nobody knows its folder"
    try:
        return files.read(folder), ""
    except DriftError as error:
        return None, str(error)


def _in_order(batch: Batch) -> list[tuple[Line, Record]]:
    """The records as they came. Workers write side by side, and a verdict ends by what comes after its last alarm: were
    one worker's lines read behind another's, old drift would follow new calm."""
    found = [(line, record) for line in batch.lines if (record := reader.read(line.data)) is not None]
    return sorted(found, key=lambda one: float(one[1]["time"]))
