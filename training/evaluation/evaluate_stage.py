"""The stage `train evaluate`: a student on every frozen test set, beside its teachers and an earlier student.

Invariant: every test row is asked and scored; one whose answer cannot be read is wrong; a threshold is only ever learned
from rows that are in no test set, which is checked.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.tasks import Task
from graduand.training.baselines import table
from graduand.training.data import labels, scores
from graduand.training.data.frozen import read_frozen
from graduand.training.data.leaks import refuse_leaks
from graduand.training.data.rows import json_lines
from graduand.training.data.samples import Sample, read_samples
from graduand.training.evaluation import browser, judging, paired, slices, texts, threshold
from graduand.training.evaluation.answers import Answer
from graduand.training.evaluation.judging import Judge
from graduand.training.evaluation.neighbours import nearest
from graduand.training.stages import markdown, plots
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work

ANSWERS, ERRORS = "answers.jsonl", "errors.html"
NEAR = 3
# Answers to samples. Of wanted answers, the sum of the tokens' cross-entropies and their number.
Ask = Callable[[Sequence[Sample], Path, Progress], list[Answer]]
Losses = Callable[[Sequence[Sample], Sequence[str], Progress], list[tuple[float, int]]]


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is measured by. `validation` rows teach the threshold, `train` rows are shown beside mistakes; `judge` compares
    free text."""

    task: Task
    what: str
    validation: Path | None = None
    train: Path | None = None
    against: Path | None = None
    judge: Judge | None = None
    leak_threshold: float = 0.8


@dataclass(frozen=True, slots=True)
class Known:
    """Samples whose label is known, and the labels."""

    samples: list[Sample]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class Scored:
    """One test set's samples with gold, what was said, and whether it was right."""

    samples: list[Sample]
    gold: list[str]
    answers: list[Answer]
    said: list[str | None]

    @property
    def right(self) -> list[bool]:
        """By row."""
        return [one == other for one, other in zip(self.gold, self.said, strict=True)]


def work(tests: Path, settings: EvaluationSettings, ask: Ask, losses: Losses | None, facts: Mapping[str, Any]) -> Work:
    """The stage's work. `losses` is None where the student cannot be looked into; `facts` go into the figures as they are:
    the adapter's digest, who was asked."""

    def run(folder: Path, progress: Progress) -> Outcome:
        frozen = read_frozen(tests)
        if settings.task.kind != "label":
            return _of_texts(frozen, settings, ask, losses, facts, folder, progress)
        known = {name: _known(settings.task, samples) for name, samples in frozen.items()}
        learned = _validation(settings, frozen)
        # All at once: a worker loads the student once.
        said = _asked([learned.samples, *(each.samples for each in known.values())], ask, folder, progress)
        cut = _threshold(settings.task, learned, said[0]) if settings.validation else None
        found = {
            name: _scored(settings.task, each, answers, cut)
            for (name, each), answers in zip(known.items(), said[1:], strict=True)
        }
        _write_answers(folder, settings.task, found)
        errors = _mistakes(found, settings)
        total = sum(len(each.samples) for each in found.values())
        (folder / ERRORS).write_text(browser.page(f"Errors of {settings.what}", errors, total), encoding="utf-8")
        return _outcome(folder, settings, found, cut, facts, table.recorded(settings.task, frozen))

    return run


def _known(task: Task, samples: Sequence[Sample]) -> Known:
    kept, gold, _ = labels.labelled(task, samples, "gold")
    if not kept:
        raise ConfigError("a test set has no gold; evaluate on rows whose gold is known")
    return Known(kept, gold)


def _asked(parts: Sequence[Sequence[Sample]], ask: Ask, folder: Path, progress: Progress) -> list[list[Answer]]:
    """The answers to each part, asked together."""
    answers = iter(ask([sample for part in parts for sample in part], folder, progress))
    return [list(itertools.islice(answers, len(part))) for part in parts]


def _scored(task: Task, known: Known, answers: list[Answer], cut: float | None) -> Scored:
    return Scored(known.samples, known.labels, answers, [said(task, answer, cut) for answer in answers])


def said(task: Task, answer: Answer, cut: float | None) -> str | None:
    """The answer's label: the one that it says, or with a threshold the positive one if its share is above it."""
    names = labels.names(task)
    if cut is None or not answer.shares:
        return answer.label(task)
    return names[-1] if answer.shares[names[-1]] > cut else names[0]


