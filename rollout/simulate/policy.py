"""A whole policy against a described or logged student: the real machine and the real gates, a simulated world.

A decision is taken at every look; nothing is known to it that a gateway would not know. Requests come in sessions of users
who are alike within one: `session` requests each, from `users` whose shares follow Zipf's law. With a hybrid step the threshold
is learnt from the shadow's pairs as the gateway learns it, and what is not confident enough goes to the teacher.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from graduand.rollout import ledger as ledgers
from graduand.rollout.assignment import BUCKETS, bucket
from graduand.rollout.gates.account import draw
from graduand.rollout.ledger import Answered, Ledger, Pair
from graduand.rollout.machine import apply, decide
from graduand.rollout.simulate.confidence import Confidence, Vector
from graduand.rollout.simulate.habits import HOUR_S, Blocks
from graduand.rollout.spec.spec import Spec, audit_share
from graduand.rollout.state import PASSING, STEPPING, Event, Phase, State, draft, serving
from graduand.rollout.units import Path

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DAY_S = 86400.0
# Nobody is moved while a rollout is held, and harm is looked for: what so much longer shows.
HELD_S = 2 * 3600.0


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
    served_agreement: float | None = None  # of what the student serves, where that is not what its copies do
    users: int = 0  # 0: each request is a user of its own
    session: int = 1  # requests of one session, all within one look
    alike: float = 0.0  # intra-class correlation of the agreement within a session
    blocks: Blocks | None = None  # hours of a log: who asks when, in place of `requests_per_s`, `users` and `session`
    swing: float = 0.0  # the day's rhythm: agreement is so much higher at its best hour, and lower at its worst


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one simulated rollout ended."""

    end: Phase
    hold: str
    seconds: float
    pairs: int
    student_answers: int
    reason: str
    wrong: int = 0  # served answers that disagree
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
    median_wrong: float = 0.0  # served answers that disagree
    learnt: float | None = None  # share of runs that proved a confidence threshold; None without a hybrid step
    median_deferred: float | None = None  # over the runs that reached the hybrid step
    median_released_disagreement: float | None = None


