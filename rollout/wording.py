"""Reasons in plain English, with their numbers. No decision is taken here."""

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from graduand.rollout.evidence import Reading
from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.cycles import LEAST, Cycle, Proof, Seen, differ
from graduand.rollout.gates.detectable import detectable
from graduand.rollout.gates.drop import Drop
from graduand.rollout.gates.one_sided import OneSided
from graduand.rollout.gates.path_test import PathTest
from graduand.rollout.gates.state import AnyGate
from graduand.rollout.spec.spec import Claim, GateSpec, Step
from graduand.rollout.state import Phase, State

if TYPE_CHECKING:
    from graduand.rollout import ledger
    from graduand.rollout.labelling import Labelling

AT_REST = {
    Phase.DRAFT: "not started",
    Phase.ROLLED_BACK: "rolled back; retry starts over with fresh evidence",
    Phase.ABORTED: "aborted; retry starts over with fresh evidence",
    Phase.SUPERSEDED: "another rollout took this one's place",
}


def span(seconds: float) -> str:
    """A duration that people read at a glance.

    >>> span(42), span(1800), span(5400), span(7 * 86400)
    ('42 s', '30 min', '1.5 h', '7 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 2 * 86400 else f"{seconds / 86400:.3g} days"


def evidence(log_e: float) -> str:
    """E, in digits while it fits.

    >>> evidence(0.0), evidence(3.0), evidence(9.21), evidence(100.0), evidence(-50.0)
    ('1', '20.1', '10,000', '10^43', '10^-22')
    """
    if 6.9 < log_e < 13:
        return f"{float(f'{math.exp(log_e):.3g}'):,.0f}"
    return f"{math.exp(log_e):.3g}" if abs(log_e) < 13 else f"10^{log_e / math.log(10):.0f}"


def gate(spec: GateSpec, reading: Reading | None) -> str:
    """One gate against its threshold."""
    if reading is None or reading.n < 1:
        return f"{spec.name}: no observation yet; evidence of {evidence(spec.log_threshold)} is asked for"
    seen = reading.note or f"{reading.n} observations"
    return f"{spec.name}: evidence {evidence(reading.log_e)} of {evidence(spec.log_threshold)} asked for ({seen})"


def watching(reading: Reading | None, spec: GateSpec) -> str:
    """The watch after promotion."""
    return f"promoted; watching for a drop: {gate(spec, reading)}"


def srm(reading: Reading, log_threshold: float) -> str:
    """A sample ratio mismatch."""
    odds = f"evidence {evidence(reading.log_e)}, alarm at {evidence(log_threshold)}"
    return (
        f"units do not fall into the arms as they should ({odds}, {reading.n} units): stickiness or counting is broken"
    )


def held(state: State) -> str:
    """Why a rollout is held, and what ends it."""
    inside = f" in {state.current.name}" if state.current is not None else ""
    return f"held{inside} ({state.hold}): {state.note or 'no reason given'}"


def silent(name: str, last: float | None, now: float, stale_s: float) -> str:
    """Telemetry that stopped, or never came."""
    if last is None:
        return f"{name}: no data within {span(stale_s)}"
    return f"{name}: last data {span(now - last)} ago, at most {span(stale_s)} is fresh"


def too_few(step: Step, n: int) -> str:
    """Not enough observations in this step."""
    what = "pairs compared" if step.kind == "shadow" else "requests answered by the student"
    return f"{n} of {max(1, step.n_min)} {what} in {step.name}"


def too_short(step: Step, dwelt_s: float) -> str:
    """Not long enough in this step."""
    return f"{span(dwelt_s)} of {span(step.dwell_s)} in {step.name}"


def onward(state: State, n: int, now: float) -> str:
    """A step that was passed."""
    step = state.spec.steps[state.step]
    target = state.upcoming.name if state.upcoming is not None else "promoted"
    return f"{step.name} passed after {span(state.dwelt_s(now))} and {n} observations; on to {target}"


def seen(gate: AnyGate) -> str:
    """What a gate has seen, in its own words."""
    match gate:
        case ConstantBets(n=n, mean=mean) | Drop(n=n, mean=mean):
            return f"mean {mean:.1%} of {n} sessions" if n else "nothing yet"
        case OneSided(students=ours, teachers=theirs, n=n):
            return f"{ours} of {n} units failed first with the student, {theirs} with the teacher"
        case PathTest(n=n, gap=gap):
            return f"copies agree {gap:+.1%} more often than served answers, {n} pairs of users' means"
    return f"{gate.n} observations"


def unharmed(gate: AnyGate, log_threshold: float) -> str:
    """Beside "no harm found": the smallest harm that would have been found by now."""
    if gate.log_e >= log_threshold:
        return ""
    match gate:
        case ConstantBets(n=n, p0=p0, harm=True) | Drop(n=n, bound=p0):
            found = detectable(n, 1 - p0, log_threshold)
            what = "" if found is None else f"a mean below {1 - found:.1%}"
        case OneSided():
            bound = gate.ratio / (1 + gate.ratio)
            found = detectable(gate.n, bound, log_threshold)
            what = "" if found is None else f"more than {found:.0%} of units that fail first with the student"
        case _:
            return ""
    return f"no harm found; {what} would have been found by now" if what else "too few yet to find any harm"


def effective(requests: int, alike: int) -> str:
    """The raw number of requests, and how many independent ones tell as much.

    >>> effective(1200, 340), effective(50, 50)
    ('1,200 requests, which tell as much as 340 independent ones', '50 requests')
    """
    raw = f"{requests:,} requests"
    return raw if alike >= requests else f"{raw}, which tell as much as {alike:,} independent ones"


PATHS_SAID = {
    "copies": "of copies in the shadow, which says nothing of what is served",
    "served": "of answers as they were served",
}


def claim(spec_claim: Claim, path: str) -> str:
    """What a step's proof says, in one sentence."""
    who = "users like these" if spec_claim == "users" else "these users, on these days"
    of = "one observation a user" if spec_claim == "users" else "the mean of their sessions"
    return f"the agreement of {who} with the teacher ({of}), {PATHS_SAID[path]}"