def _validation(settings: EvaluationSettings, tests: Mapping[str, Sequence[Sample]]) -> Known:
    """The rows that teach the threshold; none where none is learned."""
    if settings.validation is None:
        return Known([], [])
    count = len(labels.names(settings.task))
    if count != 2:
        raise ConfigError(f"a threshold is for two labels, and this task has {count}; leave --validation out")
    rows = read_samples(settings.validation)
    refuse_leaks(rows, tests, settings.leak_threshold)
    kept, wanted, _ = labels.labelled(settings.task, rows, "gold" if any(row.gold for row in rows) else "completion")
    return Known(kept, wanted)


def _threshold(task: Task, known: Known, answers: Sequence[Answer]) -> float:
    if not all(answer.shares for answer in answers):
        raise ConfigError("a threshold needs the labels' probabilities, which an endpoint does not tell; use --adapter")
    positive = labels.names(task)[-1]
    return threshold.learn(
        [answer.shares[positive] for answer in answers], [label == positive for label in known.labels]
    )


def _write_answers(folder: Path, task: Task, found: Mapping[str, Scored]) -> None:
    with (folder / ANSWERS).open("wb") as file:
        for name, each in found.items():
            for sample, gold, answer, label in zip(each.samples, each.gold, each.answers, each.said, strict=True):
                line = {"test_set": name, "id": sample.id, "gold": gold, "said": label, **answer.as_json()}
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _mistakes(found: Mapping[str, Scored], settings: EvaluationSettings) -> list[browser.Mistake]:
    wrong = [
        (name, sample, gold, answer, label)
        for name, each in found.items()
        for sample, gold, answer, label in zip(each.samples, each.gold, each.answers, each.said, strict=True)
        if label != gold
    ]
    known = read_samples(settings.train) if settings.train else []
    near = nearest([sample.text for _, sample, *_ in wrong], known, NEAR)
    return [
        browser.Mistake(
            sample.id, name, sample.text, gold, label or scores.UNREAD, answer.shares.get(label or ""),
            dict(sample.answers), tuple((row.text, alike, row.completion or "") for row, alike in rows),
        )
        for (name, sample, gold, answer, label), rows in zip(wrong, near, strict=True)
    ]  # fmt: skip


def _outcome(
    folder: Path, settings: EvaluationSettings, found: Mapping[str, Scored], cut: float | None, facts: Mapping[str, Any],
    teachers: Sequence[table.Row],
) -> Outcome:  # fmt: skip
    names = labels.names(settings.task)
    own = [
        table.Row(settings.what, "", name, scores.score(each.gold, each.said, names)) for name, each in found.items()
    ]
    rows = [*own, *teachers]
    pairs = _pairs(found, settings)
    parts = {name: slices.accuracies(each.samples, each.gold, each.right) for name, each in found.items()}
    figures = {
        **facts, "what": settings.what, "threshold": cut, "rows": [row.as_json() for row in rows], "paired": pairs,
        "slices": parts,
    }  # fmt: skip
    picture = plots.intervals(folder / "accuracy.png", "Accuracy, 95% intervals", table.points(rows))
    report = [
        f"# {settings.what}", table.as_markdown(rows), markdown.picture(picture, "accuracy"),
        "" if cut is None else f"Positive above {cut:.4f}, learned on {settings.validation.name if settings.validation else ''}.",
        "## On the same rows", _pairs_table(pairs), "## Slices", _slices_table(parts), f"Every mistake: [{ERRORS}]({ERRORS}).",
    ]  # fmt: skip
    return Outcome(figures, "\n\n".join(part for part in report if part))


def _pairs(found: Mapping[str, Scored], settings: EvaluationSettings) -> list[dict[str, Any]]:
    """The student against each recorded teacher and against the earlier student, where both answered the same rows."""
    earlier = _earlier(settings.against) if settings.against else {}
    pairs: list[dict[str, Any]] = []
    for name, each in found.items():
        others: dict[str, dict[str, bool]] = {}
        for sample, gold in zip(each.samples, each.gold, strict=True):
            for teacher in sample.answers:
                label = labels.answered(settings.task, sample, teacher)
                others.setdefault(teacher, {})[sample.id] = getattr(label, "value", None) == gold
        if settings.against is not None:
            others[str(settings.against)] = {i: said == gold for (t, i), (gold, said) in earlier.items() if t == name}
        for other, theirs in others.items():
            both = [(a, theirs[s.id]) for a, s in zip(each.right, each.samples, strict=True) if s.id in theirs]
            if both:
                test = paired.mcnemar([a for a, _ in both], [b for _, b in both])
                pairs.append({"against": other, "test_set": name, **test.as_json()})
    return pairs


