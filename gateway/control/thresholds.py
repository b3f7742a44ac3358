"""When a rollout's confidence threshold is learnt, and whether the one it has still holds."""

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.rollout.hybrid.learning import LIFETIME_S, MOST_TRIES, learn_threshold, pairs_for
from graduand.rollout.hybrid.threshold import NoThreshold, threshold_from_dict
from graduand.rollout.spec.spec import Step
from graduand.rollout.state import STEPPING, Phase


def ready(row: Row, now: float) -> bool:
    """Whether there is a threshold that holds for this student now."""
    return row.threshold is not None and not why_not(row, now)


def why_not(row: Row, now: float) -> str:
    """Why the stored threshold does not hold; empty if it does."""
    if row.threshold is None:
        return row.learning or "not learnt yet"
    return threshold_from_dict(row.threshold["threshold"]).why_not(row.state.spec.student, now)


def sampling(row: Row) -> bool:
    """Whether pairs are still collected to learn one."""
    return row.wants_threshold and row.threshold is None and row.tries < MOST_TRIES


def learn(store: Rollouts, row: Row, now: float) -> bool:
    """Learn a threshold if one is wanted and the pairs for another try are there; whether a new one was found."""
    step = _hybrid_step(row)
    active = STEPPING | {Phase.PROMOTED}
    if step is None or (row.state.held or row.state.phase) not in active or ready(row, now):
        return False
    if row.threshold is not None:  # it has expired: what was learnt from is as old
        store.write_forget_samples(row)
        row.threshold, row.tries = None, 0
    if not sampling(row):
        return False
    need, have = pairs_for(row.tries), store.sample_count(row)
    if have < need:
        row.learning = row.learning if row.tries else f"{have} of {need} pairs with log probabilities"
        return False
    found = learn_threshold(
        store.samples(row, need), tries=row.tries, risk=step.risk, delta=step.delta,
        adapter=row.state.spec.student, now=now, lifetime_s=LIFETIME_S,
    )  # fmt: skip
    row.tries += 1
    if isinstance(found, NoThreshold):
        more = (
            f"the next try is at {pairs_for(row.tries)} pairs" if sampling(row) else "no further try; retry starts over"
        )
        row.learning = f"{found.reason}; {more}"
        return False
    row.threshold = found
    row.learning = _told(found["threshold"])
    return True


def _hybrid_step(row: Row) -> Step | None:
    return next((step for step in row.state.spec.steps if step.kind == "hybrid"), None)


def _told(learnt: dict[str, float]) -> str:
    return (
        f"confidence of {learnt['value']:.3f} lets {learnt['coverage']:.0%} through; of {learnt['pairs']} such pairs "
        f"{learnt['disagreed']} disagreed, so at most {learnt['risk']:.3g} will, with probability {1 - learnt['delta']:.3g}"
    )
