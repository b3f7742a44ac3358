"""A gate's state to and from a plain dict, bit-identical through JSON: its fields are all it knows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from graduand.gateway.errors import did_you_mean
from graduand.rollout.gates import GateError
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.correctness import Correctness
from graduand.rollout.gates.discordant import Discordant
from graduand.rollout.gates.error_ratio import ErrorRatio
from graduand.rollout.gates.latency import Latency
from graduand.rollout.gates.scores import Scores
from graduand.rollout.gates.srm import SampleRatio
from graduand.rollout.gates.watch import Watch

AnyGate = Agreement | Correctness | Discordant | ErrorRatio | Latency | SampleRatio | Scores | Watch

KINDS: dict[str, type[AnyGate]] = {
    "agreement": Agreement,
    "correctness": Correctness,
    "discordant": Discordant,
    "error_ratio": ErrorRatio,
    "latency": Latency,
    "sample_ratio": SampleRatio,
    "scores": Scores,
    "watch": Watch,
}
NAMES = {gate: name for name, gate in KINDS.items()}


def dump(gate: AnyGate) -> dict[str, Any]:
    """Everything about a gate as a plain dict.

    >>> dump(Agreement(0.9, agreed=3))
    {'kind': 'agreement', 'p0': 0.9, 'harm': False, 'agreed': 3, 'disagreed': 0}
    """
    return {"kind": NAMES[type(gate)], **asdict(gate)}


def load(state: Mapping[str, Any]) -> AnyGate:
    """The gate that `dump` described; raise GateError if it is not one."""
    fields = dict(state)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise GateError(f"stored gate has the unknown kind {kind!r}.{did_you_mean(str(kind), KINDS)}")
    try:
        return KINDS[kind](**fields)
    except TypeError as error:
        raise GateError(f"stored gate of kind {kind!r} does not fit this version: {error}") from error
