"""Copies that a budget can pay, spread over the day: thinned by the probability with which units' days are drawn. Pure.

First come, first served would prove the morning. The probability is in every record, so what was thinned is weighed as it
should be; the budget itself stays as the last limit, and a copy that it refuses is a missing outcome.
"""

from graduand.gateway.model.routes import Budget
from graduand.rollout.assignment import BUCKETS, DAY_S
from graduand.rollout.ledger import Ledger
from graduand.rollout.units import Path

# Of a day's budget so much is planned with: the afternoon may be busier than the morning.
ROOM = 0.8
# The traffic is known well enough after so many seconds and requests of a step.
AFTER_S, AFTER_REQUESTS = 60.0, 20
# A change gives every worker a new table, so small ones are not worth it.
WORTH = 0.25


def share_bp(present_bp: int, wanted_bp: int, budget: Budget, ledger: Ledger, path: Path, now: float) -> int:
    """The share of units' days to draw on a path, in basis points: `wanted_bp`, or what the day's budget can pay."""
    asked, spent_s = ledger.asked.get(path, 0), now - ledger.entered_at
    if not budget.requests_per_day or spent_s < AFTER_S or asked < AFTER_REQUESTS:
        return present_bp if budget.requests_per_day else wanted_bp
    a_day = asked / spent_s * DAY_S
    paid = max(1, min(wanted_bp, int(ROOM * budget.requests_per_day / a_day * BUCKETS)))
    return paid if abs(paid - present_bp) > WORTH * present_bp else present_bp
