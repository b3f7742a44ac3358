"""What a rollout is asked to do, resolved: every default filled in, every threshold a number.

Invariant: a specification is immutable, its dict form is complete, and `digest` says exactly which one a rollout runs.
`specfile.read` makes one from what people write.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from graduand.rollout.assignment import BUCKETS
from graduand.rollout.gates.account import Promise
from graduand.rollout.gates.cycles import Cycle
from graduand.rollout.gates.state import AnyGate, load
from graduand.rollout.spec.slices import Slice
from graduand.rollout.units import Path

# A specification that says another one was written for other gates.
METHOD = 2

StepKind = Literal["shadow", "canary", "hybrid", "full"]
# The gate that people's labels feed, and its signal.
CORRECTNESS = "correctness"
# What is proved: the mean over sessions of these users in these days, or over users like these (one observation a user).
Claim = Literal["sessions", "users"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how much the student serves, and what must have happened before the next one."""

    kind: StepKind
    weight_bp: int  # basis points of units that the student may answer
    n_min: int  # observations wanted in this step: pairs while shadowing, else requests that the student answered
    dwell_s: float
    t_max_s: float
    approval: bool = False  # a person must approve before this step is entered
    proof: bool = True  # the gates must certify on what this step brings; without, harm gates and the path test pass it
    risk: float = 0.05  # hybrid only: most disagreement among what the student answers ...
    delta: float = 0.1  # ... which may be exceeded with at most this probability
    classes: Literal["none", "student", "teacher"] = "teacher"  # of whose labels each class keeps the risk

    @property
    def name(self) -> str:
        """Such as `shadow` or `canary-25`."""
        return f"canary-{self.weight_bp / 100:g}" if self.kind == "canary" else self.kind


@dataclass(frozen=True, slots=True)
class Labels:
    """Gold labels of requests that are drawn: `most` in each step that has to prove something. From people, or, with
    `within_s`, from outcomes: what is said of a drawn answer so soon after it, right if it has one of the labels `right` or
    a score of at least `at_least`; none in time is wrong."""

    most: int
    within_s: float | None = None
    right: tuple[str, ...] = ()
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What users say of an answer within `within_s`: a yes if they say one of the labels `right`, or else a score from `worst`
    to `best`. Who says nothing in time counts as the worst, in both arms. The student may lose `margin` of the control's mean."""

    within_s: float
    right: tuple[str, ...] = ()
    worst: float = 0.0
    best: float = 1.0
    margin: float = 0.0

    def value(self, score: float | None, label: str | None) -> float:
        """A statement as a number from 0 to 1.

        >>> Outcome(1.0, ("accepted",)).value(None, "accepted"), Outcome(1.0, worst=5.0, best=1.0).value(2.0, None)
        (1.0, 0.75)
        """
        if self.right:
            return float(label in self.right)
        return 0.0 if score is None else min(max((score - self.worst) / (self.best - self.worst), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class GateSpec:
    """One gate: what feeds it, how it starts, the evidence asked of it, and in which kinds of step it must be fresh.

    A promotion's gate has no `path`: in the shadow it looks at copies, and afterwards at what was served, afresh in each
    step. A harm gate looks at one path for as long as the evidence lasts.
    """

    name: str
    signal: str
    start: Mapping[str, Any]  # a gate's state before any data, as gates.state.dump gives it
    log_threshold: float
    needed_in: tuple[StepKind, ...]
    path: Path | None = None
    labels: Labels | None = None  # of the gate of correctness
    outcome: Outcome | None = None  # that students' answers have no worse than those of the concurrent control

    def build(self) -> AnyGate:
        """A fresh gate."""
        return load(self.start)

    @property
    def p0(self) -> float | None:
        """The bound that the gate asks about; None for one that has another."""
        found = self.start.get("p0", self.start.get("bound"))
        return None if found is None else float(found)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where decisions are told; the address itself, or the environment variable that holds it."""

    url: str | None
    url_env: str | None
    events: tuple[str, ...]  # empty: all


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole rollout."""

    route: str
    student: str
    steps: tuple[Step, ...]
    gates: tuple[GateSpec, ...]
    harm: tuple[GateSpec, ...]
    watch: GateSpec
    srm_log_threshold: float
    stale_s: float
    audit: float  # share of what the student answers that also goes to the teacher
    on_inconclusive: Literal["hold", "rollback"]
    notify: tuple[Webhook, ...]
    task: Mapping[str, Any] | None = None  # as written; None: the route's
    slices: tuple[Slice, ...] = ()
    cycle: Cycle = "24h"  # promotion is looked at at the ends of whole ones
    claim: Claim = "sessions"
    futility_log_threshold: float = math.log(20)
    error_rate: Promise = "any"
    holdout_bp: int = 0  # share of units that stay with the teacher after promotion, in basis points
    method: int = METHOD

    def to_dict(self) -> dict[str, Any]:
        """Plain data, complete."""
        return asdict(self)

    @property
    def keeps_incumbent(self) -> bool:
        """Whether the student in service goes on serving, to be compared with; a gate about it asks for that."""
        return any(gate.signal == "incumbent" for gate in (*self.gates, *self.harm))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """What users' outcomes are compared by, by signal."""
        return {gate.signal: gate.outcome for gate in (*self.gates, *self.harm) if gate.outcome is not None}

    @property
    def deadline_s(self) -> float | None:
        """How long after an answer somebody may say something that a gate hears; None if none listens."""
        found = [one.within_s for one in self.outcomes.values()]
        found += [
            one.labels.within_s for one in self.gates if one.labels is not None and one.labels.within_s is not None
        ]
        return max(found, default=None)

    @property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON form."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def audit_share(spec: Spec, weight_bp: int) -> float:
    """The share of units' days whose served answers also go to the teacher while the student serves `weight_bp`.

    `audit` of all traffic: at small weights that is a larger share of what the student serves, and at 1% it is all.
    """
    return min(1.0, spec.audit * BUCKETS / weight_bp) if weight_bp else 1.0


def spec_from_dict(data: Mapping[str, Any]) -> Spec:
    """The specification that `Spec.to_dict` described."""
    fields = dict(data)
    fields["steps"] = tuple(Step(**step) for step in data["steps"])
    fields["gates"] = tuple(_gate(gate) for gate in data["gates"])
    fields["harm"] = tuple(_gate(gate) for gate in data["harm"])
    fields["watch"] = _gate(data["watch"])
    fields["notify"] = tuple(Webhook(**{**hook, "events": tuple(hook["events"])}) for hook in data["notify"])
    fields["slices"] = tuple(Slice(**part) for part in data.get("slices", ()))
    return Spec(**fields)


def _gate(data: Mapping[str, Any]) -> GateSpec:
    asked = data.get("labels")
    labels = None if asked is None else Labels(**{**asked, "right": tuple(asked["right"])})
    said = data.get("outcome")
    outcome = None if said is None else Outcome(**{**said, "right": tuple(said["right"])})
    return GateSpec(**{**data, "needed_in": tuple(data["needed_in"]), "labels": labels, "outcome": outcome})