def not_covered(spec_claim: Claim, cycle: Cycle, path: str, unknown: int) -> list[str]:
    """What the proof says nothing of."""
    found = ["whether answers are right: agreement with the teacher is not correctness", "days that have not come"]
    if spec_claim == "sessions":
        found.append("users that have not come (claim: users covers users like these)")
    if path == "copies":
        found.append("answers as they are served: copies only were compared")
    if cycle == "none":
        found.append("other hours than these: the traffic is taken to have no rhythm (cycle: none)")
    if unknown:
        found.append(f"whether few people sent much of it: {unknown} requests name no user")
    return found


def scope(seen: "ledger.Seen", claim: Claim, cycle: Cycle, alike: int) -> str:
    """Whom a claim is about: units, sessions, requests (and as how many independent ones they tell), days; and what is not
    known of them."""
    if seen.first_at is None or seen.last_at is None:
        return ""
    first, last = (time.strftime("%a %Y-%m-%d %H:%M", time.gmtime(at)) for at in (seen.first_at, seen.last_at))
    known = max(0, seen.units - seen.unknown)
    who = f"{known:,} users, " * bool(known) + f"{seen.sittings:,} sessions, {effective(seen.requests, alike)}"
    said = f"of {who}, {first} to {last} UTC"
    if cycle == "none":
        said += "; taken to have no rhythm (cycle: none)"
    if claim == "users":
        said += "; one observation a user"
    if seen.unknown:
        said += f"; units unknown: {seen.unknown} requests name no user, and each counts as a session of its own"
    if seen.missing:
        said += f"; {seen.missing / seen.requests:.1%} without an outcome, counted against the student"
    return said


