"""A gate's state to and from a plain dict, bit-identical through JSON: its fields are all it knows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from graduand.gateway.errors import did_you_mean
from graduand.rollout.gates import GateError
from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.correctness import Correctness
from graduand.rollout.gates.drop import Drop
from graduand.rollout.gates.one_sided import OneSided
from graduand.rollout.gates.path_test import PathTest
from graduand.rollout.gates.srm import SampleRatio
from graduand.rollout.gates.watch import Watch

AnyGate = ConstantBets | Correctness | Drop | OneSided | PathTest | SampleRatio | Watch

KINDS: dict[str, type[AnyGate]] = {
    "constant_bets": ConstantBets,
    "correctness": Correctness,
    "drop": Drop,
    "one_sided": OneSided,
    "path_test": PathTest,
    "sample_ratio": SampleRatio,
    "watch": Watch,
}
NAMES = {gate: name for name, gate in KINDS.items()}


def dump(gate: AnyGate) -> dict[str, Any]:
    """Everything about a gate as a plain dict.

    >>> dump(SampleRatio([0.5, 0.5]))
    {'kind': 'sample_ratio', 'shares': [0.5, 0.5], 'strength': 100.0, 'counts': [0, 0]}
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
