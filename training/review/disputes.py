"""Which rows a person should look at: whoever has a say about a row says something else. Pure.

Voices are gold, the completion to learn, each teacher, and a student; curation's doubts and a student's low confidence
count as well. Invariant: a row on which all agree is never disputed, however many there are to look at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graduand.rollout.answers.answers import Label
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.samples import Sample

LOW_CONFIDENCE = 0.6


@dataclass(frozen=True, slots=True)
class StudentSays:
    """What a student answered to a row; None where it could not be read or nobody knows."""

    label: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A row to look at: who says what (labels by voice), and why it is here."""

    sample: Sample
    voices: dict[str, str]
    why: str
    urgency: float


def disputes(
    task: Task, samples: Sequence[Sample], students: Mapping[str, StudentSays], doubts: Mapping[str, str]
) -> list[Dispute]:
    """The disputed rows, the most disputed first; `students` and `doubts` by the rows' ids."""
    found = [_dispute(task, sample, students.get(sample.id), doubts.get(sample.id)) for sample in samples]
    kept = [each for each in found if each is not None]
    return sorted(kept, key=lambda each: (-each.urgency, each.sample.id))


def _dispute(task: Task, sample: Sample, student: StudentSays | None, doubt: str | None) -> Dispute | None:
    voices = {}
    for name in ("gold", "completion", *sample.answers):
        said = labels.said_by(task, sample, name)
        if isinstance(said, Label):
            voices[name] = said.value
    if student is not None and student.label is not None:
        voices["student"] = student.label
    reasons, urgency = [], 0.0
    if len(set(voices.values())) > 1:
        reasons.append("voices differ")
        # A student that is sure of something else is the likeliest sign of a wrong label.
        urgency += 1.0 + (student.confidence or 0.0 if student is not None else 0.0)
    if doubt:
        reasons.append(doubt)
        urgency += 1.0
    if student is not None and student.confidence is not None and student.confidence < LOW_CONFIDENCE:
        reasons.append(f"the student is {student.confidence:.0%} sure")
        urgency += 0.5
    return Dispute(sample, voices, "; ".join(reasons), urgency) if reasons else None
