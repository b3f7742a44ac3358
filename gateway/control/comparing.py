"""What users say of the answers of both arms, for the gates that compare them; inside the caller's transaction.

Invariants: a request waits in the store from the end of its session until the last of its deadlines is over, and leaves it in
the transaction in which the gates learn from it; nothing is looked at earlier, so nobody who speaks fast counts more.
"""

from graduand.gateway.control import journal
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.rollout.spec.spec import Outcome

AT_ONCE = 500


def keep(store: Rollouts, row: Row) -> None:
    """Let the requests of sessions that have ended wait for what their users say."""
    for awaited in row.ledger.await_outcomes():
        store.write_awaited(row, awaited)


def settle(store: Rollouts, row: Row, now: float) -> bool:
    """Learn from the requests whose deadlines are over; whether there were any."""
    measures = row.state.spec.outcomes
    if not measures or row.at_rest:
        return False
    longest, places = max(one.within_s for one in measures.values()), list[int]()
    for place, awaited in store.awaited(row, AT_ONCE):
        if now < awaited.at + longest:
            break
        said = store.statements(awaited.record)
        journal.outcome(row, now, awaited, {name: _value(one, awaited.at, said) for name, one in measures.items()})
        places.append(place)
    store.write_awaited_done(row, places)
    return bool(places)


def _value(measure: Outcome, at: float, said: list[tuple[float, float | None, str | None]]) -> float | None:
    """The last thing that was said in time; None if nothing was."""
    in_time = [one for one in said if one[0] <= at + measure.within_s]
    return measure.value(in_time[-1][1], in_time[-1][2]) if in_time else None
