"""Free text before a judge: is the student's answer at least as good as the wanted one? Resumable.

The rollout's own judge (`rollout.answers.judge`): both orders are asked, two verdicts that contradict each other are a
tie. Invariant: a verdict that cannot be read, and a question that the judge refuses, leave the row unscored, which
is neither pass nor fail and is counted; while a question is open nothing is reported. Must never make up a verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graduand.gateway.model.reader import conversation
from graduand.rollout.answers import judge
from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.judge import Judged
from graduand.rollout.answers.tasks import Task
from graduand.training.data.samples import Sample
from graduand.training.data.scores import wilson
from graduand.training.stages.progress import Progress
from graduand.training.teacher import prompts
from graduand.training.teacher.asking import TeacherError, TeacherQuestion
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.labelling import Purse
from graduand.training.teacher.ledger import AnswerLedger, key_of, opened
from graduand.training.teacher.prompts import Prompt
from graduand.training.teacher.rounds import ask

PROMPT = Prompt("judge", judge.SYSTEM)


@dataclass(frozen=True, slots=True)
class Judge:
    """Who judges, and what it may cost; its answers are kept in the purse's ledger."""

    model: Teacher
    purse: Purse

    def remark(self) -> str:
        """What a reader of the figures needs to know."""
        return (
            f"Judged by {self.model.name} ({self.model.model}) in both orders. `as_good`: at least as good as what was wanted, "
            "with its 95% interval. Whether the judge is right, only people can tell: let them judge some 50 rows first."
        )

    def judged(
        self, task: Task, samples: Sequence[Sample], wanted: Sequence[str], said: Sequence[str], progress: Progress
    ) -> list[Judged]:
        """An outcome for each sample; raises TeacherError if the judge did not answer all that it was asked."""
        pairs = [
            _decided(task, gold, own) or self._questions(task, sample, gold, own)
            for sample, gold, own in zip(samples, wanted, said, strict=True)
        ]
        asked = {question.key: question for pair in pairs if isinstance(pair, tuple) for question in pair}
        with opened(self.purse.ledger) as ledger:
            budget = self.purse.budget(ledger)
            purse = self.purse
            tally = ask(list(asked.values()), self.model, ledger, budget, purse.concurrency, progress, purse.engine)
            if tally.open:
                name, why = next(iter(tally.open.items()))
                raise TeacherError(f"{len(tally.open)} rows were not judged, such as {name}: {why}; run it again")
            return [pair if isinstance(pair, Judged) else _verdict(ledger, *pair) for pair in pairs]

    def _questions(self, task: Task, sample: Sample, wanted: str, said: str) -> tuple[TeacherQuestion, TeacherQuestion]:
        """Both orders: the wanted answer first, then the student's."""
        before = conversation({"messages": prompts.messages(sample, Prompt(prompts.AS_IS))})
        one, other = (self._question(sample, each) for each in judge.prompts(task.rubric, before, wanted, said))
        return one, other

    def _question(self, sample: Sample, messages: judge.Messages) -> TeacherQuestion:
        key = key_of(prompts.messages_sha256(messages), self.model.model, self.model.parameters, 0)
        return TeacherQuestion(key, sample.id, tuple(messages), PROMPT, 0)


def _decided(task: Task, wanted: str, said: str) -> Judged | None:
    """What needs no judge: an empty answer of the student's is worse, an empty wanted one leaves nothing to compare."""
    found = compare(task, wanted, said)
    if found.unparsed:
        return Judged(0.0)
    return Judged(None, found.unscored) if found.similarity is None else None


def _verdict(ledger: AnswerLedger, one: TeacherQuestion, other: TeacherQuestion) -> Judged:
    entries = [ledger.entries[question.key] for question in (one, other)]
    refused = next((entry.refused for entry in entries if entry.refused), "")
    if refused:
        return Judged(None, f"judge: {refused}")
    return judge.combine(entries[0].raw, entries[1].raw)


def figures(found: Sequence[Judged]) -> dict[str, Any]:
    """Better, as good and worse than what was wanted; the share at least as good with its 95% interval; those unscored.

    >>> [figures([Judged(1.0), Judged(0.0), Judged(None, "babble")])[name] for name in ("as_good", "judge_unscored")]
    [0.5, 1]
    """
    scores = [each.score for each in found if each.score is not None]
    right = sum(score >= 0.5 for score in scores)
    low, high = wilson(right, len(scores))
    return {
        "judged": len(scores), "judge_unscored": len(found) - len(scores),
        "judge_contradictions": sum(each.contradicted for each in found),
        "better": scores.count(1.0), "tie": scores.count(0.5), "worse": scores.count(0.0),
        "judge_score": sum(scores) / len(scores) if scores else None,
        "as_good": right / len(scores) if scores else None, "as_good_low": low, "as_good_high": high,
    }  # fmt: skip
