"""How often the queue of labels, as it is in the product, certifies a share that is not there, and one that is.

A shadow step of two days goes through the real ledger: sessions of requests that are alike, a student that is right or not,
a teacher that it agrees with or not, and a person who labels what was drawn.
"""

import math
from dataclasses import dataclass

import numpy as np

from graduand.rollout import ledger as ledgers
from graduand.rollout.assignment import DAY_S
from graduand.rollout.ledger import Ledger, Pair
from graduand.rollout.spec.file import read
from graduand.rollout.spec.spec import CORRECTNESS, Spec
from graduand.rollout.state import Event, State, draft
from graduand.rollout.transitions import apply

DAYS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """What is true of the student and its traffic, and how people label."""

    true: float  # mean over sessions of the share that is right
    agree: float = 0.95  # of right answers, the share that agrees with the teacher
    agree_wrong: float = 0.25  # of wrong ones
    sessions: int = 150  # a day
    length: int = 4  # requests a session
    alike: float = 0.3  # intra-class correlation within one
    swing: float = 0.0  # the share is so much higher in a day's first half, and lower in the second
    skipped: float = 0.0  # share of wrong answers on which people give up


def specification(p0: float, labels: int) -> Spec:
    """A rollout that has only labels to rest on."""
    return read(
        {
            "route": "r", "student": "s@3f9c1a", "watch": {"p0": 0.1}, "harm": [],
            "gates": [{CORRECTNESS: {"p0": p0, "labels": labels}}],
        }
    )  # fmt: skip


def certified(step: Step, rng: np.random.Generator, *, p0: float = 0.8, labels: int = 100, runs: int = 100) -> float:
    """Share of runs in which the gate certifies at the end of a day, at its own alpha of .05."""
    spec, need = specification(p0, labels), math.log(20)
    return sum(_evidence(spec, step, rng, f"salt {run}") >= need for run in range(runs)) / runs


def _evidence(spec: Spec, step: Step, rng: np.random.Generator, salt: str) -> float:
    """The most evidence at the ends of the days."""
    ledger, seen, best = ledgers.start(_shadow(spec, salt)), set[tuple[str, int]](), 0.0

    def once(what: str, unit: int) -> bool:
        new = (what, unit) not in seen
        seen.add((what, unit))
        return new

    for day in range(DAYS):
        right = _day(ledger, step, rng, day, once)
        ledger.tick((day + 1) * DAY_S + 1, once)
        _label(ledger, right, step, rng)
        best = max(best, ledger.snapshot().gates[CORRECTNESS].log_e)
    return best


def _day(ledger: Ledger, step: Step, rng: np.random.Generator, day: int, once: ledgers.Once) -> dict[str, bool]:
    """A day's traffic; by record, whether the student's answer is right."""
    right: dict[str, bool] = {}
    starts = np.sort(rng.random(step.sessions))
    for number, start in enumerate(starts.tolist()):
        mean = step.true + (step.swing if start < 0.5 else -step.swing)
        if step.alike:
            spread = 1 / step.alike - 1
            mean = float(rng.beta(max(mean * spread, 1e-9), max((1 - mean) * spread, 1e-9)))
        good = rng.random(step.length) < mean
        same = rng.random(step.length) < np.where(good, step.agree, step.agree_wrong)
        for at in range(step.length):
            record = f"{day}-{number}-{at}"
            right[record] = bool(good[at])
            when = day * DAY_S + min(start * DAY_S, DAY_S - 60) + at
            pair = Pair(when, bool(same[at]), unit=day * 100_000 + number, record=record)
            ledger.pair(pair, once)
    return right


def _label(ledger: Ledger, right: dict[str, bool], step: Step, rng: np.random.Generator) -> None:
    labelling = ledger.labelling
    while labelling is not None and labelling.asked:
        correct = right[labelling.asked[0].guess.record]
        gave_up = not correct and rng.random() < step.skipped
        labelling.learn(None if gave_up else correct)


def _shadow(spec: Spec, salt: str) -> State:
    state = apply(draft("simulated", spec, salt, 0.0), Event("start", 0.0, 0, actor="simulation"))
    return apply(state, Event("prechecked", 0.0, state.version))
