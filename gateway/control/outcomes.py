"""What a rollout learns from one compared request, inside the caller's transaction: gates, samples, disagreements.

Invariant: an outcome is learnt from once, by whoever found it: the comparison itself, or a judge later on.
"""

from dataclasses import dataclass
from typing import Any

from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.rollout import ledger
from graduand.rollout.answers.compare import Comparison
from graduand.rollout.hybrid.learning import classes_of
from graduand.rollout.hybrid.pairs import Pair

SHOWN = 4000
SHOWN_VERDICT = 600


@dataclass(frozen=True, slots=True)
class Answers:
    """One request and who said what to it; `incumbent` is None where none was asked."""

    record: str
    at: float
    prompt: str  # what the last user said
    teacher: str
    student: str
    incumbent: str | None = None
    parts: tuple[str, ...] = ()  # the slices of traffic that it belongs to
    vector: tuple[float, ...] | None = None  # confidence features, if this pair may teach a threshold
    unit: int = 0
    probability: float = 1.0  # with which this pair was drawn ...
    floor: float = 1.0  # ... and the smallest one of its time
    released: bool = False  # an audit of what the student answered because it was confident


def learn(
    store: Rollouts, row: Row, answers: Answers, found: Comparison, *, incumbent_agreed: bool | None = None,
    score: float | None = None, verdicts: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Give an outcome to everything that learns from it."""
    row.ledger.pair(
        ledger.Pair(
            answers.at, found.agreed, found.fields, score, incumbent_agreed, answers.parts,
            unparsed=bool(found.unparsed),
        )
    )  # fmt: skip
    teach(store, row, answers, found)
    if found.off_schema:
        row.count("student off schema")
    if found.agreed is None:
        row.count(f"unscored: {found.unscored.partition(':')[0]}")
    if found.agreed is False:
        store.write_disagreement(row, answers.at, answers.record, _shown(answers, found, verdicts))


def teach(store: Rollouts, row: Row, answers: Answers, found: Comparison) -> None:
    """Let a pair teach the confidence threshold, and an audit of a released answer watch its promise: the first of a unit
    in an hour, for those of one session are not independent."""
    if found.agreed is None:
        return
    if answers.vector is not None:
        store.write_sample(
            row, Pair(answers.unit, answers.at, answers.vector, found.agreed, found.student, found.teacher,
                      answers.probability, answers.floor),
        )  # fmt: skip
    promise = row.learning.promise if answers.released else None
    if promise is not None and store.write_seen(f"promise {row.id} {answers.unit}", answers.at):
        promise.update(found.agreed, classes_of(found.student, found.teacher))


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