def labels(labelling: "Labelling") -> str:
    """What people's labels say so far, and how many are still to come."""
    gate, parts = labelling.gate, []
    if gate.n:
        parts.append(f"{gate.right} of {gate.n} labels say right, an estimate of {gate.estimate():.1%} of sessions")
    if gate.skipped:
        parts.append(f"{gate.skipped} without a label, counted as wrong")
    if labelling.asked:
        parts.append(f"{len(labelling.asked)} drawn and not counted yet")
    if labelling.spent:
        parts.append(f"all {labelling.drawn} draws of this step are used")
    return "; ".join(parts) or "nothing drawn yet"


def difference(seen: ConstantBets, keep: float, said: PathTest | None = None) -> str:
    """How users' outcomes differ between the arms, and how often there is one."""
    if not seen.n:
        return "no two users of both arms matched yet, whose deadline is over"
    rates = f"; {responses(said)}" if said is not None and said.n else ""
    return f"the student's outcomes are {2 * seen.mean - 1:+.1%} from {keep:.0%} of the control's, {seen.n} matched users{rates}"


def responses(said: PathTest) -> str:
    """Of whom more users say something."""
    return f"users say something of {abs(said.gap):.1%} {'fewer' if said.gap > 0 else 'more'} of the student's answers"


def apart(spec: GateSpec, reading: Reading) -> str:
    """Outcomes that cannot be compared."""
    return (
        f"{spec.name}: {reading.apart}, and not by chance: who says nothing is not alike in both arms; a person has to "
        "look, and may promote with a reason"
    )


def spent(spec: GateSpec, reading: Reading) -> str:
    """Labels that are used up without a proof."""
    return f"{gate(spec, reading)}; more labels are asked for when the step is entered again"


def proof(proof: Proof, told: str) -> str:
    """What certifies a step, for whom, and each cycle's mean."""
    if not proof.n:
        waiting = proof.waiting
        return f"{waiting.mean:.1%} of {waiting.n} sessions of a cycle that still runs" if waiting.n else ""
    said = f"{proof.gate.mean:.1%} {told}".strip()
    if proof.cycles:
        said += "; by cycle " + ", ".join(f"{one.mean:.1%}" for one in proof.cycles[-7:])
    return said


def differing(cycles: Mapping[str, list[Seen]]) -> str:
    """How a step's cycles differ, if that is no chance; empty if they do not."""
    for name, seen in cycles.items():
        if differ(seen, of=len(cycles)):
            means = ", ".join(f"{one.mean:.2%}" for one in seen)
            return (
                f"{name}: the cycles differ by more than chance ({means}), so their mean says little about the next; "
                "use cycle: 7d"
            )
    return ""


def too_few_cycles(step: Step, done: int) -> str:
    """A step's proof is looked at only after whole cycles."""
    return f"{done} of at least {LEAST} whole cycles without a hold in {step.name}"


def uneven(spec: GateSpec, reading: Reading) -> str:
    """Cycles that are above the bound together, but not by more than they vary."""
    means = ", ".join(f"{one:.2%}" for one in reading.means[-7:])
    return f"{spec.name}: the cycles' means ({means}) are not yet above {spec.p0:g} by more than they vary; another cycle tells"


def paths(reading: Reading, log_threshold: float) -> str:
    """Copies and served answers do not agree equally often."""
    odds = f"evidence {evidence(reading.log_e)}, alarm at {evidence(log_threshold)}"
    return f"the paths differ: {reading.note} ({odds}); what was proved of copies does not hold for what is served"


def futile(spec: GateSpec, reading: Reading, log_threshold: float) -> str:
    """A student that is known to be below the bound."""
    bound = "" if spec.p0 is None else f" {spec.p0:g}" if spec.outcome is None else " what its margin allows"
    odds = f"evidence {evidence(reading.log_e)} of {evidence(log_threshold)}"
    return f"{spec.name}: known to be below{bound} ({odds}; {reading.note}); waiting longer would prove nothing"
