"""A whole policy against a described or logged student: the real machine and the real gates, a simulated world.

A decision is taken at every look; nothing is known to it that a gateway would not know. With a hybrid step the threshold
is learnt from the shadow's pairs as the gateway learns it, and what is not confident enough goes to the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from graduand.rollout import ledger as ledgers
from graduand.rollout.ledger import Answered, Ledger, Pair
from graduand.rollout.machine import apply, decide
from graduand.rollout.simulate.confidence import Confidence, Vector
from graduand.rollout.spec.spec import Spec
from graduand.rollout.state import PASSING, STEPPING, Event, Phase, State, draft, serving


@dataclass(frozen=True, slots=True)
class Scenario:
    """A student and its traffic. `agreement` is a probability, or logged outcomes to draw from with replacement.

    `vectors` are those outcomes' confidence features. A described student's confidence u is uniform, and it disagrees with
    probability (1 - agreement) (k + 1) (1 - u)^k, where k is `separation`: 0 knows nothing, more knows better.
    """

    agreement: float | Sequence[bool]
    vectors: Sequence[Vector | None] = ()
    separation: float = 2.0
    error_rate: float = 0.01  # of the teacher
    error_ratio: float = 1.0  # the student's rate over the teacher's
    requests_per_s: float = 1.0
    shadow_share: float = 1.0  # of what the teacher answers, also given to the student
    look_s: float = 60.0
    horizon_s: float = 14 * 86400.0
    breaks_at: int | None = None  # weight in basis points from which on ...
    broken_agreement: float = 0.5  # ... the student agrees only this often


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one simulated rollout ended."""

    end: Phase
    hold: str
    seconds: float
    pairs: int
    student_answers: int
    reason: str
    learnt: bool = False  # whether a confidence threshold was proved
    deferred: float | None = None  # share of the hybrid step's requests that went on to the teacher
    released_disagreement: float | None = None  # among what the student answered there


@dataclass(frozen=True, slots=True)
class Summary:
    """Many outcomes together."""

    runs: int
    promoted: float
    rolled_back: float
    held: float
    median_hours: float
    median_pairs: float
    median_student_answers: float
    learnt: float | None = None  # share of runs that proved a confidence threshold; None without a hybrid step
    median_deferred: float | None = None  # over the runs that reached the hybrid step
    median_released_disagreement: float | None = None


def run(spec: Spec, scenario: Scenario, rng: np.random.Generator) -> Outcome:
    """One rollout, from its start to promotion, rollback, hold or the horizon; approvals are given at once."""
    state = apply(draft("simulated", spec, "salt", 0.0), Event("start", 0.0, 0, actor="simulation"))
    ledger, now, answers = ledgers.start(state), 0.0, 0
    hybrid = Confidence(next((step for step in spec.steps if step.kind == "hybrid"), None), spec.student)
    while now < scenario.horizon_s:
        now += scenario.look_s
        answers += _live(state, ledger, hybrid, scenario, now, rng)
        hybrid.learn(now)
        facts = {"precheck": (), "weights_applied": True, "threshold_ready": hybrid.ready(now)}
        decision = decide(state, ledger.snapshot(**facts), now)
        state = decision.state
        if state.approval == "asked":
            state = apply(state, Event("approve", now, state.version, actor="simulation"))
        ledger = ledger.follow(state)
        if state.phase not in STEPPING | {Phase.PRECHECK} and state.hold not in PASSING:
            break
    hold = state.hold.value if state.hold is not None else ""
    return Outcome(
        state.phase, hold, now, ledger.pairs, answers, state.note, hybrid.learnt,
        1 - hybrid.released / hybrid.asked if hybrid.asked else None,
        hybrid.disagreed / hybrid.released if hybrid.released else None,
    )  # fmt: skip


def _live(
    state: State, ledger: Ledger, hybrid: Confidence, scenario: Scenario, now: float, rng: np.random.Generator
) -> int:
    """Traffic between two looks; returns how many requests the student answered."""
    if (state.held or state.phase) not in STEPPING:
        return 0
    total = int(rng.poisson(scenario.requests_per_s * scenario.look_s))
    weight = serving(state).weight_bp
    judged = serving(state).mode == "hybrid"
    vectors, agreed = _answers(scenario, weight, total, rng)
    by_student = rng.random(total) < weight / 10_000
    if judged and hybrid.ready(now):
        released = [hybrid.releases(vector, agreed=same) for vector, same in zip(vectors, agreed, strict=True)]
        deferred, by_student = ~np.array(released, dtype=bool), np.array(released, dtype=bool)
    else:  # without a threshold a hybrid route's teacher answers everything, and copies teach one
        deferred = np.zeros(total, dtype=bool)
        by_student &= not judged
    failed = rng.random(total) < scenario.error_rate * np.where(by_student, scenario.error_ratio, 1.0)
    copied = rng.random(total) < np.where(by_student, state.spec.audit, scenario.shadow_share)
    compared = copied & ~deferred  # what was deferred is asked once more, not copied
    for student, bad, both, same, vector in zip(
        by_student.tolist(), failed.tolist(), compared.tolist(), agreed, vectors, strict=True
    ):
        ledger.answered(Answered(now, student, bad))
        if both and not bad:
            # A judge's score at its least: as good as the teacher where it agrees, never better.
            ledger.pair(Pair(now, same, score=0.5 if same else 0.0))
            if not student:
                hybrid.sample(vector, now, disagreed=not same)
    return int(by_student.sum())


def _answers(
    scenario: Scenario, weight: int, total: int, rng: np.random.Generator
) -> tuple[list[Vector | None], list[bool]]:
    """How sure the student is of each answer, and whether it agrees."""
    broken = scenario.breaks_at is not None and weight >= scenario.breaks_at
    agreement = scenario.broken_agreement if broken else scenario.agreement
    if not isinstance(agreement, float | int):
        drawn = rng.integers(len(agreement), size=total).tolist()
        vectors = [scenario.vectors[at] for at in drawn] if scenario.vectors else [None] * total
        return vectors, [bool(agreement[at]) for at in drawn]
    sure, misses = rng.random(total), 1 - agreement
    power = min(scenario.separation, 1 / misses - 1) if misses > 0 else 0.0
    agreed = rng.random(total) >= misses * (power + 1) * (1 - sure) ** power
    return [[one] for one in sure.tolist()], agreed.tolist()


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Shares of ends, and medians."""
    ends = [outcome.end for outcome in outcomes]
    back = (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    return Summary(
        runs=len(outcomes),
        promoted=ends.count(Phase.PROMOTED) / len(ends),
        rolled_back=sum(end in back for end in ends) / len(ends),
        held=ends.count(Phase.HOLD) / len(ends),
        median_hours=float(np.median([outcome.seconds for outcome in outcomes])) / 3600,
        median_pairs=float(np.median([outcome.pairs for outcome in outcomes])),
        median_student_answers=float(np.median([outcome.student_answers for outcome in outcomes])),
        median_deferred=_median([outcome.deferred for outcome in outcomes]),
        median_released_disagreement=_median([outcome.released_disagreement for outcome in outcomes]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def many(spec: Spec, scenario: Scenario, rng: np.random.Generator, runs: int) -> Summary:
    """Many rollouts of one policy against one scenario."""
    outcomes = [run(spec, scenario, rng) for _ in range(runs)]
    if not any(step.kind == "hybrid" for step in spec.steps):
        return summarise(outcomes)
    return replace(summarise(outcomes), learnt=sum(outcome.learnt for outcome in outcomes) / len(outcomes))
