"""Feeds the gate of correctness: questions to people are kept while they may be asked, and labels are learnt from in the order
of the draws, inside the caller's transaction.

Invariants: a label is in the log (`gateway.logs.labels`) before the gate learns from it, and the gate learns from it once. A
person is told neither whose an answer is nor how they compare. Which requests are asked about says the rollout's ledger alone.
"""

import logging
from dataclasses import dataclass
from typing import Any, Literal

from graduand.gateway.control import journal
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.logs.labels import LabelLog
from graduand.rollout.labelling import Draw, place
from graduand.rollout.spec.spec import Labels

SHOWN = 20_000
# Draws whose labels are learnt from at one look.
AT_ONCE = 200
# Statements about answers are kept so much longer than the deadline: clocks differ, and a controller may be away.
SLACK_S = 86400.0
# Two who label at once begin with different questions of the oldest few.
BESIDE = 5
NAMES = ("A", "B")

logger = logging.getLogger("graduand")

Json = dict[str, Any]
# Which of the answers that are shown are right; `skip`: cannot tell, which counts as wrong.
Verdict = Literal["A", "B", "both", "neither", "skip"]


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one draw. `correct` is None where nobody said anything."""

    correct: bool | None
    teacher_correct: bool | None
    source: str
    who: str
    at: float


@dataclass(frozen=True, slots=True)
class Question:
    """One request before a person: the answers in an order that a hash has chosen, each once."""

    record: str
    conversation: str
    answers: tuple[str, ...]
    student: int  # whose place nobody is told
    teacher: int | None

    def label(self, verdict: Verdict, who: str, at: float, source: str = "review") -> Label:
        """The label of somebody who says so."""
        if verdict == "skip":
            return Label(None, None, source, who, at)
        said = [verdict in (name, "both") for name in NAMES]
        return Label(said[self.student], None if self.teacher is None else said[self.teacher], source, who, at)


def labels_of(row: Row) -> Labels | None:
    """Where a rollout's gold labels come from; None without a gate of correctness."""
    return next((gate.labels for gate in row.state.spec.gates if gate.labels is not None), None)


def keep(store: Rollouts, row: Row, record: str, *, conversation: str, student: str, teacher: str) -> None:
    """Keep what a person would see of a request that may be asked about."""
    shown = {"conversation": conversation[-SHOWN:], "student": student[:SHOWN], "teacher": teacher[:SHOWN]}
    store.write_question(row, record, shown)


def forget(store: Rollouts, row: Row) -> None:
    """Drop what nobody will be asked about after all."""
    dropped = row.ledger.forget()
    if dropped and labels_of(row) is not None:
        store.write_forget_questions(row, dropped)


def wait(store: Rollouts, row: Row) -> list[Draw]:
    """The draws that wait for a person, oldest first."""
    labelling, source = row.ledger.labelling, labels_of(row)
    if labelling is None or source is None or source.within_s is not None or row.at_rest:
        return []
    asked = [draw for draw in labelling.asked if not draw.guess.wrong]
    done = store.labelled(row, [draw.guess.record for draw in asked])
    return [draw for draw, one in zip(asked, done, strict=True) if not one]


def next_for(store: Rollouts, row: Row, who: str) -> Question | None:
    """What to ask somebody next: of the oldest few, the one that a hash of the person and the request chooses."""
    oldest = sorted(wait(store, row)[:BESIDE], key=lambda draw: place(who, draw.guess.record))
    for draw in oldest:
        found = question(store, row, draw.guess.record)
        if found is not None:
            return found
    return None


def question(store: Rollouts, row: Row, record: str) -> Question | None:
    """The question about a request; None if there is none."""
    shown = store.question(row, record)
    if shown is None:
        return None
    student, teacher = shown["student"], shown["teacher"]
    if not teacher or student.strip() == teacher.strip():
        return Question(record, shown["conversation"], (student,), 0, 0 if teacher else None)
    first = place(row.state.salt, "order", record) < 0.5
    both = (student, teacher) if first else (teacher, student)
    return Question(record, shown["conversation"], both, 0 if first else 1, 1 if first else 0)


