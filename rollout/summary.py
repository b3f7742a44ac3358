"""How the student does so far, for people: the mean agreement, how exact it is, and how much it rests on. Decides nothing."""

from dataclasses import dataclass

from graduand.rollout.gates import betabinomial
from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.ledger import PATHS, Ledger


@dataclass(frozen=True, slots=True)
class Summary:
    """The agreement of sessions on the path that the present step looks at. `effective` is the number of independent
    requests that would tell as much."""

    name: str
    p0: float
    share: float | None
    low: float
    high: float
    sessions: int
    requests: int
    effective: int


def of(ledger: Ledger) -> Summary | None:
    """The agreement of all answers if a gate asks about it, else the first of its kind; None without any."""
    names = [name for name, signal in ledger.signals.items() if signal.startswith("agreement")]
    name = next((one for one in ("agreement", *names) if one in names), None)
    if name is None:
        return None
    gate, course = _gate(ledger, name), ledger.course
    requests = 0 if course is None else course.seen.requests + course.waiting.requests
    if gate is None or not gate.n:
        return Summary(name, ledger.bounds[name], None, 0.0, 1.0, 0, requests, 0)
    effective = gate.independent
    low, high = betabinomial.band(round(gate.mean * effective), round((1 - gate.mean) * effective))
    return Summary(name, ledger.bounds[name], gate.mean, low, high, gate.n, requests, effective)


def _gate(ledger: Ledger, name: str) -> ConstantBets | None:
    """What has seen the sessions of this step, or of its path where nothing has to be proved."""
    if ledger.course is not None:
        return ledger.course.proofs[name].so_far
    path = PATHS.get(ledger.phase, "served")
    gates = [one.gate for one in ledger.harm.values() if one.signal == ledger.signals[name] and one.path == path]
    return next((gate for gate in gates if isinstance(gate, ConstantBets)), None)
