"""How long until this step is passed, if things go on as they do? An estimate for people; nothing is decided by it."""

import math

from graduand.rollout import planning
from graduand.rollout.gates.constant_bets import log_mean_exp
from graduand.rollout.gates.cycles import LEAST, SECONDS, Proof
from graduand.rollout.ledger import Ledger
from graduand.rollout.spec.spec import GateSpec
from graduand.rollout.state import STEPPING, State

FARTHEST = 1 << 20


def more_needed(spec: GateSpec, proof: Proof) -> int | None:
    """Further observations until the gate certifies at the mean seen so far; None if it never would, or nobody knows.

    >>> from graduand.rollout.gates.constant_bets import ConstantBets
    >>> proof = Proof(ConstantBets(0.9))
    >>> for _ in range(50):
    ...     proof.update(1.0, whole=False)
    >>> more_needed(GateSpec("agreement", "agreement", {}, math.log(20), ()), proof) > 0
    False
    """
    gate = proof.so_far
    if gate.log_e >= spec.log_threshold:
        return 0
    mean = (gate.total + 0.5) / (gate.n + 1)  # a little less than certain while all is well
    if gate.n < 1 or mean <= gate.p0:
        return None
    # As if the rest were ones and zeros of that mean: what is spread less takes a little less.
    up, down = planning.gains(gate.p0)
    each = mean * up + (1 - mean) * down

    def proved(more: int) -> bool:
        logs = [log + more * gain for log, gain in zip(gate.logs, each.tolist(), strict=True)]
        return log_mean_exp(logs) >= spec.log_threshold

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
    left = [max(0.0, step.dwell_s - spent), _requests_s(max(1, step.n_min) - ledger.step_n, ledger.step_n, spent)]
    course, span = ledger.course, SECONDS[state.spec.cycle]
    for spec in state.gates if course is not None else ():
        if course is None or step.kind not in spec.needed_in:
            continue
        if spec.labels is not None:
            if course.labelling is None or course.labelling.log_e < spec.log_threshold:
                return None  # nobody knows when people find the time
            continue
        proof = course.proofs[spec.name]
        more = more_needed(spec, proof)
        if more is None:
            return None
        left.append(_requests_s(more, proof.so_far.n, spent))
    most = max(left)
    if not math.isfinite(most):
        return None
    if course is not None and span:  # looked at when a cycle ends
        into = max(0.0, now - ledger.cycle_began)
        least = max(0, LEAST - course.whole) * span
        most = max(math.ceil((most + into) / span) * span, least) - into if most or least else 0.0
    return most


def _requests_s(more: int, seen: int, spent_s: float) -> float:
    """How long so many more take at the pace of those that were seen."""
    if more <= 0:
        return 0.0
    return more * spent_s / seen if seen and spent_s > 0 else math.inf
