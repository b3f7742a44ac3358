"""The stage `train label`: samples with a completion by one teacher, or by several through a vote or a chain.

Invariant: each sample is in `rows.jsonl` with a completion, or in `unlabelled.jsonl` with the reason why it has none;
an unreadable, refused, cut-off or tied answer is never a class. While questions are open nothing is finished: the ledger
keeps what was answered and the next run goes on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels, scores
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, read_samples, write_samples
from graduand.training.engines.engine import LOCAL, Engine
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work
from graduand.training.teacher import ledger as books
from graduand.training.teacher import vote
from graduand.training.teacher.asking import Tally, TeacherError, questions
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.ledger import AnswerLedger, Entry
from graduand.training.teacher.limits import Budget
from graduand.training.teacher.prompts import COT, Prompt
from graduand.training.teacher.rounds import ask

Combine = Literal["vote", "chain"]


@dataclass(frozen=True, slots=True)
class LabellingSettings:
    """What is asked, of whom, and how their answers become one."""

    task: Task | None  # None: answers are kept as they are, and there is one teacher
    teachers: tuple[Teacher, ...]
    prompt: Prompt
    combine: Combine
    agree: int
    limit: int | None

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        return {
            "task": labels.as_json(self.task) if self.task else None,
            "teachers": {teacher.name: teacher.as_json() for teacher in self.teachers},
            "prompt": {"name": self.prompt.name, "version": self.prompt.version, "system": self.prompt.system},
            "combine": self.combine if len(self.teachers) > 1 else None,
            "agree": self.agree,
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True)
class Purse:
    """How the asking is paid for and paced; decides nothing about the answers."""

    ledger: Path
    most_dollars: float | None
    most_tokens: int | None
    concurrency: int
    engine: Engine = LOCAL

    def budget(self, ledger: AnswerLedger) -> Budget:
        """What is left: the cap is on all that this ledger has cost, all runs together."""
        return Budget(self.most_dollars, self.most_tokens, ledger.dollars, ledger.tokens)


@dataclass(frozen=True, slots=True)
class Answers:
    """One teacher's entries by sample id, and what asking for them took."""

    teacher: Teacher
    entries: dict[str, Entry]
    tally: Tally


def work(data: Path, settings: LabellingSettings, purse: Purse) -> Work:
    """The stage's work."""

    def run(folder: Path, progress: Progress) -> Outcome:
        samples = read_samples(data)[: settings.limit]
        with books.opened(purse.ledger) as ledger:
            answers = asked(samples, settings, ledger, purse, progress)
            spent = {"dollars": ledger.dollars, "tokens": ledger.tokens}
        done, refused = combined(samples, settings, answers)
        if not done:
            raise DataError(f"no answer could be read, such as: {next(iter(refused.values()))}; nothing was labelled")
        write_samples(folder / "rows.jsonl", done)
        left = {sample.id: sample for sample in samples if sample.id in refused}
        write_samples(
            folder / "unlabelled.jsonl",
            [replace(sample, notes={**sample.notes, "unlabelled": refused[sample.id]}) for sample in left.values()],
        )
        return _outcome(settings, samples, done, refused, answers, spent)

    return run


def asked(
    samples: Sequence[Sample], settings: LabellingSettings, ledger: AnswerLedger, purse: Purse, progress: Progress
) -> list[Answers]:
    """Every teacher's answers; a chain asks each about what the ones before left undecided."""
    budget, found = purse.budget(ledger), []
    undecided = list(samples)
    for teacher in settings.teachers:
        if not undecided:
            break
        found.append(of_teacher(undecided, teacher, settings.prompt, ledger, budget, purse, progress))
        if settings.combine == "chain" and settings.task is not None:
            task = settings.task
            undecided = [
                sample
                for sample in undecided
                if vote.chain([read(task, each, sample) for each in found], settings.agree) is None
            ]
    return found


def of_teacher(
    samples: Sequence[Sample], teacher: Teacher, how: Prompt, ledger: AnswerLedger, budget: Budget, purse: Purse,
    progress: Progress, repeat: int = 0,
) -> Answers:  # fmt: skip
    """One teacher's answers to all samples; raises TeacherError if some stay open."""
    pairs = [(sample, questions([sample], teacher, how, repeat + 1)[-1]) for sample in samples]
    unique = {question.key: question for _, question in pairs}
    tally = ask(list(unique.values()), teacher, ledger, budget, purse.concurrency, progress, purse.engine)
    if tally.open:
        reason = next(iter(tally.open.values()))
        raise TeacherError(
            f"{len(tally.open)} of {len(samples)} rows have no answer of {teacher.name} yet ({reason}); what was answered is "
            f"in {ledger.path}: run the same command again to go on"
            + (", with a larger budget or a --limit" if tally.over_budget else "")
        )
    return Answers(teacher, {sample.id: ledger.entries[question.key] for sample, question in pairs}, tally)


