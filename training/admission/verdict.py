"""From log-probabilities to a verdict: is the adapter applied, and is it this one? Pure.

The noise floor is how far the engine's base is from our own on the same probes: another kernel, precision or batch does
that much. Distances are root mean squares over the engine's likeliest next tokens. Invariant: a distance that was not
measured never passes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graduand.training.admission.checks import Check
from graduand.training.admission.reference import Expected, Reference

TIMES_NOISE = 2.0
LEAST_NOISE = 1e-3  # log-probabilities closer than this are the same for all purposes
MOST_NOISE = 0.25  # more than this is no noise: nothing can be measured against it
NOT_MEASURED = "not measured: the engine's base is too far from ours, or moved; see `same base`"
STOPPING = 0.9  # share of the answers that must end by themselves

Served = Sequence[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Distances:
    """Root mean squares of differences of log-probabilities."""

    noise: float  # served base to our base
    to_trained: float  # served adapter to the trained one
    to_base: float  # served adapter to our base
    trained_to_base: float  # what the training changed
    base_moved: float = 0.0  # served base before the adapter was loaded to the same after it was unloaded

    def as_json(self) -> dict[str, float]:
        """Rounded, for the record."""
        return {name: round(getattr(self, name), 6) for name in self.__slots__}


def distances(before: Served, served: Served, after: Served, known: Reference) -> Distances:
    """Compare what the engine said with what the models themselves say.

    `before` and `after` are the engine's base, before the adapter was loaded and after it was unloaded again: what is
    measured must not have changed what it is measured against.
    """
    ours, plain = _ours(known.tuned, served), _ours(known.base, served)
    noise = max(_rms(each, _ours(known.base, each)) for each in (before, after))
    return Distances(noise, _rms(served, ours), _rms(served, plain), _rms(ours, plain), _rms_of_shared(before, after))


def _ours(known: Sequence[Expected], served: Served) -> Served:
    return [{text: each.of(text) for text in said} for each, said in zip(known, served, strict=True)]


def _rms_of_shared(one: Served, other: Served) -> float:
    """Over the tokens that both name; infinite where they name none in common."""
    shared = [{text: value for text, value in a.items() if text in b} for a, b in zip(one, other, strict=True)]
    return _rms(shared, other)


def _rms(one: Served, other: Served) -> float:
    squares = [(a[text] - b[text]) ** 2 for a, b in zip(one, other, strict=True) for text in a]
    return math.sqrt(sum(squares) / len(squares)) if squares else math.inf


def judge(found: Distances) -> list[Check]:
    """Whether the engine's base is ours, the training did something, it is applied, and the right adapter answered.

    >>> [check.passed for check in judge(Distances(0.0, 0.0005, 1.2, 1.2))]
    [True, True, True, True]
    >>> [check.name for check in judge(Distances(0.0, 1.2, 0.0, 1.2)) if not check.passed]
    ['applied', 'right one']
    """
    limit = TIMES_NOISE * min(max(found.noise, LEAST_NOISE), MOST_NOISE)
    figures = found.as_json() | {"limit": round(limit, 6)}
    applied = limit < found.to_base < math.inf
    measured = found.noise <= MOST_NOISE and found.base_moved <= limit
    right = measured and found.to_trained <= limit
    return [
        Check("same base", measured, _same_base(found, limit), figures),
        Check("trained", found.trained_to_base > limit, _trained(found, limit), figures),
        Check("applied", applied, _applied(found, limit), figures),
        Check("right one", right, _right(found, limit, applied) if measured else NOT_MEASURED, figures),
    ]


def _same_base(found: Distances, limit: float) -> str:
    if found.base_moved > limit:
        return f"the engine's base is {found.base_moved:.2g} from what it was before the adapter was loaded: loading changes it"
    if found.noise <= MOST_NOISE:
        return f"the engine's base is {found.noise:.2g} from ours, before and after: the noise floor"
    return (
        f"the engine's base is {found.noise:.2g} from ours, more than {MOST_NOISE}: other weights, or numbers so coarse that "
        "nothing can be measured against them"
    )


def _trained(found: Distances, limit: float) -> str:
    if found.trained_to_base > limit:
        return f"training moved the probes by {found.trained_to_base:.3g}"
    return (
        f"training moved the probes by {found.trained_to_base:.2g} only, not more than {limit:.2g}: it learned nothing"
    )


def _applied(found: Distances, limit: float) -> str:
    if found.to_base > limit:
        return f"served answers are {found.to_base:.3g} from the base's"
    return f"the engine answers like the base under its name ({found.to_base:.2g}): the adapter is not applied"


def _right(found: Distances, limit: float, applied: bool) -> str:
    near = f"served answers are {found.to_trained:.2g} from the trained model's"
    if found.to_trained <= limit:
        return f"{near}, within twice the noise floor ({limit:.2g})"
    whose = "another adapter answers under its name" if applied else "what was trained is not what answers"
    return f"{near}, more than twice the noise floor ({limit:.2g}): {whose}"


def judge_endings(endings: Sequence[str], most_tokens: int) -> Check:
    """Whether answers end by themselves, as trained completions do."""
    stopped = sum(ending == "stop" for ending in endings)
    share = stopped / len(endings) if endings else 0.0
    if share >= STOPPING:
        return Check("stops", True, f"{stopped} of {len(endings)} answers ended by themselves", {"share": share})
    text = (
        f"only {stopped} of {len(endings)} answers ended within {most_tokens} tokens, twice the longest completion: "
        "it never learned to stop"
    )
    return Check("stops", False, text, {"share": share})


def of_rows(texts: Sequence[str], known: Reference, endings: Sequence[str]) -> Check:
    """How an adapter of unknown training does on its user's rows: figures for whoever vouches, and no bar to reach.

    `texts` are the rows' own next tokens at the probes. Fails only where nothing finite was measured.
    """
    tuned, base = (
        math.fsum(each.of(text) for each, text in zip(said, texts, strict=True)) / max(len(texts), 1)
        for said in (known.tuned, known.base)
    )
    stopped = sum(ending == "stop" for ending in endings)
    detail = (
        f"the rows' own next tokens have the mean log-probability {tuned:.3g} under the adapter and {base:.3g} under the "
        f"base; {stopped} of {len(endings)} answers ended by themselves"
    )
    figures = {"adapter": tuned, "base": base, "stopped": stopped / max(len(endings), 1)}
    return Check("rows", math.isfinite(tuned) and math.isfinite(base), detail, figures)