def _earlier(folder: Path) -> dict[tuple[str, str], tuple[str, str | None]]:
    lines = json_lines(folder / ANSWERS)
    return {(line["test_set"], line["id"]): (line["gold"], line["said"]) for _, line in lines}


def _pairs_table(pairs: Sequence[Mapping[str, Any]]) -> str:
    if not pairs:
        return "Nothing to compare with: no teacher is recorded in the test sets, and no --against was given."
    head = ("against", "test set", "rows", "only it is right", "only the other", "difference", "p", "detectable")
    rows = [
        (each["against"], each["test_set"], each["rows"], each["first_only"], each["second_only"],
         f"{each['difference']:+.4f}", f"{each['p_value']:.3f}", f"{each['detectable']:.3f}")
        for each in pairs
    ]  # fmt: skip
    remark = "`p`: McNemar's exact test. A difference smaller than `detectable` is not seen four times out of five."
    return f"{markdown.table(head, rows)}\n\n{remark}"


def _slices_table(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows = [
        (name, each["slice"], each["rows"], f"{each['accuracy']:.4f}", f"{each['low']:.3f}–{each['high']:.3f}")
        for name, found in parts.items()
        for each in found
    ]
    return markdown.table(("test set", "slice", "rows", "accuracy", "95% interval"), rows)


def _of_texts(
    tests: Mapping[str, Sequence[Sample]], settings: EvaluationSettings, ask: Ask, losses: Losses | None,
    facts: Mapping[str, Any], folder: Path, progress: Progress,
) -> Outcome:  # fmt: skip
    """Objects and free text: adherence and fields, ROUGE, a judge's verdicts; perplexity of what was wanted where it can be
    had."""
    rows: list[dict[str, Any]] = []
    sets = {name: _with_wanted(name, samples) for name, samples in tests.items()}
    every = [sample for kept in sets.values() for sample in kept]
    answers = _asked(list(sets.values()), ask, folder, progress)
    lost = iter(losses(every, [_wanted(sample) for sample in every], progress) if losses else ())
    for (name, kept), found in zip(sets.items(), answers, strict=True):
        wanted = [_wanted(sample) for sample in kept]
        said = [answer.text for answer in found]
        of_task = texts.of_objects(settings.task, wanted, said) if settings.task.kind == "json" else {}
        row = {"what": settings.what, "test_set": name, **texts.of_texts(wanted, said), **of_task}
        lines: list[dict[str, Any]] = [
            {"test_set": name, "id": sample.id, "gold": gold, "said": text}
            for sample, gold, text in zip(kept, wanted, said, strict=True)
        ]
        if settings.judge:
            judged = settings.judge.judged(settings.task, kept, wanted, said, progress)
            row |= judging.figures(judged)
            lines = [
                line | {"judge": one.score, "unscored": one.unscored} for line, one in zip(lines, judged, strict=True)
            ]
        rows.append(row | ({"perplexity": texts.perplexity(list(itertools.islice(lost, len(kept))))} if losses else {}))
        with (folder / ANSWERS).open("ab" if len(rows) > 1 else "wb") as file:
            file.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    names = [key for key in rows[0] if key != "fields"]
    report = [f"# {settings.what}", markdown.table(names, [[row.get(name) for name in names] for row in rows])]
    if settings.judge:
        report.append(settings.judge.remark())
    fields = [(row["test_set"], field, share) for row in rows for field, share in row.get("fields", {}).items()]
    if fields:
        report += ["## Fields", markdown.table(("test set", "field", "right"), fields)]
    return Outcome({**facts, "what": settings.what, "rows": rows}, "\n\n".join(report))


def _with_wanted(name: str, samples: Sequence[Sample]) -> list[Sample]:
    kept = [sample for sample in samples if _wanted(sample)]
    if not kept:
        raise ConfigError(f"{name} has neither gold nor completions to compare with")
    return kept


def _wanted(sample: Sample) -> str:
    return str(sample.gold or sample.completion or "")
