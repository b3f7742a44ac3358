"""What a worker's requests cost: charged to the metrics as they end, and returned for the log's record.

Invariant: every dollar that a record's `cost` names is counted once in `graduand_cost_dollars`. Without declared prices
nothing is computed. The formulas are monitoring.prices'.
"""

from typing import Any

from graduand.gateway.dataplane.dispatch import Dispatch
from graduand.gateway.dataplane.targets import RouteTargets, Target
from graduand.gateway.model.fields import Usage
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics


class Costs:
    """Charges what was asked."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def charge(
        self, route: str, dispatches: list[Dispatch], usage: Usage, raw: Any, spent_on: str, *, answered: bool
    ) -> float | None:  # fmt: skip
        """Charge the dispatches of one record; return their dollars, None if none of them has a price.

        `usage` is the record's and `raw` the upstream's own; both are of the last dispatch, and count if it was
        `answered`, at least in part. `spent_on`: served, deferred, shadow or audit.
        """
        total: float | None = None
        for at, dispatch in enumerate(dispatches):
            target = dispatch.target
            if target.price is not None:
                used = answered and at == len(dispatches) - 1
                dollars = _by_tokens(target, usage, raw) if used else 0.0
            elif target.upstream.by_hour:
                dollars = dispatch.gpu_dollars
                self._metrics.add(m.GPU_USED, (target.upstream_name,), dollars)
            else:
                continue
            self._metrics.add(m.COST, (route, target.arm, target.adapter, spent_on), dollars)
            total = dollars if total is None else total + dollars
        return total

    def avoided(self, targets: RouteTargets, usage: Usage) -> None:
        """Count what the teacher would have cost for an answer that the student gave."""
        price = targets.teacher.price
        if price is not None:
            dollars = price.dollars(usage["prompt_tokens"], usage["completion_tokens"])
            self._metrics.add(m.AVOIDED, (targets.route.name,), dollars)


def _by_tokens(target: Target, usage: Usage, raw: Any) -> float:
    price = target.price
    if price is None:
        return 0.0
    details = raw.get("prompt_tokens_details") if type(raw) is dict else None
    cached = details.get("cached_tokens") if type(details) is dict else None
    return price.dollars(
        usage["prompt_tokens"], usage["completion_tokens"], cached if type(cached) is int and cached > 0 else 0
    )