def read(task: Task, answers: Answers, sample: Sample) -> Label | Unparsed:
    """What a teacher said about a sample."""
    entry = answers.entries.get(sample.id)
    return Unparsed(f"{answers.teacher.name} was not asked") if entry is None else books.label(task, entry)


def combined(
    samples: Sequence[Sample], settings: LabellingSettings, answers: Sequence[Answers]
) -> tuple[list[Sample], dict[str, str]]:
    """The samples with their completions, and for each other sample's id the reason why it has none."""
    done: list[Sample] = []
    refused: dict[str, str] = {}
    for sample in samples:
        raw = {each.teacher.name: each.entries[sample.id].raw for each in answers if sample.id in each.entries}
        completion = _completion(sample, settings, answers)
        if isinstance(completion, Unparsed):
            refused[sample.id] = completion.reason
            continue
        notes = dict(sample.notes)
        if settings.prompt.name == COT:
            notes |= {f"explanation:{name}": text for name, text in raw.items()}
        done.append(replace(sample, completion=completion, answers={**sample.answers, **raw}, notes=notes))
    return done, refused


def _completion(sample: Sample, settings: LabellingSettings, answers: Sequence[Answers]) -> str | Unparsed:
    if settings.task is None:
        entry = answers[0].entries[sample.id]
        if entry.refused or entry.finish != "stop" or not entry.raw:
            return Unparsed(entry.refused or f"finish_reason {entry.finish!r}")
        return entry.raw
    task = settings.task
    said = [read(task, each, sample) for each in answers]
    label = vote.vote(said) if settings.combine == "vote" else vote.chain_end(said, settings.agree)
    return label if isinstance(label, Unparsed) else labels.completion(task, label.value)


def _outcome(
    settings: LabellingSettings, samples: Sequence[Sample], done: list[Sample], refused: dict[str, str],
    answers: Sequence[Answers], spent: dict[str, Any],
) -> Outcome:  # fmt: skip
    reasons = Counter(refused.values())
    figures: dict[str, Any] = {
        "rows": len(done),
        "unlabelled": dict(reasons.most_common(20)),
        "teachers": {each.teacher.name: _teacher_figures(each) for each in answers},
        "ledger": spent,
        "gold": _against_gold(settings.task, done),
    }
    report = [
        "# Labels",
        f"{len(done)} of {len(samples)} rows are labelled"
        + (f", by {settings.combine}." if len(settings.teachers) > 1 else f" by {settings.teachers[0].name}."),
        markdown.table(
            ("teacher", "model that answered", "rows", "tokens", "dollars"),
            [
                (name, each["served"], each["rows"], each["tokens"], each["dollars"])
                for name, each in figures["teachers"].items()
            ],
        ),
        markdown.table(("unlabelled because", "rows"), reasons.most_common(20)) if reasons else "None is unlabelled.",
    ]
    if figures["gold"]:
        gold = figures["gold"]
        report.append(
            f"Against gold: {gold['accuracy']:.4f} [{gold['low']:.3f}, {gold['high']:.3f}] of {gold['rows']} rows."
        )
    return Outcome(figures, "\n\n".join(report))


def _teacher_figures(answers: Answers) -> dict[str, Any]:
    entries = list({entry.key: entry for entry in answers.entries.values()}.values())
    known = [entry.dollars for entry in entries if entry.dollars is not None]
    return {
        "rows": len(answers.entries),
        "served": ", ".join(sorted({entry.served_model for entry in entries if entry.served_model})),
        "tokens": sum(entry.prompt_tokens + entry.completion_tokens for entry in entries),
        "dollars": sum(known) if known else None,
        "tokens_estimated": sum(not entry.tokens_exact for entry in entries),
    }


def _against_gold(task: Task | None, done: Sequence[Sample]) -> dict[str, Any] | None:
    if task is None:
        return None
    with_gold, gold, _ = labels.labelled(task, done, "gold")
    said = [labels.learned(task, sample) for sample in with_gold]
    read_labels = [label.value if isinstance(label, Label) else None for label in said]
    return scores.score(gold, read_labels, labels.names(task)).as_json() if gold else None
