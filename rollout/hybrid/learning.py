"""A threshold from pairs: fitted on some units, proved on the others, and watched while it is served.

One start is a scorer and an order of policies, frozen when there are pairs enough, and the proof of them on the pairs of
everybody who was not fitted on; the proof goes on for as long as the start does, so that coverage grows with the evidence.
A start that has proved nothing from four times the pairs of its fit gives way to another, whose fit has more to learn from
and whose proof begins anew. When a start is made depends on counts and on the fitting half alone, never on what proves it.
Start number k has .8 x .2^(k-1) of delta, so all of them together break their promise with probability at most delta.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from graduand.rollout.hybrid.calibration import fit_logistic
from graduand.rollout.hybrid.cuts import Fitted, path
from graduand.rollout.hybrid.pairs import Pair, half
from graduand.rollout.hybrid.promise import Promise, promise_from_dict
from graduand.rollout.hybrid.proof import ClassRisk, Proof, Side, prove
from graduand.rollout.hybrid.scorer import Reads, Scorer, fit_from_dict, fit_to_dict
from graduand.rollout.hybrid.threshold import Threshold, threshold_from_dict

# Pairs at which the first fit is made, and how many times as many the next one waits for.
FIRST_FIT, PATIENCE = 200, 4
MOST_STARTS = 6
FEWEST = 20
# Where one cut moves what all classes have, the fit should have seen the rarest so often; but no fit waits for ever.
FEW_OF_CLASS, LAST_FIT = 50, 1000
# Each start waits for four times the pairs of the last one, so it can do with a fifth of the last one's delta.
FIRST_SHARE = 0.8
# Looks lie this much apart, as a share of what there is.
STRIDE = 1.25
# Nothing more is learnt from a start's later pairs: on a busy route they would fill the disk.
MOST_PAIRS = 20_000
# Traffic drifts: after this a threshold is learnt again from fresh pairs, and until then the teacher answers.
LIFETIME_S = 7 * 86400.0

Classes = Literal["none", "student", "teacher"]
SIDES: dict[Classes, frozenset[Side]] = {
    "none": frozenset(),
    "student": frozenset({"student"}),
    "teacher": frozenset({"student", "teacher"}),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What is promised. `classes`: of whose labels each class must keep the risk; `teacher` asks for both sides' own."""

    risk: float
    delta: float
    adapter: str
    classes: Classes = "teacher"
    lifetime_s: float = LIFETIME_S


@dataclass(frozen=True, slots=True)
class Family:
    """Policies that are proved in one order: a cut for each of `labels`."""

    labels: tuple[str, ...]
    policies: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Frozen:
    """One start: nothing in it changes but the looks. Each family has its share of the start's delta."""

    scorer: Scorer
    families: tuple[Family, ...]
    fitted_on: int  # pairs there when it was frozen; the proof counts those after them
    frozen_at: float
    looks: tuple[int, ...] = ()  # pairs there at each look of the proof

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `frozen_from_dict`."""
        return {**asdict(self), "scorer": fit_to_dict(self.scorer)}


def frozen_from_dict(data: Mapping[str, Any]) -> Frozen:
    """The start that `Frozen.to_dict` described."""
    families = tuple(
        Family(tuple(one["labels"]), tuple(tuple(policy) for policy in one["policies"])) for one in data["families"]
    )
    looks = tuple(data["looks"])
    return Frozen(fit_from_dict(data["scorer"]), families, data["fitted_on"], data["frozen_at"], looks)


@dataclass(frozen=True, slots=True)
class Learning:
    """Where the learning of one attempt stands. `said` is for people."""

    starts: int = 0
    frozen: Frozen | None = None
    threshold: Threshold | None = None
    promise: Promise | None = None
    said: str = ""
    tried: int = 0  # pairs there when a fit was last tried that had too few of some class

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `learning_from_dict`."""
        parts = (self.frozen, self.threshold, self.promise)
        frozen, threshold, promise = (None if one is None else one.to_dict() for one in parts)
        found = {"starts": self.starts, "frozen": frozen, "threshold": threshold, "promise": promise}
        return {**found, "said": self.said, "tried": self.tried}


def learning_from_dict(data: Mapping[str, Any] | None) -> Learning:
    """The learning that `Learning.to_dict` described; for what an earlier version wrote one that starts anew."""
    if data is None or "tried" not in data:
        return Learning(0 if data is None else data.get("starts", 0))
    return Learning(
        data["starts"],
        None if data["frozen"] is None else frozen_from_dict(data["frozen"]),
        None if data["threshold"] is None else threshold_from_dict(data["threshold"]),
        None if data["promise"] is None else promise_from_dict(data["promise"]),
        data["said"],
        data["tried"],
    )


def due(learning: Learning, pairs: int) -> bool:
    """Whether `advance` would do anything with so many pairs.

    >>> due(Learning(), 199), due(Learning(), 200)
    (False, True)
    """
    return pairs >= next_at(learning)


