"""The controller: one look at a time it reads the log, feeds evidence, decides, and stores all of it at once.

Invariant: it remembers nothing between two looks that the store does not have (but for prechecks and questions to judges
that are under way, which are simply asked again), so being killed anywhere costs nothing: the transaction either happened
or did not. It leads by a lease; a look whose lease was lost changes nothing.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from graduand.gateway.control import (
    comparing,
    facts,
    incumbents,
    journal,
    judging,
    labels,
    moves,
    precheck,
    thresholds,
    verdicts,
)
from graduand.gateway.control.asking import JudgeClient, JudgeQuestion
from graduand.gateway.control.course import point
from graduand.gateway.control.gather import Gatherer
from graduand.gateway.control.judging import Desk
from graduand.gateway.control.store.open import open_rollouts
from graduand.gateway.control.store.rollouts import LEASE, LEASE_S
from graduand.gateway.control.store.rows import AT_REST, Row
from graduand.gateway.logs import places
from graduand.gateway.logs.labels import LabelLog
from graduand.gateway.logs.tail import PAIR_WITHIN_S, Batch, Line, Segments
from graduand.gateway.model import reader
from graduand.gateway.model.routes import Route, Settings
from graduand.gateway.state.documents import Documents
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.lease import Lease, LeaseLost
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.prices import price_of
from graduand.rollout.evidence import Evidence
from graduand.rollout.machine import decide
from graduand.rollout.state import Phase

# Ids are kept this long to know a record that comes twice.
IDS_KEPT_S = 3600.0
# Each look at a verdict that stands writes to the store, on a core that may be a worker's.
UPHOLD_EVERY_S = 1.0
FORGET_EVERY_S = 600.0
# Told by an upstream so often that it has no such model, no statistics are needed.
TRIP_AT = 3

logger = logging.getLogger("graduand")


class Controller:
    """`look` at the store and the log. `holder` names this process in the lease; `clock` is the store's if none is given."""

    def __init__(
        self, settings: Settings, holder: str, clock: Callable[[], float] | None = None, metrics: Metrics | None = None
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        self._asker = JudgeClient(spent=self._spend)
        self._desk = Desk(self._asker, self._count)
        self._store = open_rollouts(settings)
        self._documents = Documents(self._store.state)
        self._folder = places.spool(settings)
        self._clock = clock or self._store.state.now
        self._lease = Lease(self._store.state, LEASE, holder, LEASE_S, self._clock)
        self._checks: dict[tuple[str, int], Future[tuple[str, ...]]] = {}
        self._pool = ThreadPoolExecutor(2, "precheck")
        self._upheld_at = -UPHOLD_EVERY_S
        self._labels = LabelLog(self._folder, settings.record, "controller")
        self._forgot_at = 0.0

    @property
    def token(self) -> int:
        """The lease's fencing token, under which it writes."""
        return self._lease.token

    def close(self) -> None:
        """Let go of the store, and of the lease if it is held."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._asker.close()
        self._lease.release()
        self._labels.close()
        self._store.close()

    def look(self) -> bool:
        """One look; whether there is more to do at once. Decides nothing while another controller leads."""
        more = self._store.share(self._folder)
        now = self._clock()
        if not self._lease.may_lead():
            return more
        live = self._store.live()
        if not live and not self._called(now):  # nothing to lead: an idle gateway writes nothing
            return False
        since = min((row.started_at for row in live), default=None)
        batch = Batch([], {}, more=False) if since is None else self._store.read(self._folder, since)
        try:
            with self._store.transaction():
                self._lease.keep()
                done = verdicts.act(self._store, self._documents, self.settings.routes, now)
                moved = self._step(batch, now)
        except LeaseLost:
            return more
        if self._metrics is not None:
            for one in done:
                self._metrics.add(m.VERDICT_ACTIONS, one)
        self._labels.tidy()
        self._desk.settled()
        self._desk.ask(self._store, live, self.settings.upstreams)
        return moved or batch.more or more

    def _called(self, now: float) -> bool:
        """Whether alarms call for a look: a new one at once, one that stands now and then, to see whether it is over."""
        if verdicts.alarmed(self._documents):
            return True
        if 0 <= now - self._upheld_at < UPHOLD_EVERY_S:
            return False
        self._upheld_at = now
        return bool(verdicts.standing(self._documents))

    def standing(self) -> tuple[Mapping[str, Route], list[Row]] | None:
        """The routes as they are served and each one's newest rollout; None while another controller leads."""
        if not self._lease.may_lead():
            return None
        routes = self._store.state.table(self.settings.routes).routes
        return routes, [row for name in routes for row in self._store.rows(route=name, limit=1)]

    def _step(self, batch: Batch, now: float) -> bool:
        store = self._store
        rows = {row.id: row for row in store.live()}
        for row in rows.values():
            if row.upgraded:
                moves.upgrade(store, row, now, self.settings.routes)
        self._gather(batch, rows, now)
        judged = self._desk.settle(store, rows)
        labelled = {row.id for row in rows.values() if labels.settle(store, row, self._labels, now)}
        labelled |= {row.id for row in rows.values() if comparing.settle(store, row, now)}
        self._forget_statements(now)
        named = self._name_parts(rows, now)
        changed_facts = [row for row in rows.values() if self._renew(row, now)]
        moved = False
        for row in rows.values():
            if row.wants_threshold and (batch.lines or row.id in judged) and thresholds.learn(store, row, now):
                moves.carry_threshold(store, row, now, self.settings.routes)
        # The oldest first: a rollout that takes another one's place changes a row that was looked at before.
        for row in sorted(rows.values(), key=lambda one: one.created_at):
            fresh = row.token != self.token
            row.token = self.token
            # A cycle ends when all that was written in it has been read.
            ticked = not batch.more and journal.tick(store, row, now)
            labels.forget(store, row)
            comparing.keep(store, row)
            thinned = moves.thin(store, row, now, self.settings.routes)
            changed = fresh or bool(batch.lines) or row.id in judged | labelled | named or ticked or thinned
            if incumbents.sleeping(row, rows) is None:
                moved |= self._decide(row, now, changed=changed)
            elif changed:
                store.write_row(row)
        return moved or bool(judged | labelled) or bool(changed_facts)  # the judge is waiting for more questions

    def _forget_statements(self, now: float) -> None:
        """Now and then, drop what was said of answers for which nobody waits any longer."""
        if 0 <= now - self._forgot_at < FORGET_EVERY_S:
            return
        self._forgot_at = now
        self._store.write_forget_statements(now - (self._store.listening() or 0.0) - labels.SLACK_S)

    def _name_parts(self, rows: Mapping[str, Row], now: float) -> set[str]:
        """Write down which parts of the log hold records of which rollouts; which of these changed by that."""
        held = [(rows[name], one) for one in self._store.write_shipped_taken() for name in one.rollouts if name in rows]
        for row, one in held:
            journal.part(row, now, one.key, one.sha256, one.rollouts[row.id])
        return {row.id for row, _ in held}

    def _renew(self, row: Row, now: float) -> bool:
        """Start new evidence if what it is about has changed; whether it has."""
        changed = facts.changed(row, self.settings)
        if changed and row.state.phase not in AT_REST:
            moves.renew(self._store, row, changed, now, self.settings.routes)
        return bool(changed)

    def _count(self, route: str, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.add(m.JUDGED, (route, outcome))

    def _spend(self, question: JudgeQuestion, prompt_tokens: int, completion_tokens: int) -> None:
        """A judge is there because there is a student: what it costs is taken from what the student saves."""
        price = price_of(self.settings.prices, question.model)
        if self._metrics is not None and price is not None:
            dollars = price.dollars(prompt_tokens, completion_tokens)
            self._metrics.add(m.COST, (question.route, "judge", "", "judge"), dollars)

    def _gather(self, batch: Batch, rows: Mapping[str, Row], now: float) -> None:
        store, stored = self._store, self._store.offsets()
        # Between the reading and this transaction another leader may have read on.
        new = [line for line in batch.lines if line.place.offset >= stored.get(line.place.file, 0)]
        records = [(line, record) for line in new if (record := reader.parsed(line.data)) is not None]
        store.expect([record for _, record in records], rows)
        with Segments(self._folder) as segments:
            gatherer = Gatherer(store, segments, rows)
            for line, record in records:
                self._take(partial(gatherer.take, line, record), line, rows.get(record["rollout"] or ""))
            for line in store.overdue(now - PAIR_WITHIN_S) if batch.lines else ():
                self._take(partial(gatherer.overdue, line), line, None)
        store.write_offsets({name: end for name, end in batch.offsets.items() if end > stored.get(name, 0)})
        if batch.lines:
            store.write_forgotten(now - PAIR_WITHIN_S, now - IDS_KEPT_S)

    def _take(self, take: Callable[[], None], line: Line, row: Row | None) -> None:
        """Learn from one record. One that cannot be taken, whatever is wrong with it, must not stop all rollouts for ever: it is
        skipped and counted."""
        try:
            take()
        except (StateError, LeaseLost):
            raise  # the store's matter, and none of the record's
        except Exception as error:
            if row is not None:
                row.count("records that could not be taken")
            logger.error("%s at %d is no record as this version writes them: %r", *_at(line), error)

    def _decide(self, row: Row, now: float, *, changed: bool) -> bool:
        evidence = self.evidence(row, now)
        decision = decide(row.state, evidence, now)
        taken = point(row, evidence, now, self._store.last_point(row.id), moved=decision.event is not None)
        if taken is not None:
            self._store.write_point(row, now, taken)
        if decision.event is None:
            if changed:
                self._store.write_row(row)
            return False
        logger.info("%s: %s: %s", row.id, decision.event.kind, decision.event.reason)
        moves.carry_out(self._store, row, decision.event, self.settings.routes)
        return True

    def evidence(self, row: Row, now: float) -> Evidence:
        """What is known about a rollout now."""
        return row.ledger.snapshot(
            precheck=self._prechecked(row) if row.state.phase is Phase.PRECHECK else None,
            trips=trips(row),
            weights_applied=moves.applied(self._store, row, self.settings.workers),
            threshold_ready=thresholds.ready(row, now),
        )

    def _prechecked(self, row: Row) -> tuple[str, ...] | None:
        key = (row.id, row.state.attempt)
        check = self._checks.get(key)
        if check is None:
            served = incumbents.served(self._store, row.state.spec.route, self.settings.routes)
            self._checks[key] = self._pool.submit(precheck.problems, row.state.spec, self.settings, served)
            return None
        if not check.done():
            return None
        # Looked at once: a resumed precheck is run again.
        del self._checks[key]
        error = check.exception()
        return (f"the check itself failed: {error}",) if error is not None else check.result()


def trips(row: Row) -> tuple[str, ...]:
    """Reasons to roll back that no gate sees: the student is not there, or its judge cannot be relied on."""
    absent = tuple(
        f"{count} requests: {what.removeprefix('absent: ')}, the student's upstream says that it is not there"
        for what, count in row.counts.items()
        if what.startswith("absent: ") and count >= TRIP_AT
    )
    judge = judging.unreliable(row)
    return (*absent, judge) if judge else absent


def _at(line: Line) -> tuple[str, int]:
    return line.place.file, line.place.offset
