"""The fleet manager: at each look it compares what replicas hold with what they should hold, and does what is missing.

Invariants: an adapter is taken out of rotation before anything else is done with it, and put in only after it was
proven. All that the manager knows it can find again: if it is killed, the next one goes on from the store and from what
the replicas list. It must never hold up a request: workers read what it left in the store.
"""

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from graduand.gateway.errors import GraduandError
from graduand.gateway.fleet import work
from graduand.gateway.fleet.placement import Host, place
from graduand.gateway.fleet.plan import Spot, Step, steps
from graduand.gateway.fleet.usage import Usage, Use
from graduand.gateway.fleet.world import MANAGED, Address, Lookout, Wishes, wishes
from graduand.gateway.model.routes import Replica, Settings, Upstream
from graduand.gateway.state import places
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.lease import Lease
from graduand.gateway.state.open import open_state
from graduand.gateway.state.places import Adapter, Cell, Places
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics, Totals

LOOK_EVERY_S = 1.0
# How often the times of last use are written. They only decide which adapter gives way.
USED_EVERY_S = 10.0
AT_ONCE = 8
WHO = "fleet"

logger = logging.getLogger("graduand")


@dataclass(frozen=True, slots=True)
class Task:
    """A job that a replica was given."""

    upstream: str
    step: Step
    done: Future[None]


