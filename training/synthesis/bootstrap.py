"""The stage `train synth`: new inputs from a few seeds through a teacher, or paraphrases of a rare class.

Self-Instruct (Wang et al., arXiv:2212.10560): each request shows a few seeds and a few texts that were made before; what
comes back stays only if it is new. Every draw is a function of the seed and of what was made so far, so a killed run
replays the ledger, pays for nothing twice and goes on with the same rows. Invariant: new texts have no label until
`train label` gives them one; a paraphrase keeps its original's completion and is bound to it in every split.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graduand.rollout.answers.answers import Unparsed
from graduand.rollout.answers.tasks import Task
from graduand.training.data import labels
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, of_text, read_samples, write_samples
from graduand.training.data.split import PARAPHRASE_OF
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work
from graduand.training.synthesis import prompts
from graduand.training.synthesis.novelty import Pool, distinct, mean_likeness
from graduand.training.teacher import ledger as books
from graduand.training.teacher.asking import TeacherError, TeacherQuestion, ask
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.labelling import Purse
from graduand.training.teacher.ledger import AnswerLedger, key_of
from graduand.training.teacher.prompts import Prompt, messages_sha256

SEEDS_SHOWN, MADE_SHOWN = 4, 2
BATCH = 8  # requests whose draws see the same pool
BARREN = 3  # batches without anything new: the teacher only repeats itself


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """How many rows of what."""

    task: Task | None
    teacher: Teacher
    rows: int
    paraphrase: str | None  # the label whose rows are paraphrased; None: new texts
    about: str
    limit: float
    seed: int

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        named = {name: getattr(self, name) for name in ("rows", "paraphrase", "about", "limit", "seed")}
        task = labels.as_json(self.task) if self.task else None
        return {"task": task, "teacher": self.teacher.as_json(), **named}


@dataclass(slots=True)
class Made:
    """What was made so far."""

    rows: list[Sample] = field(default_factory=list)
    offered: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    barren: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its words, and what its answers become."""

    messages: list[dict[str, str]]
    label: str | None
    original: Sample | None


def work(seeds: Path, settings: BootstrapSettings, purse: Purse) -> Work:
    """The stage's work."""

    def run(folder: Path, progress: Progress) -> Outcome:
        samples = read_samples(seeds)
        sources = _sources(samples, settings)
        pool, made = Pool((sample.text for sample in samples), settings.limit), Made()
        with books.opened(purse.ledger) as ledger:
            batch = 0
            while len(made.rows) < settings.rows and made.barren < BARREN:
                asked = _requests(sources, made, settings, batch)
                before = len(made.rows)
                for number, (request, answer) in enumerate(_answers(asked, batch, settings, ledger, purse, progress)):
                    _take(request, answer, f"synth-{batch}-{number}", pool, made, settings)
                made.barren = made.barren + 1 if len(made.rows) == before else 0
                progress.say(f"{len(made.rows)} of {settings.rows} rows, {made.offered} offered")
                batch += 1
        if not made.rows:
            raise DataError(
                f"nothing new came of {made.offered} texts ({dict(made.unread)}); give more seeds or --about"
            )
        write_samples(folder / "rows.jsonl", made.rows)
        return _outcome(made, samples, settings)

    return run


def _sources(samples: Sequence[Sample], settings: BootstrapSettings) -> list[Sample]:
    """The seeds, or the rows to paraphrase."""
    if settings.paraphrase is None:
        return list(samples)
    if settings.task is None:
        raise DataError("paraphrases need a task, which has the labels")
    kept, found, _ = labels.labelled(settings.task, samples, "completion")
    sources = [sample for sample, label in zip(kept, found, strict=True) if label == settings.paraphrase]
    if not sources:
        raise DataError(f"no row has the label {settings.paraphrase!r}; there are {dict(Counter(found))}")
    return sources


def _requests(sources: Sequence[Sample], made: Made, settings: BootstrapSettings, batch: int) -> list[Request]:
    """One batch, drawn from the seeds and from what was made so far."""
    draw = random.Random(f"{settings.seed}/{batch}")
    classes = [None] if settings.task is None else labels.names(settings.task)
    requests = []
    for number in range(BATCH):
        if settings.paraphrase is not None:
            original = draw.choice(sources)
            requests.append(Request(prompts.paraphrase(settings.about, original.text, prompts.EACH), None, original))
            continue
        label = classes[(batch * BATCH + number) % len(classes)]
        shown = draw.sample(sources, min(SEEDS_SHOWN, len(sources)))
        shown += draw.sample(made.rows, min(MADE_SHOWN, len(made.rows)))
        requests.append(Request(prompts.new(settings.about, [sample.text for sample in shown], label), label, None))
    return requests


