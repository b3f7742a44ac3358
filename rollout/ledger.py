"""The live evidence of one attempt: gates fed with what happened, read as one snapshot.

Invariants: a gate is fed in the order in which the caller gives things, and each thing once (the store drops repeated
request ids before they come here). A new attempt starts from nothing; a new entry into a step starts that step's counts
and its sample ratio test afresh, while evidence about the student itself goes on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graduand.rollout import wording
from graduand.rollout.assignment import BUCKETS, CONTROL_START, Arm
from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.gates import GateError
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.discordant import Discordant
from graduand.rollout.gates.error_ratio import ErrorRatio
from graduand.rollout.gates.latency import Latency
from graduand.rollout.gates.scores import Scores
from graduand.rollout.gates.srm import SampleRatio
from graduand.rollout.gates.state import AnyGate, dump, load
from graduand.rollout.gates.watch import Watch
from graduand.rollout.spec.spec import GateSpec
from graduand.rollout.state import Phase, State, serving

ARMS: tuple[Arm, ...] = ("treatment", "control", "rest")


@dataclass(frozen=True, slots=True)
class Pair:
    """One request that student and teacher both answered, compared. None: not scored, and no gate learns from it."""

    at: float
    agreed: bool | None = None
    fields: Mapping[str, bool] = field(default_factory=dict)
    score: float | None = None
    incumbent_agreed: bool | None = None
    slices: tuple[str, ...] = ()  # names of the slices of traffic that the request belongs to
    unparsed: bool = False  # the student's answer could not be read; `agreed` is False then


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that was served. The caller marks at most one failure per unit and window."""

    at: float
    by_student: bool
    failed: bool = False
    times_s: Mapping[str, float] = field(default_factory=dict)  # first_token, total, per_token


@dataclass(slots=True)
class Tracked:
    """A gate, the signal that feeds it, and when it could last have learnt anything."""

    signal: str
    gate: AnyGate
    last_at: float | None = None

    def reading(self) -> Reading:
        """What a decision sees."""
        return Reading(self.gate.log_e, self.gate.n, self.last_at, wording.seen(self.gate))


