"""What the records of one request say of it: by whom it was answered, on which path, and whether student and teacher agree.

Pure, and the one place for it: a rollout learns by these functions, and whoever verifies its certificate reads the same
records by them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from graduand.gateway.control.labels import labels_of
from graduand.gateway.control.outcomes import FAILED, Answers, Drawn
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routing import STUDENT
from graduand.rollout import assignment, units
from graduand.rollout.answers.compare import Comparison, compare
from graduand.rollout.answers.tasks import Task
from graduand.rollout.assignment import Arm
from graduand.rollout.spec import slices


@dataclass(frozen=True, slots=True)
class Paired:
    """The answers to one request and what follows from them; `known`: whether the incumbent's answer agrees."""

    answers: Answers
    found: Comparison
    known: Comparison | None = None

    @property
    def incumbent_agreed(self) -> bool | None:
        """None where there is no incumbent, or nothing known of its answer."""
        return None if self.known is None else self.known.agreed

    def to_judge(self, task: Task) -> bool:
        """Whether only a judge can tell."""
        return task.kind == "text" and not self.found.unscored.startswith("teacher")


@dataclass(frozen=True, slots=True)
class Sides:
    """Who said what: the records of one request, by whose answer each holds."""

    teacher: Record
    student: Record
    incumbent: Record | None


def by_student(row: Row, record: Record) -> bool:
    """Whether the student of this rollout was to answer; the records of an incumbent are of the same arm."""
    if not reader.by_student(record):
        return False
    return row.incumbent is None or _placed(row, record) == "treatment"


def arm(row: Row, record: Record) -> Arm:
    """The arm of the unit that asked."""
    if row.incumbent is not None:
        return _placed(row, record)
    if reader.by_student(record):
        return "treatment"
    return "control" if record["reason"] == "control" else "rest"


def path(row: Row, record: Record) -> units.Path:
    """The path that a served request is on."""
    return "served" if by_student(row, record) else "copies"


def sides(row: Row, served: Record, copies: Mapping[str, Record]) -> Sides | str:
    """Who said what, by the records of one request; or why they cannot be compared."""
    students = [one for one in (served, copies.get("shadow")) if one is not None and one["arm"] == STUDENT]
    teacher = copies.get("audit") if served["arm"] == STUDENT else served
    student = next((one for one in students if one["adapter"] == row.state.spec.student), None)
    incumbent = next((one for one in students if row.incumbent and one["adapter"] == row.incumbent["adapter"]), None)
    if teacher is None or not students:
        return "copies whose request is gone from the log"
    if student is None:
        return "pairs of another adapter"
    if reader.nobodys(student) or reader.nobodys(teacher):
        return f"copies not comparable: {student['error'] or teacher['error']}"
    return Sides(teacher, student, incumbent)


def paired(row: Row, task: Task, served: Record, said: Sides) -> Paired:
    """Compare the answers; one that was never to be had is a missing outcome."""
    teacher, student, incumbent = said.teacher, said.student, said.incumbent
    other = teacher if incumbent is None else incumbent
    failed = {"student_failed": reader.failed_first(student), "teacher_failed": reader.failed_first(other)}
    ids = tuple(dict.fromkeys(one["id"] for one in (served, teacher, student, incumbent) if one is not None))
    if teacher["error"] or student["error"] in reader.NOT_ASKED:
        words = "" if student["error"] else reader.answer(student)
        return missing(row, served, str(teacher["error"] or student["error"]), records=ids, student=words, **failed)
    answer = reader.answer(teacher)
    found, known = compared(task, answer, student), None
    if incumbent is not None and incumbent["error"] not in reader.NOT_ASKED | reader.NOBODYS:
        known = compared(task, answer, incumbent)
    elif row.incumbent and reader.held_back(served):
        known = Comparison(False, unparsed=served["reason"])
    answers = _answers(
        row, served, answer, reader.answer(student), records=ids, at=max(teacher["time"], student["time"]),
        label=found.teacher,
        incumbent=None if known is None or incumbent is None else reader.answer(incumbent),
        checks=reader.passed(student), **failed,
    )  # fmt: skip
    return Paired(answers, found, known)


def fell_back(row: Row, served: Record) -> Paired | str:
    """The student was to answer and failed, so the teacher did: nobody else has to be asked. Or why that teaches nothing."""
    cause = served["fallback_reason"]
    asked = {model for one in served["attempts"] if one["arm"] == STUDENT and (model := one.get("model"))}
    if asked and row.state.spec.student not in asked:
        # Records of the incumbent still come in when the student has taken its place.
        return "pairs of another adapter"
    if cause in reader.NOBODYS:
        return f"copies not comparable: {cause}"
    found = Comparison(False, unparsed=f"{FAILED}{cause}")
    if not served["completed"]:
        found = Comparison(None, unscored="not answered: by neither")
    failed = not served["completed"] or reader.flagged(served)
    own = reader.by_own_check(str(cause))
    held = {str(cause).removeprefix("check:"): False} if reader.held_back(served) else {}
    answers = _answers(
        row, served, reader.answer(served), "", records=(served["id"],), student_failed=not own, teacher_failed=failed,
        checks=held,
    )  # fmt: skip
    return Paired(answers, found)


def missing(
    row: Row, served: Record, why: str, *, student_failed: bool = False, teacher_failed: bool = False,
    records: tuple[str, ...] = (), student: str | None = None,
) -> Paired:  # fmt: skip
    """A request that was drawn to be compared, and of which there is nothing to compare. What the student said is known where
    it was served, or as `student`."""
    if student is None:
        student = reader.answer(served) if by_student(row, served) else ""
    answers = _answers(
        row,
        served,
        "",
        student,
        records=records or (served["id"],),
        student_failed=student_failed,
        teacher_failed=teacher_failed,
    )
    return Paired(answers, Comparison(None, unscored=f"not answered: {why}"))


def compared(task: Task, teacher: str, student: Record) -> Comparison:
    """Whether a student's answer agrees with the teacher's words."""
    if student["error"]:
        return Comparison(False, unparsed=f"{FAILED}{student['error']}")
    return compare(task, teacher, reader.answer(student))


def _answers(
    row: Row, served: Record, teacher: str, student: str, *, records: tuple[str, ...], student_failed: bool,
    teacher_failed: bool, at: float | None = None, label: str = "", incumbent: str | None = None,
    checks: Mapping[str, bool] | None = None,
) -> Answers:  # fmt: skip
    asked = reader.request(served)
    prompt = reader.prompt(asked)
    drawn = Drawn(
        path(row, served), served["unit"], served["sampled_p"] or 1.0, served["route_version"], student_failed, teacher_failed,
    )  # fmt: skip
    return Answers(
        served["id"], served["time"] if at is None else at, prompt, teacher, student, drawn, incumbent,
        slices.named(row.state.spec.slices, prompt, label, reader.metadata(asked)), checks=checks or {}, records=records,
        conversation="" if labels_of(row) is None else reader.conversation(asked),
    )  # fmt: skip


def _placed(row: Row, record: Record) -> Arm:
    return assignment.arm(record["unit_bucket"], row.ledger.weight_bp)
