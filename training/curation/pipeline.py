"""The stage `train curate`: the steps of one YAML file, one after the other, with a ledger of what each one did.

Invariant: rows in = rows out + rows in `dropped.jsonl`, each with step and reason; the steps run in the order of the file
and see only what the ones before left. With `--effect` the TF-IDF baseline is trained anew after every step.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.answers import Unparsed
from graduand.rollout.answers.strict import Strict, checked, entry
from graduand.rollout.answers.tasks import Task
from graduand.training.baselines import tfidf
from graduand.training.curation.facts import BATCH_ROWS, Fact, Look, facts
from graduand.training.curation.rules import Rules
from graduand.training.curation.steps import LISTED, STEPS, Drops, Near, Rows, shared
from graduand.training.data import arrow, labels, scores
from graduand.training.data.frozen import read_frozen
from graduand.training.data.leaks import refuse_leaks
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, read_samples, write_samples
from graduand.training.engines.engine import LOCAL, Engine, cut, in_order
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work

SHORT = {"near": "threshold", "cap": "most", "rank": "drop", "balance": "ratio", "doubt": "drop"}
SHOWN = 3
LEAK_THRESHOLD = 0.8


class CurationIn(Strict):
    """The file as written."""

    task: dict[str, Any]
    seed: int = 0
    steps: list[Any] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Curation:
    """A resolved curation: a name and its keys for each step."""

    task: Task
    seed: int
    steps: tuple[tuple[str, Strict], ...]

    @property
    def look(self) -> Look:
        """What the steps need to know of each row by itself."""
        steps = [step for _, step in self.steps]
        rules = tuple(step for step in steps if isinstance(step, Rules))
        return Look(self.task, rules, any(isinstance(step, Near) for step in steps))

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        steps = [{name: step.model_dump()} for name, step in self.steps]
        return {"task": labels.as_json(self.task), "seed": self.seed, "steps": steps}


@dataclass(slots=True)
class Done:
    """One line of the ledger."""

    step: str
    rows_in: int
    rows_out: int
    labels: dict[str, int]
    why: dict[str, int]
    examples: list[str]
    listed: int = 0
    effect: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The line as figures."""
        return {name: getattr(self, name) for name in Done.__slots__}


def read_curation(path: Path) -> Curation:
    """The file's curation, or a ConfigError that says what is wrong."""
    try:
        data = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the curation {path}: {error}") from error
    written = checked(CurationIn, data, str(path))
    known = {name: model for name, (model, _) in STEPS.items()}
    steps = []
    for number, item in enumerate(written.steps, 1):
        word = item if isinstance(item, str) else next(iter(item), "") if isinstance(item, dict) else ""
        steps.append(entry(item, known, SHORT.get(str(word).split(" ")[0]), f"{path}, step {number}"))
    return Curation(labels.task_of(written.task), written.seed, tuple(steps))


def looked(look: Look, samples: Sequence[Sample], engine: Engine, progress: Progress) -> list[Fact]:
    """Each sample's facts, found by the engine."""
    batches = [arrow.table(part) for part in cut(samples, BATCH_ROWS)]
    return [fact for outcome in in_order(engine, look, batches, progress, "rows looked at") for fact in facts(outcome)]


def work(data: Path, curation: Curation, tests: Path | None, effect: bool, engine: Engine = LOCAL) -> Work:
    """The stage's work; `tests` is a folder with frozen test sets."""

    def run(folder: Path, progress: Progress) -> Outcome:
        frozen = read_frozen(tests) if tests else {}
        samples = read_samples(data)
        ledger, dropped, doubts, seconds = [], [], [], []
        began_s = time.monotonic()
        look = curation.look
        rows = Rows(samples, looked(look, samples, engine, progress), look.rules, curation.seed)
        for name, step in (("readable", None), *curation.steps):
            drops = _drops(name, step, rows)
            listed = {place: why for place, why in drops.items() if why.startswith(LISTED)}
            gone = {place: why for place, why in drops.items() if place not in listed}
            kept = rows.samples
            doubts += [_noted(kept[place], "doubt", why.removeprefix(LISTED)) for place, why in listed.items()]
            dropped += [_noted(kept[place], "dropped", f"{name}: {why}") for place, why in gone.items()]
            left = rows.without(gone)
            if not left.samples:
                raise DataError(f"step {name!r} leaves no row of {len(kept)}; loosen it")
            line = _line(name, rows, gone, listed, left)
            line.effect = _effect(curation.task, left.samples, frozen) if effect else None
            progress.say(f"{name}: {len(kept)} -> {len(left.samples)} rows")
            same = shared(rows) if isinstance(step, Near) else ""
            if same:
                said = f"nearly all rows share a text of {len(same)} characters, which was left out of likeness: {same[:160]}"
                progress.say(f"{name}: {said}")
                line.examples.append(said)
            ledger.append(line)
            seconds.append(round(time.monotonic() - began_s, 2))
            began_s = time.monotonic()
            rows = left
        refuse_leaks(rows.samples, frozen, LEAK_THRESHOLD)
        write_samples(folder / "rows.jsonl", rows.samples)
        write_samples(folder / "dropped.jsonl", dropped)
        write_samples(folder / "doubts.jsonl", doubts)
        figures = {"rows_in": len(samples), "rows": len(rows.samples), "steps": [line.as_json() for line in ledger]}
        return Outcome(figures | {"seconds": seconds}, _report(ledger, len(samples)))

    return run