@dataclass(slots=True)
class Ledger:
    """All gates of one attempt; `start` makes one, `follow` keeps it in step with the rollout's state."""

    attempt: int
    entry: int
    phase: Phase
    weight_bp: int
    promote: dict[str, Tracked]
    harm: dict[str, Tracked]
    watch: Tracked
    srm: SampleRatio | None = None
    step_n: int = 0
    step_last_at: float | None = None
    pairs: int = 0
    unparsed: int = 0

    def follow(self, state: State) -> "Ledger":
        """The ledger for `state`: this one, or a fresh one for a new attempt."""
        if state.attempt != self.attempt:
            return start(state)
        self.phase, self.weight_bp = state.held or state.phase, serving(state).weight_bp
        if state.entry != self.entry:
            self.entry, self.step_n, self.step_last_at = state.entry, 0, None
            self.srm = _sample_ratio(self.weight_bp) if self.phase is Phase.CANARY else None
        return self

    def pair(self, pair: Pair) -> None:
        """Learn from one compared pair."""
        self.pairs += 1
        self.unparsed += pair.unparsed
        watch = [self.watch] if self.phase is Phase.PROMOTED else []
        for tracked in [*self._all(), *watch]:
            if _feed_pair(tracked, pair):
                tracked.last_at = pair.at
        if self.phase is Phase.SHADOW:
            self._count(pair.at)

    def answered(self, answered: Answered) -> None:
        """Learn from one served request."""
        if answered.by_student and self.phase is not Phase.SHADOW:
            self._count(answered.at)
        for tracked in self._all():
            if _feed_answered(tracked, answered, self.weight_bp / BUCKETS):
                tracked.last_at = answered.at

    def unit(self, arm: Arm) -> None:
        """Count a unit at its first appearance in this step."""
        if self.srm is not None:
            self.srm.update(ARMS.index(arm))

    def snapshot(self, **facts: Any) -> Evidence:
        """The evidence now; `facts` are what only the shell knows (precheck, trips, lease_held, ...)."""
        return Evidence(
            attempt=self.attempt,
            entry=self.entry,
            gates={name: tracked.reading() for name, tracked in self.promote.items()},
            harm={name: tracked.reading() for name, tracked in self.harm.items()},
            watch=self.watch.reading(),
            srm=None if self.srm is None else Reading(self.srm.log_e, self.srm.n, self.step_last_at),
            step_n=self.step_n,
            step_last_at=self.step_last_at,
            **facts,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, bit-identical through JSON."""
        plain = {name: getattr(self, name) for name in PLAIN}
        srm = None if self.srm is None else dump(self.srm)
        sides = {"promote": _dump_all(self.promote), "harm": _dump_all(self.harm)}
        return {**plain, **sides, "phase": self.phase.value, "watch": _dump(self.watch), "srm": srm}

    def _all(self) -> Iterable[Tracked]:
        yield from self.promote.values()
        yield from self.harm.values()

    def _count(self, at: float) -> None:
        self.step_n, self.step_last_at = self.step_n + 1, at


PLAIN = ("attempt", "entry", "weight_bp", "step_n", "step_last_at", "pairs", "unparsed")


def start(state: State) -> Ledger:
    """A ledger that knows nothing yet."""
    spec = state.spec
    ledger = Ledger(state.attempt, -1, state.phase, 0, _fresh(spec.gates), _fresh(spec.harm), _tracked(spec.watch))
    return ledger.follow(state)


def ledger_from_dict(data: Mapping[str, Any]) -> Ledger:
    """The ledger that `Ledger.to_dict` described."""
    srm = None if data["srm"] is None else load(data["srm"])
    if srm is not None and not isinstance(srm, SampleRatio):
        raise GateError(f"the stored ledger's srm is a {data['srm']['kind']!r} gate")
    return Ledger(
        phase=Phase(data["phase"]),
        promote=_load_all(data["promote"]),
        harm=_load_all(data["harm"]),
        watch=_load(data["watch"]),
        srm=srm,
        **{name: data[name] for name in PLAIN},
    )


def _tracked(spec: GateSpec) -> Tracked:
    return Tracked(spec.signal, spec.build())


def _fresh(specs: Iterable[GateSpec]) -> dict[str, Tracked]:
    return {spec.name: _tracked(spec) for spec in specs}


def _dump(tracked: Tracked) -> dict[str, Any]:
    return {"signal": tracked.signal, "gate": dump(tracked.gate), "last_at": tracked.last_at}


def _dump_all(side: Mapping[str, Tracked]) -> dict[str, Any]:
    return {name: _dump(tracked) for name, tracked in side.items()}


def _load_all(side: Mapping[str, Any]) -> dict[str, Tracked]:
    return {name: _load(tracked) for name, tracked in side.items()}


def _load(data: Mapping[str, Any]) -> Tracked:
    return Tracked(data["signal"], load(data["gate"]), data["last_at"])


def _sample_ratio(weight_bp: int) -> SampleRatio | None:
    """The shares that `assignment.arm` gives each arm at this weight."""
    if not 0 < weight_bp < BUCKETS:
        return None
    control = min(weight_bp, BUCKETS - max(weight_bp, CONTROL_START))
    rest = BUCKETS - weight_bp - control
    return SampleRatio([weight_bp / BUCKETS, control / BUCKETS, rest / BUCKETS])


def _feed_pair(tracked: Tracked, pair: Pair) -> bool:
    """Give the gate its part of the pair; whether there was one."""
    signal, _, part = tracked.signal.partition("@")
    if part and part not in pair.slices:
        return False
    agreed = pair.agreed
    if signal.startswith("agreement:"):
        agreed = pair.fields.get(signal.removeprefix("agreement:"))
    match tracked.gate:
        case Scores() | Watch() as gate if signal == "score" and pair.score is not None:
            gate.update(pair.score)
        case Agreement() | Watch() as gate if signal != "score" and agreed is not None:
            gate.update(agreed)
        case Discordant() as gate if pair.agreed is not None and pair.incumbent_agreed is not None:
            gate.update(new=pair.agreed, incumbent=pair.incumbent_agreed)
        case _:
            return False
    return True


def _feed_answered(tracked: Tracked, answered: Answered, weight: float) -> bool:
    """Give the gate its part of the request; whether it could have learnt from it (an error gate: also from none)."""
    match tracked.gate:
        case ErrorRatio() as gate if 0 < weight < 1:
            if answered.failed:
                gate.update(from_student=answered.by_student, weight=weight)
            return True
        case Latency() as gate if answered.by_student:
            measure = tracked.signal.removeprefix("latency:")
            if measure in answered.times_s:
                gate.update(answered.times_s[measure])
                return True
    return False