def population(row: Row) -> Json:
    """What the draws of a step are of: a file of labels says it, and is taken for no other."""
    return {"rollout": row.id, "basis": row.state.basis, "step": row.ledger.step}


def log_row(row: Row, draw: Draw, label: Label) -> Json:
    """A label as the log has it."""
    return {
        "id": draw.guess.record, "time": label.at, "route": row.state.spec.route, "rollout": row.id,
        "basis": row.state.basis, "step": row.ledger.step, "correct": label.correct,
        "teacher_correct": label.teacher_correct, "source": label.source, "who": label.who,
        "predicted": draw.guess.predicted, "mean": draw.mean, "probability": draw.probability, "size": draw.size,
        "share": draw.share,
    }  # fmt: skip


def give(store: Rollouts, log: LabelLog, row: Row, draw: Draw, label: Label, verdict: str = "") -> str:
    """Write a label to the log and to the store, with what a person said; its id."""
    number = log.add(log_row(row, draw, label))
    said = {"correct": label.correct, "verdict": verdict, "label_id": number}
    store.write_label(row, draw.guess.record, said)
    return number


def settle(store: Rollouts, row: Row, log: LabelLog, now: float) -> bool:
    """Learn from the labels of the oldest draws, as far as they are there; whether there were any."""
    labelling, source = row.ledger.labelling, labels_of(row)
    if labelling is None or source is None or row.at_rest:
        return False
    for learnt in range(AT_ONCE):
        if not labelling.asked:
            return learnt > 0
        draw = labelling.asked[0]
        said = store.label(row, draw.guess.record)
        if said is None:
            found = _found(store, row, source, draw, now)
            if found is None:
                return learnt > 0
            try:
                number = give(store, log, row, draw, found)
            except OSError as error:  # the others go on, and this draw waits until there is room
                logger.error("the label of %s cannot be logged, so %s waits: %s", draw.guess.record, row.id, error)
                return learnt > 0
            said = {"correct": found.correct, "label_id": number}
        journal.label(row, now, draw.guess.record, said["label_id"], correct=said["correct"])
        store.write_forget_questions(row, [draw.guess.record])
    return True


def _found(store: Rollouts, row: Row, source: Labels, draw: Draw, now: float) -> Label | None:
    """The label of a draw that no person has to look at; None if it is still to come."""
    guess = draw.guess
    if guess.wrong:
        return Label(False, None, "empty", "controller", now)
    if source.within_s is None:
        gone = store.question(row, guess.record) is None  # counts as wrong: whoever drops questions must not choose
        return Label(None, None, "review", "controller", now) if gone else None
    until = guess.at + source.within_s
    if now < until:
        return None
    said = [one for one in store.statements(guess.record) if one[0] <= until]
    return Label(good(source, said[-1]) if said else None, None, "outcome", "controller", now)


def good(source: Labels, said: tuple[float, float | None, str | None]) -> bool:
    """Whether a statement calls the answer right."""
    _, score, label = said
    if source.at_least is not None:
        return score is not None and score >= source.at_least
    return label in source.right


def status(store: Rollouts, row: Row) -> Json | None:
    """How far the labels of a rollout's step are; None without a gate of correctness."""
    source, course = labels_of(row), row.ledger.courses.get(row.ledger.step)
    if source is None:
        return None
    labelling = None if course is None else course.labelling
    shown: Json = {
        "source": "review" if source.within_s is None else "outcomes", "within_s": source.within_s,
        "asked_for": source.most, "drawn": 0, "waiting": len(wait(store, row)), "counted": 0, "right": 0, "skipped": 0,
        "estimate": None,
    }  # fmt: skip
    if labelling is None:
        return shown
    gate = labelling.gate
    counts = {"drawn": labelling.drawn, "counted": gate.n, "right": gate.right, "skipped": gate.skipped}
    return {**shown, **counts, "estimate": gate.estimate() if gate.n else None}