@dataclass(slots=True)
class World:
    """One run: its generator, the users and what was seen of each."""

    scenario: Scenario
    rng: np.random.Generator
    answers: int = 0
    wrong: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)
    shares: Floats = field(default_factory=lambda: np.zeros(0))
    hour: int = -1
    coming: list[tuple[float, int]] = field(default_factory=list)  # of a log's hour: when and whose, the last one first
    own: dict[tuple[int, int], float] = field(default_factory=dict)  # a user's own mean on a day

    def __post_init__(self) -> None:
        if self.scenario.users:
            weights = 1 / np.arange(1, self.scenario.users + 1)
            self.shares = weights / weights.sum()

    def once(self, what: str, unit: int) -> bool:
        """Whether something happens to a unit for the first time."""
        new = (what, unit) not in self.seen
        self.seen.add((what, unit))
        return new

    def sessions(self, now: float) -> tuple[Ints, Ints]:
        """Whose requests have come since the last look, and how many each: a log's, or drawn; -1 is nobody's."""
        scenario, rng = self.scenario, self.rng
        if scenario.blocks is None:
            count = int(rng.poisson(scenario.requests_per_s * scenario.look_s / scenario.session))
            units = rng.choice(scenario.users, size=count, p=self.shares) if scenario.users else np.full(count, -1)
            return units, np.full(count, scenario.session)
        came: list[int] = []
        for hour in range(max(self.hour, int((now - scenario.look_s) // HOUR_S)), int(now // HOUR_S) + 1):
            if hour > self.hour:
                found = [
                    (hour * HOUR_S + one.at, -1 if one.unit is None else one.unit)
                    for one in scenario.blocks.draw(hour, rng)
                ]
                self.coming, self.hour = sorted([*self.coming, *found], reverse=True), hour
        while self.coming and self.coming[-1][0] < now:
            came.append(self.coming.pop()[1])
        known, counts = np.unique(np.array([unit for unit in came if unit >= 0], dtype=np.int64), return_counts=True)
        alone = len(came) - int(counts.sum())
        return np.append(known, np.full(alone, -1)), np.append(counts, np.ones(alone, dtype=np.int64))

    def mean(self, unit: int, now: float, mean: float) -> float:
        """A user's own mean on this day, drawn once."""
        spread = 1 / self.scenario.alike - 1
        key = (unit, int(now // DAY_S))
        if unit < 0 or key not in self.own:
            drawn = float(self.rng.beta(max(mean * spread, 1e-9), max((1 - mean) * spread, 1e-9)))
            if unit < 0:
                return drawn
            self.own[key] = drawn
        return self.own[key]


def run(spec: Spec, scenario: Scenario, rng: np.random.Generator) -> Outcome:
    """One rollout, from its start to promotion, rollback, hold or the horizon; approvals are given at once."""
    state = draft("simulated", spec, "salt", 0.0, draw(()).share)
    state = apply(state, Event("start", 0.0, 0, actor="simulation"))
    ledger, now, world = ledgers.start(state), 0.0, World(scenario, rng)
    hybrid = Confidence(next((step for step in spec.steps if step.kind == "hybrid"), None), spec.student)
    while now < scenario.horizon_s:
        now += scenario.look_s
        _live(state, ledger, hybrid, world, now)
        hybrid.learn(now)
        ledger.tick(now, world.once)
        facts = {"precheck": (), "weights_applied": True, "threshold_ready": hybrid.ready(now)}
        decision = decide(state, ledger.snapshot(**facts), now)
        state = decision.state
        if state.approval == "asked":
            state = apply(state, Event("approve", now, state.version, actor="simulation"))
        ledger = ledger.follow(state)
        held = state.phase is Phase.HOLD and now - state.held_at < HELD_S
        if state.phase not in STEPPING | {Phase.PRECHECK} and state.hold not in PASSING and not held:
            break
    hold = state.hold.value if state.hold is not None else ""
    return Outcome(
        state.phase, hold, now, ledger.pairs, world.answers, state.note, world.wrong, hybrid.learnt,
        1 - hybrid.released / hybrid.asked if hybrid.asked else None,
        hybrid.disagreed / hybrid.released if hybrid.released else None,
    )  # fmt: skip


def _live(state: State, ledger: Ledger, hybrid: Confidence, world: World, now: float) -> None:
    """Traffic between two looks, session by session."""
    if (state.held or state.phase) not in STEPPING:
        return
    scenario, rng = world.scenario, world.rng
    weight, judged = serving(state).weight_bp, serving(state).mode == "hybrid"
    units, lengths = world.sessions(now)
    whose = np.repeat(np.arange(len(units)), lengths)
    total = len(whose)
    meant = _arms(units, weight, rng)[whose]
    vectors, agreed = _answers(world, units, whose, weight, meant & (not judged), now)
    by_student, released = meant.copy(), np.ones(total, dtype=bool)
    if judged and hybrid.ready(now):
        released = np.array(
            [hybrid.releases(vector, agreed=same) for vector, same in zip(vectors, agreed, strict=True)], dtype=bool
        )
        by_student = released.copy()
    elif judged:  # without a threshold a hybrid route's teacher answers everything, and copies teach one
        by_student[:] = False
    p = np.where(by_student, audit_share(state.spec, weight), scenario.shadow_share)
    drawn = rng.random(len(units))[whose] < p
    compared = drawn & (released | ~meant if judged else True)  # what was deferred is asked once more, not copied
    failures = rng.random((2, total)) < [[scenario.error_rate * scenario.error_ratio], [scenario.error_rate]]
    world.answers += int(by_student.sum())
    world.wrong += int((by_student & ~np.array(agreed, dtype=bool)).sum())
    for at in range(total):
        student, same = bool(by_student[at]), agreed[at]
        path: Path = "served" if student else "copies"
        ledger.answered(Answered(now, student, drawn=path if compared[at] else None))
        if not compared[at]:
            continue
        ours, theirs = bool(failures[0, at]), bool(failures[1, at])
        unit = int(units[whose[at]])
        # A judge's score at its least: as good as the teacher where it agrees, never better. Failures are of first attempts.
        pair = Pair(
            now, same, score=0.5 * same, path=path, unit=None if unit < 0 else unit,
            p=float(p[at]), student_failed=ours, teacher_failed=theirs,
        )  # fmt: skip
        ledger.pair(pair, world.once)
        if not student:
            hybrid.sample(vectors[at], now, disagreed=not same)


def _arms(units: Ints, weight: int, rng: np.random.Generator) -> Bools:
    """Which sessions are the student's: a user's are all, or none, and stay so while the weight rises."""
    known = np.array([bucket("salt", "simulated", str(unit)) for unit in units.tolist()], dtype=np.int64)
    unknown = rng.integers(BUCKETS, size=len(units))
    return np.asarray(np.where(units < 0, unknown, known) < weight)


def _answers(
    world: World, units: Ints, whose: Ints, weight: int, served: Bools, now: float
) -> tuple[list[Vector | None], list[bool]]:
    """How sure the student is of each answer, and whether it agrees; `whose` says to which of `units` each belongs."""
    scenario, rng, total = world.scenario, world.rng, len(whose)
    broken = scenario.breaks_at is not None and weight >= scenario.breaks_at
    agreement = scenario.broken_agreement if broken else scenario.agreement
    if not isinstance(agreement, float | int):
        drawn = rng.integers(len(agreement), size=total).tolist()
        vectors = [scenario.vectors[at] for at in drawn] if scenario.vectors else [None] * total
        return vectors, [bool(agreement[at]) for at in drawn]
    means = np.full(total, float(agreement) + scenario.swing * math.sin(2 * math.pi * now / DAY_S))
    if scenario.served_agreement is not None:
        means[served] = scenario.served_agreement
    means = _alike(np.clip(means, 0.0, 1.0), world, units, whose, now)
    sure, misses = rng.random(total), 1 - means
    power = np.minimum(scenario.separation, 1 / np.maximum(misses, 1e-12) - 1)
    agreed = rng.random(total) >= misses * (power + 1) * (1 - sure) ** power
    return [[one] for one in sure.tolist()], agreed.tolist()


def _alike(means: Floats, world: World, units: Ints, whose: Ints, now: float) -> Floats:
    """Each session's own mean, Beta distributed around the traffic's, so that requests within one correlate."""
    scenario, rng = world.scenario, world.rng
    if not scenario.alike or not len(whose):
        return means
    of_session = means[np.searchsorted(whose, np.arange(len(units)))]
    if scenario.blocks is not None:
        each = zip(units.tolist(), of_session.tolist(), strict=True)
        return np.array([world.mean(unit, now, mean) for unit, mean in each])[whose]
    spread = 1 / scenario.alike - 1
    drawn = rng.beta(np.maximum(of_session * spread, 1e-9), np.maximum((1 - of_session) * spread, 1e-9))
    return np.asarray(drawn[whose])


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
        median_wrong=float(np.median([outcome.wrong for outcome in outcomes])),
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
