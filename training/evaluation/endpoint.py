"""A student asked through an OpenAI-compatible endpoint: the engine's, the gateway's, or anybody's. Resumable."""

from collections.abc import Sequence
from pathlib import Path

from graduand.training.data.samples import Sample
from graduand.training.engines.engine import Engine
from graduand.training.evaluation.answers import Answer
from graduand.training.stages.progress import Progress
from graduand.training.teacher import asking, prompts, rounds
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.ledger import opened
from graduand.training.teacher.limits import Budget

LEDGER = ".answers.ledger.jsonl"


def answers(
    samples: Sequence[Sample], student: Teacher, folder: Path, concurrency: int, progress: Progress, engine: Engine
) -> list[Answer]:
    """What `student` says to the samples' own messages; raises TeacherError if it did not answer all."""
    how = prompts.Prompt(prompts.AS_IS)
    with opened(folder / LEDGER) as ledger:
        asked = asking.questions(samples, student, how)
        tally = rounds.ask(asked, student, ledger, Budget(), concurrency, progress, engine)
        if tally.open:
            name, why = next(iter(tally.open.items()))
            raise asking.TeacherError(f"{len(tally.open)} rows have no answer, such as {name}: {why}; run it again")
        by_words = {prompts.messages_sha256(question.messages): question.key for question in asked}
        keys = [by_words[prompts.messages_sha256(tuple(prompts.messages(sample, how)))] for sample in samples]
        found = [ledger.entries[key] for key in keys]
        return [Answer("" if each.refused else each.raw, whole=each.finish == "stop") for each in found]
