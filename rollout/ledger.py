"""The live evidence of one rollout: gates fed with what happened, read as one snapshot.

Invariants: a gate is fed in the order in which the caller gives things, and each thing once (the store drops repeated
request ids before they come here). Copies and served answers never share an E. What certifies a step is what that step
brought on its own path, taken unit by unit (`units`) and cycle by cycle (`cycles`); a step that is entered again goes on
with it. Harm gates see all of the rollout's evidence, and at once. Everything starts anew with the state's `basis`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from graduand.rollout import wording
from graduand.rollout.assignment import BUCKETS, CONTROL_START, Arm
from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.gates import GateError
from graduand.rollout.gates.constant_bets import ConstantBets
from graduand.rollout.gates.correctness import Correctness
from graduand.rollout.gates.cycles import SECONDS, Cycle, Proof, proof_from_dict
from graduand.rollout.gates.drawing import Guess
from graduand.rollout.gates.drop import Drop
from graduand.rollout.gates.matching import Matcher
from graduand.rollout.gates.one_sided import OneSided
from graduand.rollout.gates.path_test import PathTest
from graduand.rollout.gates.srm import SampleRatio
from graduand.rollout.gates.state import AnyGate, dump, load
from graduand.rollout.gates.watch import Watch
from graduand.rollout.labelling import Labelling, kind_of, labelling_from_dict, place
from graduand.rollout.spec.spec import CORRECTNESS, Claim, GateSpec, Spec
from graduand.rollout.state import PASSING, Phase, State, serving
from graduand.rollout.units import GAP_S, Candidate, Path, Sitting, Sittings, sittings_from_dict

ARMS: tuple[Arm, ...] = ("treatment", "control", "rest")
VERSION = 2
# Where there is no rhythm, open sittings are cut and looked at after a step's dwell (this long at least), and then each time
# that twice as long has passed: whoever uses the service all day is seen, and few sittings are cut.
LEAST_CUT_S = 1.0
# Slow answers come in episodes: a window is longer than one, and its share is one observation.
WINDOW_S = 600.0

Duel = Literal["won", "lost", "equal", ""]
# Whether something happens to a unit for the first time on this basis. The caller keeps the answer.
Once = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request that student and teacher were both asked. `agreed` is None where there should be an outcome and is none:
    it counts against a promotion, and against harm."""

    at: float
    agreed: bool | None = None
    fields: Mapping[str, bool] = field(default_factory=dict)
    score: float | None = None
    checks: Mapping[str, bool] = field(default_factory=dict)  # what the route's checks said of the student's answer
    duel: Duel = ""  # against the student in service: empty where there should be an outcome and is none
    slices: tuple[str, ...] = ()  # names of the slices of traffic that the request belongs to
    unparsed: bool = False  # the student's answer could not be read; `agreed` is False then
    path: Path = "copies"
    unit: int | None = None  # stable over rollouts; None: the request names none
    p: float = 1.0  # with which the unit's day was drawn
    of_step: bool = True  # asked since this step was entered
    student_failed: bool = False  # at its first attempt
    teacher_failed: bool = False
    record: str = ""  # the request's id in the log
    unanswered: bool = False  # the student said nothing that a person could look at


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that was served."""

    at: float
    by_student: bool
    times_s: Mapping[str, float] = field(default_factory=dict)  # first_token, total, per_token
    drawn: Path | None = None  # the other one is asked as well, so a pair of this path should come


@dataclass(frozen=True, slots=True)
class Awaited:
    """A request of which users may say something until its deadline: the first session's of its unit in this entry of the step
    (`of_entry`), on this basis of the evidence (`of_basis`), or both."""

    record: str
    at: float
    treated: bool
    entry: int
    of_entry: bool
    of_basis: bool


@dataclass(slots=True)
class Tracked:
    """A harm gate, the signal and path that feed it, what is asked of it, when it could last have learnt anything."""

    signal: str
    path: Path | None
    log_threshold: float
    gate: AnyGate
    last_at: float | None = None

    def reading(self) -> Reading:
        """What a decision sees."""
        gate = self.gate
        apart = gate.apart(self.log_threshold) if isinstance(gate, OneSided) else ""
        told = "; ".join(filter(None, (wording.seen(gate), wording.unharmed(gate, self.log_threshold))))
        return Reading(gate.log_e, gate.n, self.last_at, told, apart=apart)


@dataclass(slots=True)
class Seen:
    """What a step's path has brought: for the words of a claim."""

    requests: int = 0
    missing: int = 0  # without an outcome
    agreed: int = 0
    sittings: int = 0
    units: int = 0
    unknown: int = 0  # requests that name no unit
    first_at: float | None = None
    last_at: float | None = None

    def add(self, other: "Seen") -> None:
        """Take over what another has."""
        for name in ("requests", "missing", "agreed", "sittings", "units", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first_at = other.first_at if self.first_at is None else self.first_at
        self.last_at = self.last_at if other.last_at is None else other.last_at


@dataclass(slots=True)
class Course:
    """What certifies one step: for each gate of the promotion, that its mean is above the bound and that it is below."""

    proofs: dict[str, Proof]
    futile: dict[str, Proof]
    seen: Seen = field(default_factory=Seen)
    waiting: Seen = field(default_factory=Seen)  # of the cycle that runs
    whole: int = 0  # cycles without a hold
    labelling: Labelling | None = None  # where correctness is asked about

    def every(self) -> Iterable[Proof]:
        """All proofs of both kinds."""
        yield from self.proofs.values()
        yield from self.futile.values()


@dataclass(slots=True)
class Ledger:
    """All gates of one basis; `start` makes one, `follow` keeps it in step with the rollout's state."""

    attempt: int
    basis: int
    entry: int
    phase: Phase
    weight_bp: int
    cycle: Cycle
    claim: Claim
    signals: dict[str, str]  # what feeds each gate of the promotion, by its name
    bounds: dict[str, float]
    harm: dict[str, Tracked]
    watch: Tracked
    step: str = ""
    courses: dict[str, Course] = field(default_factory=dict)  # by step; those without a proof have none
    sittings: Sittings = field(default_factory=Sittings)
    windows: dict[str, list[float]] = field(default_factory=dict)  # of latency: when it began, within, answered
    drawn: dict[Path, float] = field(default_factory=dict)  # when a pair was last to be expected, by path
    asked: dict[Path, int] = field(default_factory=dict)  # requests of this step, compared or not
    entered_at: float = 0.0
    path: PathTest = field(default_factory=PathTest)
    srm: SampleRatio | None = None
    cycle_began: float = 0.0
    cut_s: float = GAP_S
    held: bool = False
    step_n: int = 0
    step_last_at: float | None = None
    pairs: int = 0
    unparsed: int = 0
    key: str = ""  # the rollout's name: who is asked about is drawn by a hash of it and the records' ids
    dropped: list[str] = field(default_factory=list)  # records that nobody will be asked about; never stored
    within_s: dict[str, float] = field(default_factory=dict)  # until when an outcome may come, by signal
    awaited: list[Awaited] = field(default_factory=list)  # of sittings that have ended; never stored
    keeps: dict[str, float] = field(default_factory=dict)  # the share of the control's outcomes that each gate asks for
    matchers: dict[str, Matcher] = field(default_factory=dict)  # of outcomes, by gate
    responses: PathTest = field(default_factory=PathTest)  # whether users of both arms say something equally often

    def follow(self, state: State) -> "Ledger":
        """The ledger for `state`: this one, or a fresh one where the evidence starts anew."""
        if state.basis != self.basis:
            return start(state)
        self.attempt = state.attempt
        self.phase, self.weight_bp = state.held or state.phase, serving(state).weight_bp
        if state.entry != self.entry:
            self._enter(state)
        # A hold that ends by itself, when traffic or the lease comes back, loses nothing.
        held = state.phase is Phase.HOLD and state.hold not in PASSING
        if held != self.held and SECONDS[self.cycle]:
            self._spoil()
            self.cycle_began = state.updated_at
        self.held = held
        return self

    @property
    def listened(self) -> list[str]:
        """The signals that gates and harm gates listen to."""
        return sorted({*self.signals.values(), *(one.signal for one in self.harm.values())})

    @property
    def course(self) -> Course | None:
        """What certifies the present step; None where nothing has to."""
        return self.courses.get(self.step) if self.phase in PATHS else None

    @property
    def labelling(self) -> Labelling | None:
        """What people are asked about in the present step; None where nothing has to be labelled."""
        return None if self.course is None else self.course.labelling

    def forget(self) -> list[str]:
        """The records that nobody will be asked about after all, told once."""
        dropped, self.dropped, self.sittings.dropped = [*self.dropped, *self.sittings.dropped], [], []
        return dropped

    def await_outcomes(self) -> list[Awaited]:
        """The requests whose outcome is to be waited for, told once."""
        awaited, self.awaited = self.awaited, []
        return awaited

    def outcome(self, awaited: Awaited, said: Mapping[str, float | None]) -> None:
        """The deadlines of a request are over: by signal its outcome, None if nobody said anything, which is the worst."""
        for name, tracked in self.harm.items():
            if awaited.of_basis and tracked.signal in said and isinstance(tracked.gate, ConstantBets):
                for x in self._matched(f"harm {name}", awaited, said[tracked.signal]):
                    tracked.gate.update(x)
        course, whole = self.course, bool(SECONDS[self.cycle])
        if course is None or not awaited.of_entry or awaited.entry != self.entry or (self.held and whole):
            return
        answered = any(one is not None for one in said.values())
        self.responses.update(awaited.at, float(answered), served=awaited.treated)
        for name, signal in self.signals.items():
            # What is learnt in this cycle was asked that much earlier: before the step began, there was nothing to ask.
            if signal not in said or (whole and self.cycle_began - self.within_s[signal] < self.entered_at):
                continue
            for x in self._matched(name, awaited, said[signal]):
                course.proofs[name].update(x, whole=whole)
                course.futile[name].update(x, whole=whole)

    def label(self, correct: bool | None) -> None:
        """The label of the oldest draw; None: nobody labelled it, which counts as wrong."""
        if self.labelling is not None:
            self.labelling.learn(correct)

    def pair(self, pair: Pair, once: Once) -> bool:
        """Learn from one request that both were asked; whether a person may be asked about it."""
        self.tick(pair.at, once)
        self.pairs += 1
        self.unparsed += pair.unparsed
        found = outcomes(pair, {*self.signals.values(), *(one.signal for one in self._tracked())})
        for tracked in self.harm.values():
            fed = tracked.signal in found or tracked.signal == "errors" or tracked.signal in self.within_s
            if tracked.path == pair.path and fed:
                tracked.last_at = pair.at
        self._failed(pair, once)
        self._asked(pair, found)
        candidate = self._candidate(pair)
        began, ended = self.sittings.add(
            pair.unit, pair.path, pair.at, found, p=pair.p, of_step=pair.of_step, candidate=candidate
        )
        if began:
            self._began(pair, found)
        for sitting in ended:
            self._ended(sitting, once)
        if self.phase is Phase.SHADOW:
            self._count(pair.at)
        return candidate is not None and self._labels(pair)

    def answered(self, answered: Answered) -> None:
        """Learn from one served request."""
        path: Path = "served" if answered.by_student else "copies"
        self.asked[path] = self.asked.get(path, 0) + 1
        if answered.drawn is not None:
            self.drawn[answered.drawn] = answered.at
        if not answered.by_student or self.phase is Phase.SHADOW:
            return
        self._count(answered.at)
        for signal in self.listened:
            if signal.startswith("latency:"):
                _, measure, slo_s = signal.split(":")
                if measure in answered.times_s:
                    self._timed(signal, answered.at, met=answered.times_s[measure] <= float(slo_s))

    def unit(self, arm: Arm) -> None:
        """Count a unit at its first appearance in this step."""
        if self.srm is not None:
            self.srm.update(ARMS.index(arm))

    def tick(self, now: float, once: Once) -> bool:
        """Time has passed: sittings that were silent end, and cycles that are whole are closed; whether there were any."""
        over = self.sittings.over(now)
        for sitting in over:
            self._ended(sitting, once)
        began = self.cycle_began
        span, course = SECONDS[self.cycle], self.course
        while span and course is not None and not self.held and now >= self.cycle_began + span:
            for sitting in self.sittings.cut():
                self._ended(sitting, once)
            for proof in course.every():
                proof.close(self.cycle_began, self.cycle_began + span)
            if course.labelling is not None:
                self.dropped += course.labelling.close(self.key)
            course.seen.add(course.waiting)
            course.waiting, course.whole = Seen(), course.whole + 1
            self.cycle_began += span
        cut = not span and course is not None and now >= self.cycle_began + self.cut_s
        if cut:
            for sitting in self.sittings.cut():
                self._ended(sitting, once)
            self.cut_s = 2 * (now - self.cycle_began)
        return bool(over) or cut or self.cycle_began != began

    def snapshot(self, **facts: Any) -> Evidence:
        """The evidence now; `facts` are what only the shell knows (precheck, trips, lease_held, ...)."""
        course = self.courses.get(self.step)  # after the last step too: what promoted it stays to be seen
        futile = {} if course is None else course.futile
        return Evidence(
            attempt=self.attempt,
            entry=self.entry,
            gates={} if course is None else self._gates(course),
            futile={name: self._proved(name, proof) for name, proof in futile.items()},
            harm={name: self._heard(tracked.path, self._harm(name, tracked)) for name, tracked in self.harm.items()},
            watch=self.watch.reading(),
            srm=None if self.srm is None else Reading(self.srm.log_e, self.srm.n, self.step_last_at),
            path=Reading(self.path.log_e, self.path.n, self.step_last_at, wording.seen(self.path)),
            cycles=0 if course is None else course.whole,
            differ=""
            if course is None
            else wording.differing({name: one.cycles for name, one in course.proofs.items()}),
            step_n=self.step_n,
            step_last_at=self.step_last_at,
            **facts,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, bit-identical through JSON."""
        return {
            **{name: getattr(self, name) for name in PLAIN},
            "version": VERSION,
            "key": self.key,
            **(
                {"within_s": self.within_s, "keeps": self.keeps, "responses": dump(self.responses)}
                if self.within_s
                else {}
            ),
            **({"matchers": {name: asdict(one) for name, one in self.matchers.items()}} if self.matchers else {}),
            "phase": self.phase.value,
            "harm": {name: _dump(tracked) for name, tracked in self.harm.items()},
            "watch": _dump(self.watch),
            "courses": {name: _dump_course(course) for name, course in self.courses.items()},
            "sittings": self.sittings.to_dict(),
            "path": dump(self.path),
            "srm": None if self.srm is None else dump(self.srm),
        }

    def _gates(self, course: Course) -> dict[str, Reading]:
        """What certifies a step: its proofs, and what people's labels say."""
        path = PATHS.get(self.phase)
        found = {name: self._heard(path, self._proved(name, proof)) for name, proof in course.proofs.items()}
        return found if course.labelling is None else {**found, CORRECTNESS: self._labelled(course.labelling)}

    def _proved(self, name: str, proof: Proof) -> Reading:
        course = self.courses[self.step]
        means = tuple(one.mean for one in proof.cycles if one.n)
        if self.signals[name] not in self.within_s:
            told = wording.scope(course.seen, self.claim, self.cycle, proof.gate.independent)
            return Reading(proof.log_e, proof.n, proof.last_at, wording.proof(proof, told), means)
        apart = wording.responses(self.responses) if self.responses.log_e >= RESPONSES else ""
        note = wording.difference(proof.so_far, self.keeps[name], self.responses)
        return Reading(proof.log_e, proof.n, proof.last_at, note, means, apart=apart)

    def _harm(self, name: str, tracked: Tracked) -> Reading:
        read, keep = tracked.reading(), self.keeps.get(f"harm {name}")
        if keep is None or not isinstance(tracked.gate, ConstantBets):
            return read
        return replace(read, note=wording.difference(tracked.gate, keep))

    def _labelled(self, labelling: Labelling) -> Reading:
        """What labels have proved; that people take their time is no silence."""
        read = Reading(
            labelling.log_e, labelling.gate.n, labelling.last_at, wording.labels(labelling), spent=labelling.spent
        )
        if labelling.full and self.step_last_at is not None:
            return replace(read, last_at=max(labelling.last_at or 0.0, self.step_last_at))
        return self._heard(PATHS.get(self.phase), read)

    def _heard(self, path: Path | None, reading: Reading) -> Reading:
        """The reading, as fresh as the traffic where no pair was to be expected since: few users are seldom drawn."""
        drawn = None if path is None else self.drawn.get(path)
        last = reading.last_at
        if self.step_last_at is None or (drawn is not None and (last is None or last < drawn)):
            return reading
        return replace(reading, last_at=self.step_last_at if last is None else max(last, self.step_last_at))

    def _enter(self, state: State) -> None:
        """Into a step, or into the same one again: then it goes on with what certifies it."""
        step = state.current
        self._cut()
        self.entry, self.step = state.entry, "" if step is None else step.name
        self.step_n, self.step_last_at = 0, None
        self.asked, self.entered_at = {}, state.entered_at
        self.srm = _sample_ratio(self.weight_bp) if self.phase is Phase.CANARY else None
        self.path, self.responses, self.cycle_began = PathTest(), PathTest(), state.entered_at
        self.matchers = {name: one for name, one in self.matchers.items() if name.startswith("harm ")}
        self.cut_s = GAP_S if step is None else min(GAP_S, max(LEAST_CUT_S, step.dwell_s))
        for tracked in self.harm.values():
            if isinstance(tracked.gate, OneSided):  # what held the step would hold it again at once
                tracked.gate.requests = ConstantBets(tracked.gate.requests.p0)
        if step is None or not step.proof or self.phase not in PATHS:
            return
        again = self.courses.get(self.step)
        if again is None:
            asked = labelled(state)
            self.courses[self.step] = Course(self._proofs(harm=False), self._proofs(harm=True), labelling=asked)
            return
        if again.labelling is not None:
            self.dropped += again.labelling.again()
        again.futile, again.waiting = self._proofs(harm=True), Seen()
        for proof in again.proofs.values():
            proof.spoil()
            proof.cycles.clear()

    def _proofs(self, *, harm: bool) -> dict[str, Proof]:
        return {name: Proof(ConstantBets(bound, harm)) for name, bound in self.bounds.items()}

    def _spoil(self) -> None:
        """The cycle that runs has a hold in it: it does not count, nor does what is open."""
        self._cut()
        course = self.course
        if course is not None:
            course.waiting = Seen()
            for proof in course.every():
                proof.spoil()
            if course.labelling is not None:
                self.dropped += course.labelling.spoil()

    def _cut(self) -> None:
        """End what is open, for the harm gates only."""
        for sitting in self.sittings.cut():
            self._harmed(sitting)
            self._drop(sitting)

    def _drop(self, sitting: Sitting) -> None:
        if sitting.candidate is not None:
            self.dropped.append(sitting.candidate.record)

    @property
    def _compared(self) -> bool:
        """Whether users of both arms are served at once, and what they say is asked about: in canary steps, beside a holdout."""
        both = self.phase is Phase.CANARY or (self.phase is Phase.PROMOTED and 0 < self.weight_bp < BUCKETS)
        return bool(self.within_s) and both

    def _labels(self, pair: Pair) -> bool:
        """Whether a person may be asked about the request."""
        labelling = self.labelling
        return labelling is not None and not labelling.full and self._counts(pair.path, of_step=pair.of_step)

    def _candidate(self, pair: Pair) -> Candidate | None:
        """The request as one that may stand for its sitting, before a person or by what its user says."""
        if not (self._compared and pair.of_step) and not self._labels(pair):
            return None
        kind = kind_of(pair.agreed, pair.score)
        return Candidate(pair.record, pair.at, kind, pair.unanswered, place(self.key, pair.record))

    def _tracked(self) -> Iterable[Tracked]:
        yield from self.harm.values()
        yield self.watch

    def _failed(self, pair: Pair, once: Once) -> None:
        """Whether one of the two failed alone, and the unit for the first time."""
        alone = pair.student_failed != pair.teacher_failed
        first = alone and (pair.unit is None or once(f"failed {pair.path}", pair.unit))
        for tracked in self.harm.values():
            if isinstance(tracked.gate, OneSided) and tracked.path == pair.path:
                tracked.gate.update(
                    pair.unit or 0, student=pair.student_failed, teacher=pair.teacher_failed, first=first
                )

    def _asked(self, pair: Pair, found: Mapping[str, float | None]) -> None:
        """What this step's path brings, for the words of its claim."""
        course = self.course
        if course is None or not self._counts(pair.path, of_step=pair.of_step):
            return
        for name, signal in self.signals.items():
            if signal in found or signal in self.within_s:
                course.proofs[name].last_at = pair.at
        seen = self._seen(course)
        seen.requests += 1
        seen.missing += pair.agreed is None and pair.score is None
        seen.agreed += pair.agreed is True
        seen.unknown += pair.unit is None
        seen.first_at, seen.last_at = pair.at if seen.first_at is None else seen.first_at, pair.at

    def _began(self, pair: Pair, found: Mapping[str, float | None]) -> None:
        """The first request of a sitting: what looks for a drop learns from it at once."""
        for tracked in self._tracked() if self.phase is Phase.PROMOTED else self.harm.values():
            if tracked.path != pair.path or tracked.signal not in found:
                continue
            match tracked.gate:
                case Drop() | Watch() as gate:
                    value = found[tracked.signal]
                    gate.update(1.0 if value is None else value)
                    tracked.last_at = pair.at
                case _:
                    pass

    def _ended(self, sitting: Sitting, once: Once) -> None:
        """A sitting has ended: it is one observation."""
        self._harmed(sitting)
        self._await(sitting, once)
        tally = sitting.tallies.get(self.watch.signal)
        compared = tally is not None and self.phase is Phase.CANARY and sitting.of_step
        if tally is not None and compared and (sitting.unit is None or once(f"path {self.entry}", sitting.unit)):
            self.path.update(sitting.last, tally.most, served=sitting.path == "served")
        course = self.course
        if course is not None and self._counts(sitting.path, of_step=sitting.of_step):
            self._certify(course, sitting, once)
        else:
            self._drop(sitting)

    def _await(self, sitting: Sitting, once: Once) -> None:
        """What users say of a sitting is known when its deadline is over; of each unit its first one counts."""
        one, unit = sitting.candidate, sitting.unit
        if one is None or not self._compared or not sitting.of_step:
            return
        of_entry = unit is None or once(f"outcome {self.entry}", unit)
        of_basis = unit is None or once("outcome", unit)
        if of_entry or of_basis:
            treated = sitting.path == "served"
            self.awaited.append(Awaited(one.record, one.at, treated, self.entry, of_entry, of_basis))

    def _matched(self, name: str, awaited: Awaited, value: float | None) -> list[float]:
        """What the gate bets on: 1/2 on average where the student is just as good as it must be."""
        pairs = self.matchers.setdefault(name, Matcher()).add(awaited.at, value or 0.0, treated=awaited.treated)
        return [(1 + ours - self.keeps[name] * theirs) / 2 for ours, theirs in pairs]

    def _harmed(self, sitting: Sitting) -> None:
        for tracked in self.harm.values():
            tally = sitting.tallies.get(tracked.signal)
            if tracked.path == sitting.path and tally is not None and isinstance(tracked.gate, ConstantBets):
                tracked.gate.update(tally.most)

    def _certify(self, course: Course, sitting: Sitting, once: Once) -> None:
        seen = self._seen(course)
        new = sitting.unit is None or once(f"unit {self.step}", sitting.unit)
        seen.sittings += 1
        seen.units += new
        if self.claim == "users" and not new:
            self._drop(sitting)
            return
        one = sitting.candidate
        if one is not None and course.labelling is not None:
            guess = Guess(one.record, 0.0, one.at, one.kind, one.wrong, sitting.p)
            self.dropped += course.labelling.take(guess, self.key)
        whole = bool(SECONDS[self.cycle])
        for name, signal in self.signals.items():
            tally = sitting.tallies.get(signal)
            if tally is not None:
                course.proofs[name].update(tally.least, sitting.p, whole=whole)
                course.futile[name].update(tally.most, sitting.p, whole=whole)

    def _counts(self, path: Path, *, of_step: bool) -> bool:
        """Whether what was asked may certify the present step."""
        return of_step and PATHS.get(self.phase) == path and not (self.held and SECONDS[self.cycle])

    def _seen(self, course: Course) -> Seen:
        return course.waiting if SECONDS[self.cycle] else course.seen

    def _timed(self, signal: str, at: float, *, met: bool) -> None:
        window = self.windows.get(signal)
        if window is not None and at - window[0] >= WINDOW_S:
            self._share(signal, window[1] / window[2])
            window = None
        if window is None:
            window = self.windows[signal] = [at, 0.0, 0.0]
        window[1], window[2] = window[1] + met, window[2] + 1
        for tracked in self.harm.values():
            if tracked.signal == signal:
                tracked.last_at = at
        for name, one in self.signals.items():
            if one == signal and self.course is not None:
                self.course.proofs[name].last_at = at

    def _share(self, signal: str, share: float) -> None:
        """A window has ended: the share of its answers that were in time is one observation."""
        for tracked in self.harm.values():
            if tracked.signal == signal and isinstance(tracked.gate, ConstantBets):
                tracked.gate.update(share)
        course, whole = self.course, bool(SECONDS[self.cycle])
        for name, one in self.signals.items():
            if one == signal and course is not None and not (self.held and whole):
                course.proofs[name].update(share, whole=whole)
                course.futile[name].update(share, whole=whole)

    def _count(self, at: float) -> None:
        self.step_n, self.step_last_at = self.step_n + 1, at


PLAIN = (
    "attempt", "basis", "entry", "weight_bp", "cycle", "claim", "signals", "bounds", "step", "windows", "drawn", "asked",
    "entered_at", "cycle_began", "cut_s", "held", "step_n", "step_last_at", "pairs", "unparsed",
)  # fmt: skip
# Which path a step's proof looks at.
PATHS: dict[Phase, Path] = {
    Phase.SHADOW: "copies", Phase.CANARY: "served", Phase.HYBRID: "served", Phase.FULL: "served",
}  # fmt: skip


# Users of both arms say something equally often, or what is missing is not alike: a false alarm in a thousand steps.
RESPONSES = math.log(1000)


def outcomes(pair: Pair, signals: Iterable[str]) -> dict[str, float | None]:
    """What a pair says to each of these signals; None where an outcome is missing, nothing where it is none of theirs."""
    found: dict[str, float | None] = {}
    for signal in signals:
        name, _, part = signal.partition("@")
        if part and part not in pair.slices:
            continue
        if name == "agreement":
            found[signal] = None if pair.agreed is None else float(pair.agreed)
        elif name == "score":
            found[signal] = pair.score
        elif name == "incumbent":
            if pair.duel != "equal":  # where both are right or both wrong nothing is learnt
                found[signal] = {"won": 1.0, "lost": 0.0}.get(pair.duel)
        elif name.startswith("check:"):
            passed = pair.checks.get(name.removeprefix("check:"))
            found[signal] = None if passed is None else float(passed)
        elif name.startswith("agreement:"):
            same = pair.fields.get(name.removeprefix("agreement:"))
            if same is not None or pair.agreed is None:
                found[signal] = None if same is None else float(same)
    return found


def start(state: State) -> Ledger:
    """A ledger that knows nothing yet."""
    spec = state.spec
    gates = [gate for gate in spec.gates if gate.labels is None]
    bounds = {gate.name: float(gate.start["p0"]) for gate in gates}
    ledger = Ledger(
        state.attempt, state.basis, -1, state.phase, 0, spec.cycle, spec.claim,
        {gate.name: gate.signal for gate in gates}, bounds,
        {gate.name: _tracked(gate) for gate in spec.harm}, _tracked(spec.watch), key=state.id,
        within_s={signal: one.within_s for signal, one in spec.outcomes.items()}, keeps=_keeps(spec),
    )  # fmt: skip
    return ledger.follow(state)


def _keeps(spec: Spec) -> dict[str, float]:
    found = {gate.name: gate.outcome for gate in spec.gates} | {f"harm {gate.name}": gate.outcome for gate in spec.harm}
    return {name: 1 - outcome.margin for name, outcome in found.items() if outcome is not None}


def labelled(state: State) -> Labelling | None:
    """What people are asked about in the step that `state` is in; None without a gate of correctness there."""
    gate = next((one for one in state.spec.gates if one.labels is not None), None)
    if gate is None or gate.labels is None or state.current is None or state.current.kind not in gate.needed_in:
        return None
    built = gate.build()
    if not isinstance(built, Correctness):
        raise GateError(f"gate {gate.name} asks for labels and is none of correctness")
    return Labelling(built, gate.labels.most, whole=bool(SECONDS[state.spec.cycle]))


def ledger_from_dict(data: Mapping[str, Any]) -> Ledger:
    """The ledger that `Ledger.to_dict` described."""
    srm = None if data["srm"] is None else load(data["srm"])
    path, responses = load(data["path"]), load(data.get("responses", dump(PathTest())))
    if not (isinstance(srm, SampleRatio | None) and isinstance(path, PathTest) and isinstance(responses, PathTest)):
        raise GateError("the stored ledger holds other gates than this version writes")
    return Ledger(
        phase=Phase(data["phase"]),
        harm={name: _load(tracked) for name, tracked in data["harm"].items()},
        watch=_load(data["watch"]),
        courses={name: _load_course(course) for name, course in data["courses"].items()},
        sittings=sittings_from_dict(data["sittings"]),
        path=path,
        srm=srm,
        key=data.get("key", ""),
        within_s=data.get("within_s", {}),
        keeps=data.get("keeps", {}),
        matchers={name: Matcher(**one) for name, one in data.get("matchers", {}).items()},
        responses=responses,
        **{name: data[name] for name in PLAIN},
    )


def _tracked(spec: GateSpec) -> Tracked:
    return Tracked(spec.signal, spec.path, spec.log_threshold, spec.build())


def _dump(tracked: Tracked) -> dict[str, Any]:
    return {
        "signal": tracked.signal, "path": tracked.path, "log_threshold": tracked.log_threshold,
        "gate": dump(tracked.gate), "last_at": tracked.last_at,
    }  # fmt: skip


def _load(data: Mapping[str, Any]) -> Tracked:
    return Tracked(data["signal"], data["path"], data["log_threshold"], load(data["gate"]), data["last_at"])


def _dump_course(course: Course) -> dict[str, Any]:
    return {
        "proofs": {name: proof.to_dict() for name, proof in course.proofs.items()},
        "futile": {name: proof.to_dict() for name, proof in course.futile.items()},
        "seen": asdict(course.seen), "waiting": asdict(course.waiting), "whole": course.whole,
        **({} if course.labelling is None else {"labelling": course.labelling.to_dict()}),
    }  # fmt: skip


def _load_course(data: Mapping[str, Any]) -> Course:
    proofs, futile = (
        {name: proof_from_dict(proof) for name, proof in data[side].items()} for side in ("proofs", "futile")
    )
    asked = labelling_from_dict(data["labelling"]) if "labelling" in data else None
    return Course(proofs, futile, Seen(**data["seen"]), Seen(**data["waiting"]), data["whole"], asked)


def _sample_ratio(weight_bp: int) -> SampleRatio | None:
    """The shares that `assignment.arm` gives each arm at this weight."""
    if not 0 < weight_bp < BUCKETS:
        return None
    control = min(weight_bp, BUCKETS - max(weight_bp, CONTROL_START))
    rest = BUCKETS - weight_bp - control
    return SampleRatio([weight_bp / BUCKETS, control / BUCKETS, rest / BUCKETS])
