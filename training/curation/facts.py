"""What a curation needs to know of each row by itself: a function over Arrow batches, so it can run on any machine.

Labels are read, rules checked, texts made comparable. What needs all rows at once (groups of near-duplicates, shares of
users, ranks) is decided from these facts by training/curation/steps.py. Invariant: a fact depends on its own row alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.spelling import identity
from graduand.rollout.answers.tasks import Task
from graduand.training.curation.rules import Rules, broken
from graduand.training.data import arrow, labels
from graduand.training.data.near import Sketch, sketched
from graduand.training.data.samples import Sample

BATCH_ROWS = 500
SCHEMA = pa.schema(
    {
        "label": pa.string(),
        "unread": pa.string(),
        "gold": pa.string(),
        "gold_unread": pa.string(),
        "broken": pa.list_(pa.string()),
        "plain": pa.string(),
        "shingles": pa.list_(pa.uint32()),
        "minhash": pa.list_(pa.uint32()),
    }
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One row's facts. `broken` has for each step of rules what the row breaks, or nothing; `sketch` if likeness matters."""

    label: Label | Unparsed
    gold: Label | Unparsed
    broken: Sequence[str]
    plain: str
    sketch: Sketch | None


@dataclass(frozen=True, slots=True)
class Look:
    """Looks at rows one by one. `rules` are those of all steps; `likeness`: whether near-duplicates are looked for."""

    task: Task
    rules: tuple[Rules, ...]
    likeness: bool

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A line of SCHEMA for each of training/data/arrow.py's."""
        return pa.Table.from_pylist([self._line(sample) for sample in arrow.samples(batch)], SCHEMA)

    def _line(self, sample: Sample) -> dict[str, object]:
        text = sample.text
        sketch = sketched(sample.whole) if self.likeness else None
        return {
            **_said(labels.learned(self.task, sample), "label", "unread"),
            **_said(labels.gold(self.task, sample), "gold", "gold_unread"),
            "broken": [broken(text, rules) for rules in self.rules],
            "plain": identity(sample.whole),
            "shingles": sketch and sketch.shingles,
            "minhash": sketch and sketch.minhash,
        }


def _said(found: Label | Unparsed, label: str, unread: str) -> dict[str, object]:
    return {label: found.value} if isinstance(found, Label) else {unread: found.reason}


def facts(outcome: pa.Table) -> list[Fact]:
    """The facts of a batch that was looked at."""
    shingles, minhashes = outcome["shingles"].combine_chunks(), outcome["minhash"].combine_chunks()
    columns = {
        name: outcome[name].to_pylist() for name in ("label", "unread", "gold", "gold_unread", "broken", "plain")
    }
    return [
        Fact(
            _label(columns["label"][at], columns["unread"][at]), _label(columns["gold"][at], columns["gold_unread"][at]),
            columns["broken"][at], columns["plain"][at], _sketch(shingles[at], minhashes[at]),
        )
        for at in range(outcome.num_rows)
    ]  # fmt: skip


def _label(label: str | None, unread: str | None) -> Label | Unparsed:
    return Unparsed(unread or "") if label is None else Label(label)


def _sketch(shingles: pa.ListScalar, minhash: pa.ListScalar) -> Sketch | None:
    if not minhash.is_valid:
        return None
    return Sketch(shingles.values.to_numpy(), minhash.values.to_numpy())
