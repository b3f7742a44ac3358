"""The gates that people may write in a rollout, and the `GateSpec`s that each stands for.

`agreement`, `score`, `incumbent`, `latency` and `correctness` can be asked for before promotion; as harm gates all but the
last, which people's labels feed, are mirrored, and `errors` is a harm gate only. A harm gate stands for one E on each path,
copies and served answers, which share `harm_alpha`; where answers are compared with the teacher's, what is served is also
watched for a drop.
"""

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.strict import Probability, Seconds, Strict, entry
from graduand.rollout.gates.account import draw
from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.correctness import Correctness, labels_needed
from graduand.rollout.gates.cycles import LEAST
from graduand.rollout.gates.drawing import FLOOR
from graduand.rollout.gates.drop import Drop
from graduand.rollout.gates.one_sided import OneSided
from graduand.rollout.gates.state import AnyGate, dump
from graduand.rollout.gates.watch import Watch
from graduand.rollout.spec.spec import CORRECTNESS, GateSpec, Labels, Outcome, Step, StepKind
from graduand.rollout.units import Path

EVERYWHERE: tuple[StepKind, ...] = ("shadow", "canary", "hybrid", "full")
SHADOWED: tuple[StepKind, ...] = ("shadow",)
SERVING: tuple[StepKind, ...] = ("canary", "hybrid", "full")
CANARY: tuple[StepKind, ...] = ("canary",)
# Of (1 + treatment - (1 - margin) control) / 2, where the student is just as good as it must be.
EVEN = 0.5


class AgreementIn(Strict):
    """Share of answers that agree with the teacher's: of all, of one field's values, or of one slice of the traffic."""

    p0: Probability = 0.95
    alpha: Probability = 0.05
    field: str | None = Field(default=None, pattern="^[^@]+$")
    slice: str | None = Field(default=None, pattern="^[^@]+$")


class ScoreIn(Strict):
    """Mean score of a judge, 0 to 1; a student as good as the teacher has 0.5, so 0.5 itself could never be proved."""

    p0: Probability = 0.45
    alpha: Probability = 0.05


class CheckGateIn(Strict):
    """Share of the student's answers that pass one of the route's checks; one that it has not seen has not passed."""

    name: str = Field(pattern="^[a-z][a-z0-9_-]*$")
    p0: Probability = 0.95
    alpha: Probability = 0.05


class IncumbentIn(Strict):
    """Share of wins over the student in service, among requests on which exactly one agrees with the teacher."""

    p0: Probability = 0.5
    alpha: Probability = 0.05


class LatencyIn(Strict):
    """Share of answers whose time is within the objective."""

    slo: Seconds = Field(gt=0)
    within: Probability = 0.95
    measure: Literal["first_token", "total", "per_token"] = "first_token"
    alpha: Probability = 0.05


class OutcomesIn(Strict):
    """What is said of a drawn answer within the deadline: right with one of these labels, or with a score that is high enough."""

    within: Seconds = Field(gt=0)
    right: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(default_factory=list)
    at_least: float | None = Field(default=None)

    @model_validator(mode="after")
    def _one_measure(self) -> "OutcomesIn":
        if bool(self.right) == (self.at_least is not None):
            raise ValueError(
                "say what a good outcome is: right (labels, such as [accepted, resolved]) or at_least (a score)"
            )
        return self


class CorrectnessIn(Strict):
    """Share of answers that are right, by gold labels of sessions that are drawn; with `outcomes`, by what feedback says."""

    p0: Probability = 0.9
    labels: int = Field(100, ge=1, le=2_000)
    alpha: Probability = 0.05
    outcomes: OutcomesIn | None = None


class OutcomeIn(Strict):
    """Mean outcome of the student's answers: more than 1 - `margin` of the control's of the same hours, by user."""

    within: Seconds = Field(gt=0)
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,40}$")
    right: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(default_factory=list)
    worst: float | None = Field(default=None)
    best: float | None = Field(default=None)
    margin: float = Field(0.05, gt=0, lt=1)
    alpha: Probability = 0.05

    @model_validator(mode="after")
    def _one_measure(self) -> "OutcomeIn":
        scored = self.worst is not None and self.best is not None and self.worst != self.best
        if bool(self.right) == scored or (self.right and (self.worst, self.best) != (None, None)):
            raise ValueError(
                "say what an outcome is: right (labels, such as [accepted]), or worst and best (of a score, such as 0 and 1)"
            )
        return self

    def outcome(self) -> Outcome:
        """The measure alone."""
        if self.right:
            return Outcome(self.within, tuple(self.right), margin=self.margin)
        return Outcome(self.within, (), float(self.worst or 0.0), float(self.best or 0.0), self.margin)

    @property
    def signal(self) -> str:
        """What feeds the gate."""
        return "outcome" + f":{self.name}" * bool(self.name)


