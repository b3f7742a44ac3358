"""From what people write (YAML, read by the caller) to a resolved `Spec`. Unknown keys are refused, defaults filled in.

route: support-triage
student: support-triage@3f9c1a0b22de
steps: [shadow, canary 5, canary 25, full]
gates:
  - agreement: {p0: 0.95}
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from graduand.gateway.errors import AdapterError, ConfigError, did_you_mean
from graduand.rollout.answers import tasks
from graduand.rollout.answers.strict import Probability, Seconds, Strict, checked, entry
from graduand.rollout.gates.account import Promise
from graduand.rollout.gates.cycles import SECONDS, Cycle, room_s
from graduand.rollout.spec.gates import (
    PROMOTE,
    AgreementIn,
    OutcomeIn,
    WatchIn,
    check_deadline,
    check_sides,
    harm_gates,
    promote_gates,
    watch_gate,
)
from graduand.rollout.spec.names import check_name
from graduand.rollout.spec.slices import Slice, SliceIn
from graduand.rollout.spec.spec import CORRECTNESS, Claim, GateSpec, Spec, Step, StepKind, Webhook

DEFAULT_STEPS: list[object] = ["shadow", "canary 1", "canary 5", "canary 10", "canary 25", "canary 50", "full"]
DEFAULT_GATES: list[object] = ["agreement"]
# How far below what a gate certifies the default harm gate beside it lets the student fall.
HARM_MARGIN = 0.05
# A step's time unless it says another; where three cycles are longer, those.
T_MAX_S = 7 * 86400.0


class ShadowIn(Strict):
    """Pairs to compare before anybody sees the student."""

    pairs: int = Field(1000, ge=1)
    dwell: Seconds = 0.0
    t_max: Seconds | None = None


class CanaryIn(Strict):
    """A share of units, percent."""

    weight: float = Field(ge=0.01, le=100)
    requests: int = Field(100, ge=1)
    dwell: Seconds = 1800.0
    t_max: Seconds | None = None


class HybridIn(Strict):
    """The student answers what it is confident in; disagreement there stays below `risk`, up to probability `delta`."""

    risk: Probability = 0.05
    delta: Probability = 0.1
    classes: Literal["none", "student", "teacher"] = "teacher"
    requests: int = Field(100, ge=1)
    dwell: Seconds = 1800.0
    t_max: Seconds | None = None


class FullIn(Strict):
    """The student answers everything."""

    requests: int = Field(100, ge=1)
    dwell: Seconds = 1800.0
    t_max: Seconds | None = None


STEPS: dict[str, type[Strict]] = {"shadow": ShadowIn, "canary": CanaryIn, "hybrid": HybridIn, "full": FullIn}


class WebhookIn(Strict):
    """Where decisions are told."""

    url: str | None = Field(None, pattern=r"^https?://")
    env: str | None = None
    events: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_source(self) -> "WebhookIn":
        if (self.url is None) == (self.env is None):
            raise ValueError("give either url, or env (the environment variable that holds the address)")
        return self


class SpecIn(Strict):
    """A rollout as written."""

    route: str = Field(min_length=1)
    student: str
    steps: list[object] = Field(default_factory=lambda: list(DEFAULT_STEPS))
    gates: list[object] = Field(default_factory=lambda: list(DEFAULT_GATES))
    harm: list[object] | None = None
    harm_alpha: Probability = 0.01
    watch: WatchIn | None = None
    srm_alpha: Probability = 0.001
    stale_after: Seconds = Field(900.0, gt=0)
    audit: float = Field(0.05, gt=0, le=1)
    approvals: list[str] = Field(default_factory=list)
    on_inconclusive: Literal["hold", "rollback"] = "hold"
    notify: list[str | WebhookIn] = Field(default_factory=list)
    task: dict[str, Any] | None = None
    slices: dict[Annotated[str, Field(pattern="^[^@]+$")], SliceIn] = Field(default_factory=dict)
    cycle: Cycle = "24h"
    claim: Claim = "sessions"
    futility_alpha: Probability = 0.05
    error_rate: Promise = "any"
    holdout: float = Field(0.0, ge=0, le=50)


def read(data: object) -> Spec:
    """The resolved specification, or a ConfigError that says what is wrong and where."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"a rollout is a mapping with at least 'route' and 'student'; this is {data!r}")
    written = checked(SpecIn, data, "rollout")
    _check_student(written.student)
    gates = promote_gates(written.gates)
    _check_watch(written, gates)
    measure, p0 = _measure(gates)
    harm = harm_gates(_default_harm(written) if written.harm is None else written.harm, written.harm_alpha)
    check_sides(gates, harm)
    steps = _steps(written.steps, written.approvals, written.cycle)
    check_deadline((*gates, *harm), steps, SECONDS[written.cycle])
    if written.holdout and steps[-1].kind != "full":
        raise ConfigError("holdout: only after a 'full' step are there units that it would keep with the teacher")
    return Spec(
        route=written.route,
        student=written.student,
        steps=steps,
        gates=gates,
        harm=harm,
        watch=watch_gate(written.watch or checked(WatchIn, {"p0": p0}, "watch"), measure),
        srm_log_threshold=-math.log(written.srm_alpha),
        stale_s=written.stale_after,
        audit=written.audit,
        on_inconclusive=written.on_inconclusive,
        notify=tuple(_webhook(hook) for hook in written.notify),
        task=_task(written.task),
        slices=tuple(_slice(name, part) for name, part in written.slices.items()),
        cycle=written.cycle,
        claim=written.claim,
        futility_log_threshold=-math.log(written.futility_alpha),
        error_rate=written.error_rate,
        holdout_bp=round(written.holdout * 100),
    )