def next_at(learning: Learning) -> int:
    """At how many pairs somebody looks next; the schedule knows counts only, never outcomes."""
    frozen = learning.frozen
    if frozen is None and not learning.tried:
        return FIRST_FIT
    last = learning.tried if frozen is None else frozen.looks[-1] if frozen.looks else frozen.fitted_on
    return max(last + 20, math.ceil(STRIDE * last))


def share(start: int) -> float:
    """The part of delta that start number `start` (from 1) has.

    >>> round(sum(share(k) for k in range(1, 100)), 3), round(share(2), 2)
    (1.0, 0.16)
    """
    return FIRST_SHARE * (1 - FIRST_SHARE) ** (start - 1)


def advance(learning: Learning, pairs: Sequence[Pair], terms: Terms, now: float) -> Learning:
    """The learning after a look at all `pairs` of this attempt, in the order in which they came.

    Nothing is done before `next_at`, so how often it is called does not matter.
    """
    if not due(learning, len(pairs)):
        return learning
    frozen = learning.frozen
    tired = frozen is not None and learning.threshold is None and len(pairs) >= PATIENCE * frozen.fitted_on
    if frozen is None or (tired and learning.starts < MOST_STARTS):
        return _start(learning, pairs, terms, now)
    looked = replace(frozen, looks=(*frozen.looks, len(pairs)))
    proofs = _proved(looked, pairs, terms, learning.starts)
    threshold = _threshold(looked, proofs, terms, learning.starts, now)
    if threshold is None:
        return replace(learning, frozen=looked, said=_not_yet(proofs))
    if learning.threshold is not None and threshold.policies == learning.threshold.policies:
        return replace(learning, frozen=looked)
    promise = Promise(terms.risk, terms.delta, [_named(one.side, one.label) for one in threshold.classes[1:]])
    return replace(learning, frozen=looked, threshold=threshold, promise=promise, said=told(threshold))


def _start(learning: Learning, pairs: Sequence[Pair], terms: Terms, now: float) -> Learning:
    """Freeze a scorer and an order of policies, fitted on the pairs of one half of the units."""
    number = learning.starts + 1
    if learning.frozen is None:
        pairs = pairs[: next_at(learning)]  # so that nothing depends on how often somebody looks
    fitting = [one for one in pairs if half(one.unit) == "fit"]
    if len(fitting) < FEWEST:
        said = f"{len(fitting)} pairs of the half that is fitted on; {FEWEST} are needed"
        return replace(learning, tried=len(pairs), said=said)
    if len(pairs) < LAST_FIT and (rare := _rarest(fitting, terms)) is not None:
        said = f"{rare[1]} pairs of {rare[0]} in the half that is fitted on; {FEW_OF_CLASS} are waited for"
        return replace(learning, tried=len(pairs), said=said)
    fit = fit_logistic([list(one.vector) for one in fitting], [one.agreed for one in fitting])
    scorer = Scorer(fit.bias, fit.weights, fit.means, fit.scales)
    frozen = Frozen(scorer, _families(fitting, scorer, terms, number), len(pairs), now)
    said = f"start {number}: fitted on {len(fitting)} pairs; the proof counts those from now on"
    return Learning(number, frozen, None, None, said)


def _rarest(fitting: Sequence[Pair], terms: Terms) -> tuple[str, int] | None:
    """The class of which the fitting half has fewest, if these are too few to place cuts by. Where each label has a cut
    that nobody else's class depends on, none waits for a rarer one."""
    if terms.classes != "teacher":
        return None
    classes = (name for one in fitting for name in classes_of(one.student, one.teacher))
    name, count = min(Counter(classes).items(), key=lambda one: one[1])
    return (name, count) if count < FEW_OF_CLASS else None


def _families(fitting: Sequence[Pair], scorer: Scorer, terms: Terms, start: int) -> tuple[Family, ...]:
    """One family of all labels where the teacher's classes are promised too, for one cut moves what another class has
    among it; else each label has its own, so that none waits for a rarer one."""
    # An answer without a readable label is never released where others have one.
    labels = sorted({one.student for one in fitting} - {""}) or [""]
    need = -math.log(terms.delta * share(start))
    if terms.classes == "none":
        return (_family([""], fitting, scorer, terms, need),)
    if terms.classes == "teacher":
        return (_family(labels, fitting, scorer, terms, need),)
    need += math.log(max(len(labels), 1))
    return tuple(
        _family([label], [one for one in fitting if one.student == label], scorer, terms, need) for label in labels
    )


