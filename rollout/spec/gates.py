"""The gates that people may write in a rollout, and the `GateSpec` that each stands for.

`agreement`, `score`, `incumbent` and `latency` can be asked for before promotion; as harm gates they are mirrored, and
`errors` is a harm gate only.
"""

import math
from typing import Literal

from pydantic import Field

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.strict import Probability, Seconds, Strict, entry
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.discordant import Discordant
from graduand.rollout.gates.error_ratio import ErrorRatio
from graduand.rollout.gates.latency import Latency
from graduand.rollout.gates.scores import Scores
from graduand.rollout.gates.state import AnyGate, dump
from graduand.rollout.gates.watch import Watch
from graduand.rollout.spec.spec import GateSpec, StepKind

EVERYWHERE: tuple[StepKind, ...] = ("shadow", "canary", "hybrid", "full")
SERVING: tuple[StepKind, ...] = ("canary", "hybrid", "full")
# Error ratios need a randomised control beside the student; only canary steps have one.
RANDOMISED: tuple[StepKind, ...] = ("canary",)


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


class ErrorsIn(Strict):
    """Ratio of the student's error rate to the teacher's, allowed up to 1 + tolerance."""

    tolerance: float = Field(0.25, ge=0, allow_inf_nan=False)
    alpha: Probability = 0.01


class WatchIn(Strict):
    """After promotion: least healthy agreement or score, and audited answers between false alarms, on average at least."""

    p0: Probability = 0.95
    mean_run: float = Field(10_000, gt=1, allow_inf_nan=False)


PROMOTE: dict[str, type[Strict]] = {
    "agreement": AgreementIn,
    "score": ScoreIn,
    "incumbent": IncumbentIn,
    "latency": LatencyIn,
}
HARM: dict[str, type[Strict]] = {**PROMOTE, "errors": ErrorsIn}


def promote_gates(items: list[object]) -> tuple[GateSpec, ...]:
    """The gates that must all certify before each step is left."""
    if not items:
        raise ConfigError("gates: at least one is needed, or nothing would have to be proved; such as 'agreement'")
    read = [entry(item, PROMOTE, "p0", f"gates[{at}]")[1] for at, item in enumerate(items)]
    return _distinct("gates", [_resolve(gate, False, -math.log(_alpha(gate))) for gate in read])


def harm_gates(items: list[object], alpha: float) -> tuple[GateSpec, ...]:
    """The gates that roll back; m of them share `alpha`, so each asks for E >= m / alpha."""
    read = [entry(item, HARM, "p0", f"harm[{at}]")[1] for at, item in enumerate(items)]
    for at, gate in enumerate(read):
        if "alpha" in gate.model_fields_set:
            raise ConfigError(f"harm[{at}]: harm gates share one alpha; set harm_alpha instead of alpha")
    return _distinct("harm", [_resolve(gate, True, math.log(len(read) / alpha)) for gate in read])


def watch_gate(watch: WatchIn, signal: str) -> GateSpec:
    """The detector that looks for a drop after promotion, of `agreement` or of the judge's `score`."""
    start = dump(Watch(watch.p0))
    return GateSpec("watch", signal, start, math.log(watch.mean_run), ())


def _alpha(gate: Strict) -> float:
    return float(getattr(gate, "alpha", 0.05))


def _resolve(gate: Strict, harm: bool, log_threshold: float) -> GateSpec:
    signal, built, needed = _built(gate, harm, math.exp(-log_threshold))
    return GateSpec(signal, signal, dump(built), log_threshold, needed)


def _built(gate: Strict, harm: bool, alpha: float) -> tuple[str, AnyGate, tuple[StepKind, ...]]:
    match gate:
        case AgreementIn(p0=p0, field=name, slice=part):
            signal = "agreement" + f":{name}" * bool(name) + f"@{part}" * bool(part)
            return signal, Agreement(p0, harm), EVERYWHERE
        case ScoreIn(p0=p0):
            return "score", Scores(p0, harm, alpha), EVERYWHERE
        case IncumbentIn(p0=p0):
            return "incumbent", Discordant(p0, harm), EVERYWHERE
        case LatencyIn(slo=slo, within=within, measure=measure):
            return f"latency:{measure}", Latency(slo, within, harm), SERVING
        case ErrorsIn(tolerance=tolerance):
            return "errors", ErrorRatio(tolerance), RANDOMISED
    raise ConfigError(f"no gate is known for {gate!r}")


def _distinct(where: str, gates: list[GateSpec]) -> tuple[GateSpec, ...]:
    names = [gate.name for gate in gates]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {name!r} is given twice; keep one of them")
    return tuple(gates)
