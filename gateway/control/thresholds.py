"""When a rollout's confidence threshold is learnt, whether it still holds, and when it is taken back.

Invariant: a route is never hybrid with a threshold that is not proved, has expired, or whose promise its own audits broke.
"""

from typing import Any

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.rollout.answers import tasks
from graduand.rollout.answers.tasks import Task
from graduand.rollout.hybrid import learning as hybrid
from graduand.rollout.hybrid.learning import LIFETIME_S, MOST_PAIRS, Learning, Terms
from graduand.rollout.hybrid.scorer import Reads
from graduand.rollout.spec.spec import Step
from graduand.rollout.state import STEPPING, Phase


def ready(row: Row, now: float) -> bool:
    """Whether there is a threshold that holds for this student now."""
    return not why_not(row, now)


def why_not(row: Row, now: float) -> str:
    """Why no threshold holds; empty if one does."""
    threshold = row.learning.threshold
    if threshold is None:
        return row.learning.said or "not learnt yet"
    return threshold.why_not(row.state.spec.student, now)


def sampling(store: Rollouts, row: Row) -> bool:
    """Whether pairs are still collected: evidence goes on after the first threshold is proved, up to a bound."""
    return row.wants_threshold and store.sample_count(row) < MOST_PAIRS


def learn(store: Rollouts, row: Row, now: float) -> bool:
    """Look at the pairs if a look is due; whether what the route may release has changed."""
    step = _hybrid_step(row)
    if step is None or (row.state.held or row.state.phase) not in STEPPING | {Phase.PROMOTED}:
        return False
    before = row.learning
    if _too_old(before, now):
        store.write_forget_samples(row)
        row.learning = Learning(before.starts, said="expired; it is learnt again from fresh pairs")
    elif before.promise is not None and (broken := before.promise.broken()) is not None:
        store.write_forget_samples(row)
        row.learning = hybrid.withdrawn(before, broken)
    else:
        row.learning = _looked(store, row, step, now)
    return row.learning.threshold != before.threshold


def _looked(store: Rollouts, row: Row, step: Step, now: float) -> Learning:
    known, have = row.learning, store.sample_count(row)
    if not hybrid.due(known, have):
        if known.frozen is None and not known.starts:
            return Learning(said=f"{have} of {hybrid.next_at(known)} pairs with log probabilities")
        return known
    terms = Terms(step.risk, step.delta, row.state.spec.student, step.classes, LIFETIME_S)
    return hybrid.advance(known, store.samples(row, have), terms, now)


def _too_old(known: Learning, now: float) -> bool:
    if known.threshold is not None:
        return now >= known.threshold.expires_at
    return known.frozen is not None and now >= known.frozen.frozen_at + LIFETIME_S


def released_by(row: Row) -> dict[str, Any] | None:
    """The threshold as the data plane applies it; None while none is proved."""
    return hybrid.released_by(row.learning, _reads(tasks.read(row.task)))


def _reads(task: Task) -> Reads | None:
    return Reads(dict(task.labels), task.field) if task.kind == "label" else None


def _hybrid_step(row: Row) -> Step | None:
    return next((step for step in row.state.spec.steps if step.kind == "hybrid"), None)
