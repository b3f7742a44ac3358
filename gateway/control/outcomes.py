"""What a rollout learns from one compared request, inside the caller's transaction: gates, samples, disagreements.

Invariant: an outcome is learnt from once, by whoever found it: the comparison itself, or a judge later on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graduand.gateway.control import comparing, journal, labels
from graduand.gateway.control.journal import How
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.rollout.answers.compare import Comparison
from graduand.rollout.hybrid import pairs
from graduand.rollout.hybrid.learning import classes_of
from graduand.rollout.ledger import Duel, Pair
from graduand.rollout.units import Path

SHOWN = 4000
SHOWN_VERDICT = 600
# How the reason begins why an answer that failed cannot be compared: of what is there, nobody is asked.
FAILED = "failed: "
NONE = Comparison(None)


@dataclass(frozen=True, slots=True)
class Drawn:
    """How a request came to be compared: on which path, of which unit, with which probability, at which version of the
    route; and who failed at the first attempt."""

    path: Path
    unit: int | None
    p: float
    route_version: int
    student_failed: bool = False
    teacher_failed: bool = False


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a pair may teach a confidence threshold: the features of the student's answer (None: only its promise is
    watched), whose it is, with which probability it was drawn, and the smallest one of its time."""

    unit: int
    vector: tuple[float, ...] | None
    p: float = 1.0
    floor: float = 1.0
    released: bool = False  # the audit of an answer that went out because the student was confident


@dataclass(frozen=True, slots=True)
class Answers:
    """One request and who said what to it; `incumbent` is None where none was asked."""

    record: str
    at: float
    prompt: str  # what the last user said
    teacher: str
    student: str
    drawn: Drawn
    incumbent: str | None = None
    parts: tuple[str, ...] = ()  # the slices of traffic that it belongs to
    lesson: Lesson | None = None
    checks: Mapping[str, bool] = field(default_factory=dict)  # whether the student's answer passes, by the check's name
    records: tuple[str, ...] = ()  # the ids of all that belong to it, the request's first
    conversation: str = ""  # all that was said before, where people may be asked about it


def answers_from_dict(data: Mapping[str, Any]) -> Answers:
    """The answers whose `dataclasses.asdict` this is."""
    lesson = None if data["lesson"] is None else lesson_from_dict(data["lesson"])
    parts, records = tuple(data["parts"]), tuple(data.get("records", ()))
    return Answers(**{**data, "parts": parts, "records": records, "lesson": lesson, "drawn": Drawn(**data["drawn"])})


def lesson_from_dict(data: Mapping[str, Any]) -> Lesson:
    """The lesson whose `dataclasses.asdict` this is."""
    return Lesson(**{**data, "vector": None if data["vector"] is None else tuple(data["vector"])})


def learn(
    store: Rollouts, row: Row, answers: Answers, found: Comparison, *, duel: Duel = "",
    score: float | None = None, verdicts: tuple[str, ...] = (), how: How = "compared",
) -> None:  # fmt: skip
    """Give an outcome to everything that learns from it; `how` it was found."""
    pair = pair_of(answers, found, duel, score, row.entry_version)
    if journal.pair(store, row, pair, how, answers.records or (answers.record,)):
        labels.keep(
            store, row, answers.record, conversation=answers.conversation or answers.prompt, student=answers.student,
            teacher=answers.teacher,
        )  # fmt: skip
    labels.forget(store, row)
    comparing.keep(store, row)
    if answers.lesson is not None:
        teach(store, row, answers.at, answers.lesson, found)
    if found.off_schema:
        row.count("student off schema")
    if found.agreed is None and score is None:
        row.count(f"unscored: {found.unscored.partition(':')[0]}")
    if found.agreed is False:
        store.write_disagreement(row, answers.at, answers.record, _shown(answers, found, verdicts))


def pair_of(
    answers: Answers, found: Comparison, duel: Duel, score: float | None, entry_version: int
) -> Pair:  # fmt: skip
    """What the gates see of an outcome; requests since the route's `entry_version` belong to the present step."""
    drawn = answers.drawn
    return Pair(
        answers.at, found.agreed, found.fields, score, answers.checks, duel, answers.parts,
        unparsed=bool(found.unparsed), path=drawn.path, unit=drawn.unit, p=drawn.p,
        of_step=drawn.route_version >= entry_version, student_failed=drawn.student_failed,
        teacher_failed=drawn.teacher_failed, record=answers.record,
        unanswered=not answers.student or found.unparsed.startswith(FAILED),
    )  # fmt: skip


def teach(store: Rollouts, row: Row, at: float, lesson: Lesson, found: Comparison) -> None:
    """Let a pair teach the confidence threshold, and an audit of a released answer watch its promise: the first of a unit
    in an hour, for those of one session are not independent."""
    if found.agreed is None:
        return
    if lesson.vector is not None:
        pair = pairs.Pair(
            lesson.unit, at, lesson.vector, found.agreed, found.student, found.teacher, lesson.p, lesson.floor
        )
        store.write_sample(row, pair)
    promise = row.learning.promise if lesson.released else None
    if promise is not None and store.write_seen(f"promise {row.id} {lesson.unit}", at):
        promise.update(found.agreed, classes_of(found.student, found.teacher))


def duel(student: float | None, incumbent: float | None) -> Duel:
    """Which of the two students did better, by whether each agrees or by a judge's scores."""
    if student is None or incumbent is None:
        return ""
    return "equal" if student == incumbent else "won" if student > incumbent else "lost"


def _shown(answers: Answers, found: Comparison, verdicts: tuple[str, ...]) -> dict[str, Any]:
    fields = [name for name, same in found.fields.items() if not same]
    why = "both orders: the teacher's answer is better" if verdicts else ""
    shown: dict[str, Any] = {
        "prompt": answers.prompt[:SHOWN], "teacher": answers.teacher[:SHOWN], "student": answers.student[:SHOWN],
        "slices": list(answers.parts),
        "why": found.unparsed or (f"differs in {', '.join(fields[:10])}" if fields else why),
    }  # fmt: skip
    if answers.incumbent is not None:
        shown["incumbent"] = answers.incumbent[:SHOWN]
    if verdicts:
        shown["verdicts"] = [text[-SHOWN_VERDICT:] for text in verdicts]  # the verdict itself stands at the end
    return shown
