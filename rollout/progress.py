"""How long until this step is passed, if things go on as they do? An estimate for people; nothing is decided by it."""

import math

from graduand.rollout.gates import betabinomial
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.latency import Latency
from graduand.rollout.gates.state import AnyGate
from graduand.rollout.ledger import Ledger
from graduand.rollout.spec.spec import GateSpec
from graduand.rollout.state import STEPPING, State

FARTHEST = 1 << 20


def more_needed(spec: GateSpec, gate: AnyGate) -> int | None:
    """Further observations until the gate certifies at the rate seen so far; None if it never would, or nobody knows.

    >>> gate = Agreement(0.9, agreed=50, disagreed=0)
    >>> more_needed(GateSpec("agreement", "agreement", {}, math.log(20), ()), gate) > 0
    False
    """
    match gate:
        case Agreement(agreed=good, n=n, p0=p0) | Latency(met=good, n=n, within=p0):
            pass
        case _:
            return None
    if gate.log_e >= spec.log_threshold:
        return 0
    share = (good + 0.5) / (n + 1)  # a little less than certain while all is well
    if n < 1 or share <= p0:
        return None

    def proved(more: int) -> bool:
        future = round(share * more)
        return betabinomial.log_evidence(good + future, n - good + more - future, p0) >= spec.log_threshold

    high = 1
    while not proved(high):
        high *= 2
        if high > FARTHEST:
            return None
    low = high // 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if proved(middle) else (middle, high)
    return high


def seconds_left(state: State, ledger: Ledger, now: float) -> float | None:
    """Until the present step could be passed; None if that cannot be told."""
    step = state.current
    if step is None or state.phase not in STEPPING:
        return None
    spent = state.dwelt_s(now)
    left = [max(0.0, step.dwell_s - spent)]
    wanted = [max(0, max(1, step.n_min) - ledger.step_n)]
    for spec in state.spec.gates:
        if step.kind in spec.needed_in:
            more = more_needed(spec, ledger.promote[spec.name].gate)
            if more is None:
                return None
            wanted.append(more)
    most = max(wanted)
    if most and (not ledger.step_n or spent <= 0):
        return None
    if most:
        left.append(most * spent / ledger.step_n)
    return max(left) if math.isfinite(max(left)) else None
