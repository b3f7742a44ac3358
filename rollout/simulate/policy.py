"""A whole policy against a described or logged student: the real machine and the real gates, a simulated world.

A decision is taken at every look; nothing is known to it that a gateway would not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollout import ledger as ledgers
from rollout.ledger import Answered, Ledger, Pair
from rollout.machine import apply, decide
from rollout.spec import Spec
from rollout.state import PASSING, STEPPING, Event, Phase, State, draft, serving


@dataclass(frozen=True, slots=True)
class Scenario:
    """A student and its traffic. `agreement` is a probability, or logged outcomes to draw from with replacement."""

    agreement: float | Sequence[bool]
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


def run(spec: Spec, scenario: Scenario, rng: np.random.Generator) -> Outcome:
    """One rollout, from its start to promotion, rollback, hold or the horizon; approvals are given at once."""
    state = apply(draft("simulated", spec, "salt", 0.0), Event("start", 0.0, 0, actor="simulation"))
    ledger, now, answers = ledgers.start(state), 0.0, 0
    while now < scenario.horizon_s:
        now += scenario.look_s
        answers += _live(state, ledger, scenario, now, rng)
        decision = decide(state, ledger.snapshot(precheck=(), weights_applied=True, threshold_ready=True), now)
        state = decision.state
        if state.approval == "asked":
            state = apply(state, Event("approve", now, state.version, actor="simulation"))
        ledger = ledger.follow(state)
        if state.phase not in STEPPING | {Phase.PRECHECK} and state.hold not in PASSING:
            break
    hold = state.hold.value if state.hold is not None else ""
    return Outcome(state.phase, hold, now, ledger.pairs, answers, state.note)


def _live(state: State, ledger: Ledger, scenario: Scenario, now: float, rng: np.random.Generator) -> int:
    """Traffic between two looks; returns how many requests the student answered."""
    if (state.held or state.phase) not in STEPPING:
        return 0
    total = int(rng.poisson(scenario.requests_per_s * scenario.look_s))
    weight = serving(state).weight_bp
    by_student = rng.random(total) < weight / 10_000
    failed = rng.random(total) < scenario.error_rate * np.where(by_student, scenario.error_ratio, 1.0)
    compared = rng.random(total) < np.where(by_student, state.spec.audit, scenario.shadow_share)
    agreed = _agreements(scenario, weight, total, rng)
    for student, bad, both, same in zip(
        by_student.tolist(), failed.tolist(), compared.tolist(), agreed.tolist(), strict=True
    ):
        ledger.answered(Answered(now, student, bad))
        if both and not bad:
            # A judge's score at its least: as good as the teacher where it agrees, never better.
            ledger.pair(Pair(now, same, score=0.5 if same else 0.0))
    return int(by_student.sum())


def _agreements(scenario: Scenario, weight: int, total: int, rng: np.random.Generator) -> np.ndarray:
    if scenario.breaks_at is not None and weight >= scenario.breaks_at:
        return np.asarray(rng.random(total) < scenario.broken_agreement)
    if isinstance(scenario.agreement, float | int):
        return np.asarray(rng.random(total) < scenario.agreement)
    return rng.choice(np.asarray(scenario.agreement, dtype=bool), total)


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
    )


def many(spec: Spec, scenario: Scenario, rng: np.random.Generator, runs: int) -> Summary:
    """Many rollouts of one policy against one scenario."""
    return summarise([run(spec, scenario, rng) for _ in range(runs)])