def _drops(name: str, step: Strict | None, rows: Rows) -> Drops:
    if step is None:
        said = (fact.label for fact in rows.facts)
        return {place: label.reason for place, label in enumerate(said) if isinstance(label, Unparsed)}
    return STEPS[name][1](rows, step)


def _noted(sample: Sample, note: str, text: str) -> Sample:
    return replace(sample, notes={**sample.notes, note: text})


def _line(name: str, rows: Rows, gone: Drops, listed: Drops, left: Rows) -> Done:
    counts = Counter(left.labels)
    why = Counter(_kind(reason) for reason in gone.values())
    shown = list((gone or listed).items())[:SHOWN]
    kept = rows.samples
    examples = [f"{kept[place].id}: {reason.removeprefix(LISTED)}: {kept[place].text[:160]}" for place, reason in shown]
    sizes = len(kept), len(left.samples)
    return Done(name, *sizes, dict(sorted(counts.items())), dict(why.most_common(8)), examples, len(listed))


def _kind(reason: str) -> str:
    """A reason without the row that it names, so that equal ones can be counted."""
    for head in ("same text", "among the worst"):
        if reason.startswith(head):
            return head + (", with another label" if reason.endswith("with another label") else "")
    if " like " in reason:
        return "near-duplicate" + (", with another label" if reason.endswith("with another label") else "")
    return reason.partition(" (margin")[0]


def _effect(task: Task, left: Sequence[Sample], tests: dict[str, list[Sample]]) -> dict[str, Any]:
    """What the baseline reaches when it learns what is left."""
    kept, learned, _ = labels.labelled(task, left, "completion")
    if len(set(learned)) < 2:
        return {"missing": "one label only"}
    model = tfidf.fit([sample.text for sample in kept], learned)
    found = {}
    for name, samples in tests.items():
        asked, gold, _ = labels.labelled(task, samples, "gold")
        said = model.predict([sample.text for sample in asked])
        found[name] = scores.score(gold, said, labels.names(task)).as_json()
    return found


def _report(ledger: Sequence[Done], rows_in: int) -> str:
    tests = list(ledger[0].effect or {})
    head = ("step", "rows in", "rows out", "labels", "why", "listed", *(f"TF-IDF on {name}" for name in tests))
    lines = [
        (
            line.step, line.rows_in, line.rows_out, ", ".join(f"{label}: {count}" for label, count in line.labels.items()),
            "; ".join(f"{count} {why}" for why, count in line.why.items()), line.listed or "",
            *(_shown(line.effect or {}, name) for name in tests),
        )
        for line in ledger
    ]  # fmt: skip
    examples = [
        f"### {line.step}\n\n{markdown.as_list(markdown.shown(example, 220) for example in line.examples)}"
        for line in ledger
        if line.examples
    ]
    remark = (
        "Dropped rows are in `dropped.jsonl`, doubtful ones for review in `doubts.jsonl`. No step asked a teacher: $0."
    )
    if tests:
        remark += " A change within the intervals is no evidence: every step is an experiment."
    parts = ["# Curation", f"{rows_in} rows in, {ledger[-1].rows_out} out.", markdown.table(head, lines), remark]
    return "\n\n".join([*parts, "## Examples", *examples] if examples else parts)


def _shown(effect: dict[str, Any], name: str) -> str:
    found = effect.get(name)
    return (
        f"{found['accuracy']:.4f} [{found['low']:.3f}, {found['high']:.3f}]" if isinstance(found, dict) else str(effect)
    )