def _answers(
    asked: Sequence[Request],
    batch: int,
    settings: BootstrapSettings,
    ledger: AnswerLedger,
    purse: Purse,
    progress: Progress,
) -> list[tuple[Request, str | Unparsed]]:
    """The batch's answers in its order, whatever order they came in."""
    who, how = settings.teacher, Prompt("synth")
    questions = [
        TeacherQuestion(
            key_of(messages_sha256(request.messages), who.model, who.parameters, batch * BATCH + number),
            f"batch-{batch}-{number}", tuple(request.messages), how, batch * BATCH + number,
        )
        for number, request in enumerate(asked)
    ]  # fmt: skip
    tally = ask(questions, who, ledger, purse.budget(ledger), purse.concurrency, progress)
    if tally.open:
        raise TeacherError(
            f"{len(tally.open)} requests have no answer yet ({next(iter(tally.open.values()))}); run the same command again to "
            "go on" + (", with a larger budget or fewer --rows" if tally.over_budget else "")
        )
    return [(request, _text(ledger.entries[question.key])) for request, question in zip(asked, questions, strict=True)]


def _text(entry: books.Entry) -> str | Unparsed:
    if entry.refused:
        return Unparsed("refused")
    return entry.raw if entry.finish == "stop" else Unparsed(f"finish_reason {entry.finish!r}: raise max_tokens")


def _take(
    request: Request, answer: str | Unparsed, identity: str, pool: Pool, made: Made, settings: BootstrapSettings
) -> None:
    """Keep what is new of one answer."""
    texts = answer if isinstance(answer, Unparsed) else prompts.texts_of(answer)
    if isinstance(texts, Unparsed):
        made.unread[texts.reason] += 1
        return
    for number, text in enumerate(texts):
        made.offered += 1
        if len(made.rows) < settings.rows and pool.offer(text) < settings.limit:
            made.rows.append(_row(request, text, f"{identity}-{number}"))


def _row(request: Request, text: str, identity: str) -> Sample:
    if request.original is None:
        notes = {} if request.label is None else {"asked_for": request.label}
        return of_text(identity, text, source="synth", notes=notes)
    original = request.original
    notes = {**original.notes, PARAPHRASE_OF: original.id}
    changed: dict[str, Any] = {"id": identity, "gold": None, "answers": {}, "source": "paraphrase", "notes": notes}
    if original.messages is None:
        return replace(original, prompt=text, **changed)
    last = max(at for at, message in enumerate(original.messages) if message["role"] == "user")
    chat = tuple(
        {**message, "content": text} if at == last else message for at, message in enumerate(original.messages)
    )
    return replace(original, messages=chat, **changed)


def _outcome(made: Made, seeds: Sequence[Sample], settings: BootstrapSettings) -> Outcome:
    def of(samples: Sequence[Sample]) -> dict[str, float]:
        texts = [sample.text for sample in samples]
        return {"distinct_1": distinct(texts, 1), "distinct_2": distinct(texts, 2), "likeness": mean_likeness(texts)}

    figures: dict[str, Any] = {
        "rows": len(made.rows),
        "wanted": settings.rows,
        "offered": made.offered,
        "new": len(made.rows) / made.offered,
        "unread": dict(made.unread),
        "asked_for": dict(Counter(sample.notes["asked_for"] for sample in made.rows if "asked_for" in sample.notes)),
        "diversity": {"seeds": of(seeds), "made": of(made.rows)},
    }
    short = (
        ""
        if len(made.rows) >= settings.rows
        else f" The teacher only repeated itself after {len(made.rows)}: give more seeds."
    )
    head = ("texts", "distinct words", "distinct pairs of words", "mean ROUGE-L between two")
    lines = [(name, *each.values()) for name, each in figures["diversity"].items()]
    next_step = "Next: `graduand train label`, then `split`; synthetic rows are for training, never for tests."
    report = [
        "# Synthetic rows",
        f"{len(made.rows)} of {settings.rows} wanted, from {made.offered} offered: {figures['new']:.0%} were new (ROUGE-L below "
        f"{settings.limit}).{short}",
        markdown.table(head, lines),
        markdown.table(("asked for", "rows"), figures["asked_for"].items()) if figures["asked_for"] else "",
        markdown.as_list(markdown.shown(sample.text) for sample in made.rows[:10]),
        next_step
        if settings.paraphrase is None
        else "Paraphrases keep the label of their original: check some by hand.",
    ]
    return Outcome(figures, "\n\n".join(part for part in report if part))