class ErrorsIn(Strict):
    """Units that first see the student fail alone, for each that first sees the teacher fail alone: up to 1 + tolerance."""

    tolerance: float = Field(0.25, ge=0)
    alpha: Probability = 0.01


class WatchIn(Strict):
    """After promotion: least healthy agreement or score, and audited sessions between false alarms, on average at least."""

    p0: Probability = 0.95
    mean_run: float = Field(10_000, gt=1)


MIRRORED: dict[str, type[Strict]] = {
    "agreement": AgreementIn,
    "score": ScoreIn,
    "check": CheckGateIn,
    "incumbent": IncumbentIn,
    "latency": LatencyIn,
    "outcome": OutcomeIn,
}
PROMOTE: dict[str, type[Strict]] = {**MIRRORED, CORRECTNESS: CorrectnessIn}
HARM: dict[str, type[Strict]] = {**MIRRORED, "errors": ErrorsIn}


def promote_gates(items: list[object]) -> tuple[GateSpec, ...]:
    """The gates that must all certify."""
    if not items:
        raise ConfigError("gates: at least one is needed, or nothing would have to be proved; such as 'agreement'")
    read = [entry(item, PROMOTE, "p0", f"gates[{at}]")[1] for at, item in enumerate(items)]
    return _distinct("gates", [_correct(gate) if isinstance(gate, CorrectnessIn) else _promote(gate) for gate in read])


def harm_gates(items: list[object], alpha: float) -> tuple[GateSpec, ...]:
    """The gates that roll back; what they stand for on both paths shares `alpha`: m of them ask for E >= m / alpha each."""
    for at, item in enumerate(items):
        if entry(item, {**HARM, **PROMOTE}, "p0", f"harm[{at}]")[0] == CORRECTNESS:
            raise ConfigError(
                f"harm[{at}]: correctness is known only when people have looked, which is too late for harm; use "
                "agreement, score or errors"
            )
    read = [entry(item, HARM, "p0", f"harm[{at}]")[1] for at, item in enumerate(items)]
    for at, gate in enumerate(read):
        if "alpha" in gate.model_fields_set:
            raise ConfigError(f"harm[{at}]: harm gates share one alpha; set harm_alpha instead of alpha")
    parts = [part for gate in read for part in _harm(gate)]
    need = math.log(max(1, len(parts)) / alpha)
    measures = {gate.signal: gate.outcome() for gate in read if isinstance(gate, OutcomeIn)}
    found = [_spec(name, signal, built, need, *where) for name, signal, built, where in parts]
    return _distinct("harm", [replace(one, outcome=measures.get(one.signal)) for one in found])


def watch_gate(watch: WatchIn, signal: str) -> GateSpec:
    """The detector that looks for a drop after promotion, of `agreement` or of the judge's `score`."""
    return _spec("watch", signal, Watch(watch.p0), math.log(watch.mean_run), (), "served")


def check_sides(promote: tuple[GateSpec, ...], harm: tuple[GateSpec, ...]) -> None:
    """Refuse harm gates that would roll back what a promotion's gate certifies."""
    asked = {gate.signal: gate for gate in promote}
    for gate in harm:
        other = asked.get(gate.signal)
        if other is not None and other.outcome is not None and gate.outcome is not None:
            _check_margins(gate.signal, other.outcome, gate.outcome)
            continue
        if other is not None and gate.p0 is not None and other.p0 is not None and gate.p0 >= other.p0:
            raise ConfigError(
                f"harm: {gate.signal} rolls back below {gate.p0:g}, but the gate {other.name} promotes above {other.p0:g}: a "
                f"student between the two would be promoted and rolled back; give the harm gate a p0 below {other.p0:g}"
            )


def _check_margins(signal: str, promote: Outcome, harm: Outcome) -> None:
    if replace(promote, margin=0.0) != replace(harm, margin=0.0):
        raise ConfigError(f"harm: {signal} and the gate of that name measure different things; give one another name")
    if harm.margin <= promote.margin:
        raise ConfigError(
            f"harm: {signal} rolls back where the student loses {harm.margin:g} of the control's outcomes, but its gate promotes "
            f"where it loses less than {promote.margin:g}: give the harm gate a larger margin"
        )