class Manager:
    """`look` as often as you like; replicas are asked every LOOK_EVERY_S seconds. Not for two threads at once.

    `woken` is called in another thread when a replica has done what it was asked.
    """

    def __init__(
        self, settings: Settings, holder: str, metrics: Metrics, totals: Totals, woken: Callable[[], None] = lambda: None
    ) -> None:  # fmt: skip
        self.settings = settings
        self._metrics = metrics
        self._totals = totals
        self._woken = woken
        self._state = open_state(settings)
        self._documents = Documents(self._state)
        self._lease = Lease(self._state, places.LEASE, holder, places.LEASE_S, lambda: self._state.now())
        # A store that is one machine's own has one gateway: nothing is written there.
        self._alone = self._state.heartbeat_s == math.inf
        self._token = -1  # of the lease under which `_stored` was read
        self._usage = Usage()
        self._pool = ThreadPoolExecutor(AT_ONCE, "fleet")
        self._lookout = Lookout(ThreadPoolExecutor(AT_ONCE, "lookout"))
        self._tasks: dict[Address, Task] = {}
        self._stored: Places = {}  # what the store has
        self._cells: Places = {}  # as things stand
        self._drains: dict[tuple[str, Spot], int] = {}  # at which version nobody is sent there any more
        self._look_at = self._use_at = 0.0

    def close(self) -> None:
        """Stop. Jobs that replicas have begun run to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._lookout.pool.shutdown(wait=False, cancel_futures=True)
        try:
            if not self._alone:
                self._lease.release()
        finally:
            self._state.close()

    def look(self) -> None:
        """One look. A replica's failure is kept in its cell; only a failure of the store is raised."""
        now = self._state.now()
        wanted = wishes(self._state, self.settings)
        self._note_use(wanted, now)
        if not self._alone and not self._lease.held():
            self._export({})
            return
        if self._token != self._lease.token:
            self._take_over()
        cells = self._cells
        self._collect(cells, now)
        if now >= self._look_at or now < self._look_at - LOOK_EVERY_S:
            self._look_at = now + LOOK_EVERY_S
            concerned = {upstream for upstream, _ in wanted.registered.keys() | cells.keys()}
            self._lookout.look([one for one in self.settings.upstreams.values() if one.name in concerned])
        self._adopt(cells, wanted, now)
        asked = [
            (upstream, step) for upstream in self._managed() for step in self._steps(upstream, cells, wanted, now)
        ]  # fmt: skip
        for upstream, step in asked:
            self._mark(upstream, step, cells)
        self._write(self._stored, cells, wanted)
        for upstream, step in asked:
            self._ask(upstream, step, cells, wanted, now)
        self._write(self._stored, cells, wanted)
        self._export(cells)

    def _take_over(self) -> None:
        """Begin with what the store has: another manager may have changed it."""
        self._stored = places.read(self._documents)
        self._cells = {adapter: dict(found) for adapter, found in self._stored.items()}
        self._tasks.clear()
        self._drains.clear()
        self._look_at = 0.0
        self._token = self._lease.token

    def _managed(self) -> list[Upstream]:
        return [
            one for one in self.settings.upstreams.values() if (one.name, one.replicas[0].url) in self._lookout.seen
        ]

    def _note_use(self, wanted: Wishes, now: float) -> None:
        if self._use_at <= now < self._use_at + USED_EVERY_S:
            return
        self._use_at = now
        stored = places.used(self._documents)
        fresh = self._usage.look(wanted.routes, self._totals.sums(), now)
        for adapter, (at, weight) in stored.items():
            mine = self._usage.uses.get(adapter)
            if mine is None or at > mine.at:
                self._usage.uses[adapter] = Use(at, weight)
        # Nobody reads it where every adapter has its place anyhow.
        scarce = {name for name, one in self.settings.upstreams.items() if one.slots is not None}
        fresh = {adapter for adapter in fresh & wanted.registered.keys() if adapter[0] in scarce}
        gone = stored.keys() - wanted.registered.keys()
        if fresh or gone:
            with self._state.transaction():
                for adapter in fresh:
                    use = self._usage.uses[adapter]
                    places.write_used(self._documents, adapter, use.at, use.weight)
                places.forget_used(self._documents, gone)

    def _collect(self, cells: Places, now: float) -> None:
        """Collect the results of finished jobs."""
        for address, task in list(self._tasks.items()):
            if not task.done.done():
                continue
            del self._tasks[address]
            step, adapter = task.step, (task.upstream, task.step.adapter)
            found = cells.setdefault(adapter, {})
            before, error = found.get(step.replica), task.done.exception()
            if error is not None and not isinstance(error, GraduandError):
                logger.error("unexpected error at %s", step.replica, exc_info=error)
            if error is None:
                self._lookout.holds(address, step.adapter, yes=step.do == "bring")
            if step.do == "unload" and error is None:
                found.pop(step.replica, None)
            elif before is not None and before.state in ("loading", "draining"):  # else it has gone away meanwhile
                found[step.replica] = before.after(error, now)
            self._count(task.upstream, step, error)

    def _count(self, upstream: str, step: Step, error: BaseException | None) -> None:
        outcome = "failed" if error is not None else "loaded" if step.do == "bring" else "unloaded"
        self._metrics.add(m.FLEET_ACTIONS, (upstream, outcome))
        if error is not None:
            logger.warning("%s on %s: %s", step.adapter, step.replica, error)

    def _adopt(self, cells: Places, wanted: Wishes, now: float) -> None:
        """Registered adapters that a replica already has, for example by `adapters add`, must still be proven."""
        for (upstream, url), held in self._lookout.seen.items():
            for name in held or ():
                if (upstream, name) in wanted.registered:
                    cells.setdefault((upstream, name), {}).setdefault(url, Cell("missing", now))

    def _steps(self, upstream: Upstream, cells: Places, wanted: Wishes, now: float) -> list[Step]:
        sights = self._lookout.sights(upstream)
        book: dict[Spot, Cell] = {
            (url, name): cell
            for (at, name), found in cells.items()
            if at == upstream.name
            for url, cell in found.items()
        }
        want = wanted.wanted(upstream, self._usage.uses, now)
        hosts = [Host(url, self._slots(upstream, url, wanted), sight.listed) for url, sight in sights.items() if sight]
        order = {one.name: (not one.pinned, -one.used_at) for one in want}
        found = steps(place(want, hosts), sights, book, self._drained(upstream, book, now), now)
        return sorted(found, key=lambda step: (step.do == "bring", order.get(step.adapter, (False, 0.0))))

    def _slots(self, upstream: Upstream, url: str, wanted: Wishes) -> int | None:
        """The slots of a replica that unregistered adapters leave free."""
        held = self._lookout.seen.get((upstream.name, url)) or frozenset()
        others = sum((upstream.name, name) not in wanted.registered for name in held)
        return None if upstream.slots is None else upstream.slots - others

    def _drained(self, upstream: Upstream, book: dict[Spot, Cell], now: float) -> set[Spot]:
        """Places without requests in flight: no worker sends there, and the engine has none left."""
        found = set()
        longest_s = max(route.timeouts.total_s for route in self.settings.routes.values())
        replicas = {one.url: one for one in upstream.replicas}
        for spot, cell in book.items():
            if cell.state != "draining" or spot[0] not in replicas:
                self._drains.pop((upstream.name, spot), None)
                continue
            version = self._drains.setdefault((upstream.name, spot), self._state.version())
            if now - cell.since > longest_s:
                found.add(spot)
            elif self._state.all_serve(version, self.settings.workers):
                busy = work.busy(upstream, replicas[spot[0]])
                if busy is not None and spot[1] not in busy:
                    found.add(spot)
        return found

    def _mark(self, upstream: Upstream, step: Step, cells: Places) -> None:
        found = cells.setdefault((upstream.name, step.adapter), {})
        before = found.get(step.replica)
        if step.do == "forget":
            found.pop(step.replica, None)
        elif step.cell is not None:
            found[step.replica] = step.cell
            if before is not None and before.state == "ready":
                logger.warning("%s on %s: %s %s", step.adapter, step.replica, step.cell.state, step.cell.reason)
                if step.cell.state != "draining":
                    self._metrics.add(m.FLEET_ACTIONS, (upstream.name, "lost"))

    def _ask(self, upstream: Upstream, step: Step, cells: Places, wanted: Wishes, now: float) -> None:
        """Give a replica its next job; it does one at a time."""
        address, adapter = (upstream.name, step.replica), (upstream.name, step.adapter)
        if step.do not in ("bring", "unload") or address in self._tasks:
            return
        replica = next(one for one in upstream.replicas if one.url == step.replica)
        done = self._pool.submit(self._work(upstream, replica, step, wanted))
        self._tasks[address] = Task(upstream.name, step, done)
        if step.do == "bring":
            before = cells[adapter].get(step.replica)
            cells[adapter][step.replica] = Cell("loading", now, "", 0 if before is None else before.attempts)
        done.add_done_callback(lambda _: self._woken())

    def _work(self, upstream: Upstream, replica: Replica, step: Step, wanted: Wishes) -> Callable[[], None]:
        name = step.adapter
        if step.do == "unload":
            return lambda: work.unload(upstream, replica, name)
        path = Path(wanted.registered[upstream.name, name].path)
        there = name in (self._lookout.seen.get((upstream.name, replica.url)) or ())
        return lambda: work.bring(upstream, replica, name, path, there=there)

    def _write(self, stored: Places, cells: Places, wanted: Wishes) -> None:
        """Write what changed. Workers hear of it if it changes which replicas they may ask."""
        kept = {name for name, one in self.settings.upstreams.items() if one.kind in MANAGED}
        for adapter, found in list(cells.items()):
            if adapter[0] not in kept or not (found or adapter in wanted.registered):
                del cells[adapter]
        for adapter in wanted.registered:
            if adapter[0] in {one.name for one in self._managed()}:
                cells.setdefault(adapter, {})
        new = {
            adapter: dict(found)
            for adapter, found in cells.items()
            if adapter in stored or not self._untried(adapter, found)
        }
        if new != stored:
            with self._state.transaction():
                if not self._alone:
                    self._lease.check()
                places.write(self._documents, stored, new)
                self._tell(places.ready(stored), places.ready(new))
        self._stored = new

    def _untried(self, adapter: Adapter, cells: dict[str, Cell]) -> bool:
        """Whether somebody else loaded this adapter: it is asked everywhere until it has been tried everywhere."""
        held = any(adapter[1] in (self._lookout.seen.get((adapter[0], url)) or ()) for url in cells)
        return held and any(cell.state in ("missing", "loading") for cell in cells.values())

    def _tell(self, before: dict[Adapter, frozenset[str]], after: dict[Adapter, frozenset[str]]) -> None:
        for adapter in sorted(before.keys() | after.keys()):
            old, new = before.get(adapter), after.get(adapter)
            if old != new:
                what = {
                    "ready": sorted((new or set()) - (old or set())),
                    "not_ready": sorted((old or set()) - (new or set())),
                }
                kept: dict[str, object] = {key: urls for key, urls in what.items() if urls}
                if old is None or new is None:
                    kept["managed"] = new is not None
                self._state.changed(f"adapter/{adapter[1]}", WHO, {"upstream": adapter[0], **kept})

    def _export(self, cells: Places) -> None:
        managed = self._managed() if cells else ()
        slots: dict[tuple[str, ...], float] = {
            (one.name,): one.slots * len(one.replicas) for one in managed if one.slots is not None
        }
        self._metrics.keep(m.FLEET_SLOTS, slots)
        self._metrics.keep(m.FLEET_PLACES, places.standing(cells))
        ready = places.ready(cells)
        self._metrics.keep(m.ADAPTER_READY, {(name, upstream): len(urls) for (upstream, name), urls in ready.items()})