def _measure(gates: tuple[GateSpec, ...]) -> tuple[str, float]:
    """What is watched after promotion, and its least healthy value: the agreement's gate, the score's, or the first other."""
    asked = {gate.signal: float(gate.start["p0"]) for gate in gates if gate.signal.startswith(("agreement", "score"))}
    measure = next((signal for signal in ("agreement", "score", *asked) if signal in asked), "agreement")
    return measure, asked.get(measure, AgreementIn().p0)


def _default_harm(written: SpecIn) -> list[object]:
    """Beside each gate one that asks the same of the same answers, a little lower, and errors."""
    found: list[object] = []
    for at, item in enumerate(written.gates):
        kind, gate = entry(item, PROMOTE, "p0", f"gates[{at}]")
        p0 = getattr(gate, "p0", None)
        if isinstance(gate, OutcomeIn):
            wider = min(round(gate.margin + HARM_MARGIN, 6), (1 + gate.margin) / 2)
            found.append(
                {kind: gate.model_copy(update={"margin": wider}).model_dump(exclude={"alpha"}, exclude_none=True)}
            )
        if p0 is not None and kind != CORRECTNESS:
            same = {
                name: value for name in ("field", "slice", "name") if (value := getattr(gate, name, None)) is not None
            }
            found.append({kind: {"p0": _lower(p0), **same}})
    if all(isinstance(one, dict) and "outcome" in one for one in found):  # no gate says how alike answers must be
        found.append({"agreement": {"p0": _lower((written.watch or WatchIn()).p0)}})
    return [*found, "errors"]


def _lower(p0: float) -> float:
    return max(round(p0 - HARM_MARGIN, 6), p0 / 2)


def _check_watch(written: SpecIn, gates: tuple[GateSpec, ...]) -> None:
    asked = [gate for gate in gates if gate.signal.startswith(("agreement", "score"))]
    others = ("incumbent", CORRECTNESS)  # a student that is right may well differ from a teacher that is not
    if written.watch is None and not asked and any(gate.signal in others or gate.outcome for gate in gates):
        raise ConfigError(
            "watch: say which agreement with the teacher is still healthy after promotion, such as watch: {p0: 0.9}; the "
            "gates do not say it"
        )


def _check_student(name: str) -> None:
    try:
        check_name(name)
    except AdapterError as error:
        raise ConfigError(f"student: {error}") from error


def _steps(items: list[object], approvals: list[str], cycle: Cycle) -> tuple[Step, ...]:
    read_steps = [entry(item, STEPS, "weight", f"steps[{at}]") for at, item in enumerate(items)]
    steps = [_step(cast(StepKind, kind), step) for kind, step in read_steps]
    _check_order(steps)
    names = [step.name for step in steps]
    for name in approvals:
        if name not in names:
            raise ConfigError(f"approvals: no step {name!r}.{did_you_mean(name, names)} Steps: {', '.join(names)}")
    canaries = [at for at, step in enumerate(steps) if step.kind == "canary"]
    # Served answers prove themselves where most are served beside the teacher's, and once more in the last step.
    proving = [at not in canaries or at == canaries[-1] for at in range(len(steps))]
    return tuple(
        replace(
            step,
            approval=step.name in approvals,
            proof=proof,
            t_max_s=max(step.t_max_s, room_s(cycle)) if proof else step.t_max_s,
        )
        for step, proof in zip(steps, proving, strict=True)
    )


def _step(kind: StepKind, step: Any) -> Step:
    common = {"dwell_s": step.dwell, "t_max_s": T_MAX_S if step.t_max is None else step.t_max}
    match step:
        case ShadowIn(pairs=pairs):
            return Step(kind, 0, n_min=pairs, **common)
        case CanaryIn(weight=weight, requests=requests):
            return Step(kind, round(weight * 100), n_min=requests, **common)
        case HybridIn(risk=risk, delta=delta, classes=classes, requests=requests):
            return Step(kind, 10_000, n_min=requests, risk=risk, delta=delta, classes=classes, **common)
    return Step(kind, 10_000, n_min=step.requests, **common)


def _check_order(steps: list[Step]) -> None:
    if not steps or steps[-1].kind not in ("hybrid", "full"):
        raise ConfigError("steps: the last step must be 'hybrid' or 'full': that is what the rollout promotes to")
    order = ("shadow", "canary", "hybrid", "full")
    for one, other in pairwise(steps):
        if order.index(other.kind) < order.index(one.kind) or (one.kind == other.kind != "canary"):
            raise ConfigError(f"steps: {other.name} cannot follow {one.name}; the order is {', '.join(order)}")
        if one.kind == other.kind and other.weight_bp <= one.weight_bp:
            raise ConfigError(f"steps: {other.name} follows {one.name}; canary weights must rise")
    for step in steps:
        if step.t_max_s <= step.dwell_s:
            raise ConfigError(f"steps: {step.name} could never pass: t_max must be above dwell")


def _webhook(hook: str | WebhookIn) -> Webhook:
    if isinstance(hook, str):
        hook = checked(WebhookIn, {"url": hook}, "notify")
    return Webhook(hook.url, hook.env, tuple(hook.events))


def _task(written: dict[str, Any] | None) -> dict[str, Any] | None:
    if written is not None:
        tasks.read(written)
    return written


def _slice(name: str, part: SliceIn) -> Slice:
    label = None if part.label is None else str(part.label)
    return Slice(name, label, part.prompt, part.metadata)
