"""Specifications that an earlier version resolved, for other gates: what they ask for, in today's.

Their evidence is of single requests, of both paths in one E and of any hour, so it certifies nothing here. What was asked
for stays: steps, bounds, alphas, slices.
"""

import math
from collections.abc import Mapping
from typing import Any

from graduand.rollout.spec.file import read

Json = dict[str, Any]
# Of each kind of an earlier gate, where its bound stands and what it is called when written.
BOUNDS = {"agreement": "p0", "scores": "p0", "discordant": "p0", "latency": "within"}
NAMES = {
    "agreement": "agreement",
    "scores": "score",
    "discordant": "incumbent",
    "latency": "latency",
    "error_ratio": "errors",
}


def specification(stored: Mapping[str, Any]) -> Json:
    """The plain form of today's specification that asks for the same."""
    watch = stored["watch"]
    fresh = read(
        {
            "route": stored["route"],
            "student": stored["student"],
            "gates": [_written(gate, alpha=True) for gate in stored["gates"]],
            "harm": [_written(gate, alpha=False) for gate in stored["harm"]],
            "harm_alpha": _harm_alpha(stored["harm"]),
            "watch": {"p0": watch["start"]["p0"], "mean_run": math.exp(watch["log_threshold"])},
            "audit": stored["audit"],
        }
    ).to_dict()
    kept = ("steps", "srm_log_threshold", "stale_s", "on_inconclusive", "notify", "task", "slices")
    return {**fresh, **{name: stored[name] for name in kept if name in stored}}


def notice(stored: Mapping[str, Any], ledger: Mapping[str, Any]) -> str:
    """What becomes of the evidence that was gathered under the earlier gates."""
    pairs = int(ledger.get("pairs", 0))
    names = ", ".join(gate["name"] for gate in stored["gates"])
    return (
        f"begun under the gates of an earlier version: what they gathered of {names} ({pairs} pairs, request by request, of "
        "copies and served answers together) stays in the log and certifies nothing now; steps, bounds and audits stay as they "
        "were. Resume it to gather new evidence in this step, or roll it back"
    )


def _written(gate: Mapping[str, Any], *, alpha: bool) -> Json:
    start = gate["start"]
    kind = start["kind"]
    asked: Json = {}
    if kind in BOUNDS:
        bound = BOUNDS[kind]
        asked[bound] = start[bound]
    signal, _, part = gate["signal"].partition("@")
    if kind == "agreement":
        field = signal.partition(":")[2]
        asked |= {"field": field} if field else {}
        asked |= {"slice": part} if part else {}
    elif kind == "latency":
        asked |= {"slo": start["slo_s"], "measure": signal.removeprefix("latency:")}
    elif kind == "error_ratio":
        asked["tolerance"] = start["tolerance"]
    if alpha:
        asked["alpha"] = math.exp(-gate["log_threshold"])
    return {NAMES[kind]: asked}


def _harm_alpha(gates: list[Mapping[str, Any]]) -> float:
    return len(gates) * math.exp(-gates[0]["log_threshold"]) if gates else 0.01