def check_deadline(gates: tuple[GateSpec, ...], steps: tuple[Step, ...], cycle_s: float) -> None:
    """Refuse outcomes that would come when their step is over, or that nothing is there to compare with."""
    for gate in gates:
        if gate.outcome is not None and not any(step.kind == "canary" for step in steps):
            raise ConfigError(
                f"gates: {gate.name} compares users of both arms, and there is no canary step in which it could"
            )
        within_s = (
            gate.outcome.within_s if gate.outcome is not None else None if gate.labels is None else gate.labels.within_s
        )
        for step in steps if within_s is not None else ():
            needed = (within_s or 0.0) + (LEAST + (gate.outcome is not None)) * cycle_s
            if step.proof and step.kind in gate.needed_in and step.t_max_s <= needed:
                raise ConfigError(
                    f"gates: {gate.name} waits {within_s:.0f} s for an outcome, beside whole cycles, and {step.name} has "
                    f"{step.t_max_s:.0f} s in all: give it a t_max above {needed:.0f} s, or a shorter deadline"
                )


def _correct(gate: CorrectnessIn) -> GateSpec:
    """The gate of correctness. Outcomes are of answers that somebody got, so copies in the shadow have none."""
    # A route's first candidate has a part of alpha, so it is asked for more.
    need = labels_needed(gate.p0, -math.log(gate.alpha) + draw(()).log_more, FLOOR)
    if need is None or gate.labels < need:
        raise ConfigError(
            f"gates: with {gate.labels} labels even a student that is never wrong is not proved to be right more often than "
            f"{gate.p0:g} (alpha {gate.alpha:g}); " + ("ask for less" if need is None else f"it takes {need} at least")
        )
    said = gate.outcomes
    labels = Labels(gate.labels) if said is None else Labels(gate.labels, said.within, tuple(said.right), said.at_least)
    start, threshold = dump(Correctness(gate.p0, FLOOR)), -math.log(gate.alpha)
    return GateSpec(CORRECTNESS, CORRECTNESS, start, threshold, EVERYWHERE if said is None else SERVING, labels=labels)


def _promote(gate: Strict) -> GateSpec:
    if isinstance(gate, OutcomeIn):
        start = dump(ConstantBets(EVEN))
        return GateSpec(gate.signal, gate.signal, start, -math.log(gate.alpha), CANARY, outcome=gate.outcome())
    signal, p0, needed = _measured(gate)
    return _spec(_named(signal), signal, ConstantBets(p0), -math.log(float(getattr(gate, "alpha", 0.05))), needed, None)


Part = tuple[str, str, AnyGate, tuple[tuple[StepKind, ...], Path]]


def _harm(gate: Strict) -> list[Part]:
    copies: tuple[tuple[StepKind, ...], Path] = (SHADOWED, "copies")
    served: tuple[tuple[StepKind, ...], Path] = (SERVING, "served")
    if isinstance(gate, ErrorsIn):
        ratio = 1 + gate.tolerance
        return [
            ("errors of copies", "errors", OneSided(ratio), copies),
            ("errors as served", "errors", OneSided(ratio), served),
        ]
    if isinstance(gate, OutcomeIn):
        return [(gate.signal, gate.signal, ConstantBets(EVEN, harm=True), (CANARY, "served"))]
    signal, p0, needed = _measured(gate)
    name = _named(signal)
    if needed == SERVING:
        return [(name, signal, ConstantBets(p0, harm=True), served)]
    parts: list[Part] = [
        (f"{name} of copies", signal, ConstantBets(p0, harm=True), copies),
        (f"{name} as served", signal, ConstantBets(p0, harm=True), served),
    ]
    if signal != "incumbent":
        parts.append((f"{name} as served, dropped", signal, Drop(p0), served))
    return parts


def _measured(gate: Strict) -> tuple[str, float, tuple[StepKind, ...]]:
    """The signal that feeds a gate, its bound, and where it must be fresh."""
    match gate:
        case AgreementIn(p0=p0, field=name, slice=part):
            return "agreement" + f":{name}" * bool(name) + f"@{part}" * bool(part), p0, EVERYWHERE
        case ScoreIn(p0=p0):
            return "score", p0, EVERYWHERE
        case CheckGateIn(name=name, p0=p0):
            return f"check:{name}", p0, EVERYWHERE
        case IncumbentIn(p0=p0):
            return "incumbent", p0, EVERYWHERE
        case LatencyIn(slo=slo, within=within, measure=measure):
            return f"latency:{measure}:{slo!r}", within, SERVING
    raise ConfigError(f"no gate is known for {gate!r}")


def _named(signal: str) -> str:
    """A latency's objective is in its signal and not in its name."""
    return signal.rpartition(":")[0] if signal.startswith("latency:") else signal


def _spec(
    name: str, signal: str, built: AnyGate, log_threshold: float, needed: tuple[StepKind, ...], path: Path | None
) -> GateSpec:
    return GateSpec(name, signal, dump(built), log_threshold, needed, path)


def _distinct(where: str, gates: list[GateSpec]) -> tuple[GateSpec, ...]:
    names = [gate.name for gate in gates]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {name!r} is given twice; keep one of them")
    return tuple(gates)
