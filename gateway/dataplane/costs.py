"""What a worker's requests cost: charged to the metrics as they end, and returned for the log's record.

Invariant: every dollar that a record's `cost` names is counted once in `graduand_cost_dollars`. Without declared prices
nothing is computed. The formulas are monitoring.prices'.
"""

from graduand.gateway.dataplane.dispatch import Dispatch
from graduand.gateway.dataplane.targets import RouteTargets
from graduand.gateway.model.usage import Tokens
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics
from graduand.monitoring.prices import Price


class Costs:
    """Charges what was asked."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def charge(
        self, route: str, dispatches: list[Dispatch], used: Tokens, spent_on: str, *, answered: bool
    ) -> float | None:
        """Charge the dispatches of one record; return their dollars, None if none of them has a price.

        `used` are the tokens of the last dispatch, and count if it was `answered`, at least in part. `spent_on`: served,
        deferred, shadow or audit.
        """
        total: float | None = None
        for at, dispatch in enumerate(dispatches):
            target = dispatch.target
            if target.price is not None:
                dollars = _dollars(target.price, used) if answered and at == len(dispatches) - 1 else 0.0
            elif target.upstream.by_hour:
                dollars = dispatch.gpu_dollars
                self._metrics.add(m.GPU_USED, (target.upstream_name,), dollars)
            else:
                continue
            self._metrics.add(m.COST, (route, target.arm, target.adapter, spent_on), dollars)
            total = dollars if total is None else total + dollars
        return total

    def avoided(self, targets: RouteTargets, used: Tokens) -> None:
        """Count what the teacher would have cost for an answer that the student gave; nothing would have been cached."""
        price = targets.teacher.price
        if price is not None:
            dollars = price.dollars(used.prompt, used.completion)
            self._metrics.add(m.AVOIDED, (targets.route.name,), dollars)


def _dollars(price: Price, used: Tokens) -> float:
    return price.dollars(used.prompt, used.completion, used.cached, used.written, used.heard, used.spoken)