def _family(labels: list[str], fitting: Sequence[Pair], scorer: Scorer, terms: Terms, need: float) -> Family:
    teachers = terms.classes == "teacher"
    others = sorted({one.teacher for one in fitting} - set(labels)) if teachers else []
    places = {label: at for at, label in enumerate([*labels, *others])}
    fitted = Fitted(
        np.array([scorer.score(one.vector) for one in fitting]),
        np.array([places.get(one.student, 0) for one in fitting]),
        np.array([places.get(one.teacher, 0) for one in fitting]),
        np.array([one.agreed for one in fitting]),
        tuple(places),
    )
    policies = path(fitted, terms.risk, need, students=teachers, teachers=teachers)
    return Family(tuple(labels), tuple(policy[: len(labels)] for policy in policies))


def _proved(frozen: Frozen, pairs: Sequence[Pair], terms: Terms, start: int) -> list[Proof]:
    """The proof of each family, on the pairs of everybody who was not fitted on, whenever they came."""
    fitted = {one.unit for one in pairs[: frozen.fitted_on] if half(one.unit) == "fit"}
    places = [at for at, one in enumerate(pairs) if one.unit not in fitted]
    looks = np.searchsorted(np.array(places, dtype=np.int64), np.array(frozen.looks), side="left").tolist()
    proving = [pairs[at] for at in places]
    scores = np.array([frozen.scorer.score(one.vector) for one in proving])
    delta = terms.delta * share(start) / max(1, len(frozen.families))
    return [
        prove(proving, scores, family.policies, family.labels, looks, risk=terms.risk, delta=delta,
              sides=SIDES[terms.classes])
        for family in frozen.families
    ]  # fmt: skip


def _threshold(frozen: Frozen, proofs: list[Proof], terms: Terms, start: int, now: float) -> Threshold | None:
    """What is proved of all families together; None if nothing is."""
    cuts: dict[str, float] = {}
    for family, proof in zip(frozen.families, proofs, strict=True):
        if proof.policy is not None:
            cuts.update(zip(family.labels, family.policies[proof.policy], strict=True))
    if not cuts:
        return None
    held = [proof for proof in proofs if proof.policy is not None]
    wholes = [proof.classes[0] for proof in held]
    whole = ClassRisk(
        "all", "", sum(one.pairs for one in wholes), sum(one.disagreed for one in wholes),
        sum(one.observations for one in wholes), min(one.log_e for one in wholes),
    )  # fmt: skip
    classes = (whole, *(one for proof in held for one in proof.classes[1:] if one.pairs))
    return Threshold(
        cuts, terms.risk, terms.delta * share(start), tuple(proof.policy for proof in proofs),
        sum(proof.coverage for proof in held), classes, terms.adapter, now, frozen.frozen_at + terms.lifetime_s,
    )  # fmt: skip


def released_by(learning: Learning, reads: Reads | None) -> dict[str, Any] | None:
    """The proved threshold as the data plane applies it (`scorer_from_dict`); None while there is none. `reads` says how
    an answer's label is read, where the cuts are the labels' own."""
    frozen, threshold = learning.frozen, learning.threshold
    if frozen is None or threshold is None:
        return None
    by_label = None if reads is None or set(threshold.cuts) == {""} else asdict(reads)
    return {"threshold": threshold.to_dict(), "fit": fit_to_dict(frozen.scorer), "reads": by_label}


def withdrawn(learning: Learning, broken: str) -> Learning:
    """The learning after its cut was taken back: another start, from fresh pairs; the caller forgets the old ones."""
    what = f"of {broken}" if broken else "of what it answered"
    said = f"withdrawn: audits show that the promise does not hold {what}; the teacher answers, and a new start begins"
    return Learning(learning.starts, said=said)


def classes_of(student: str, teacher: str) -> list[str]:
    """The names under which a promise knows the classes of one answer.

    >>> classes_of("spam", "ham")
    ['student: spam', 'teacher: ham']
    """
    return [_named("student", student), _named("teacher", teacher)]


def _named(side: Side, label: str) -> str:
    return f"{side}: {label}"


def told(threshold: Threshold) -> str:
    """A threshold in words."""
    asked = ", and of each class too" if len(threshold.classes) > 1 else ""
    units = threshold.classes[0].observations
    return (
        f"lets {threshold.coverage:.0%} through; of {threshold.pairs} such pairs ({units} users' days) "
        f"{threshold.disagreed} disagreed, so at most {threshold.risk:.3g} did{asked}, with probability "
        f"{1 - threshold.delta:.3g}"
    )


def _not_yet(proofs: list[Proof]) -> str:
    lacking = [min(proof.lacking, key=lambda one: one.log_e) for proof in proofs if proof.lacking]
    if not lacking:
        return "no policy is worth proving"
    return f"nothing proved yet: {'; '.join(_evidence(one) for one in lacking)}"


def _evidence(one: ClassRisk) -> str:
    of = f"those that the {one.side} calls {one.label!r}" if one.side != "all" else "all"
    return f"of {of}, {one.disagreed} of {one.pairs} released pairs disagreed (log evidence {one.log_e:.2f})"
