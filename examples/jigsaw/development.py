"""Rows to choose settings on: of the article's extra rows (D), those that neither A nor E has anything to do with.

Half of them toxic, by gold, like the balanced test set. Invariant: none is in A or E, near to a row there, or in a test set,
so the students of A and E can be compared on them without a look at the test sets. B, C and D learn from some of them.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from graduand.training.data import frozen
from graduand.training.data.leaks import all_leaks
from graduand.training.data.samples import Sample, read_samples, write_samples
from graduand.training.stages import stage
from graduand.training.stages.progress import Progress

NAME = "development"
APART = ("A", "E")  # students of the other sets have learned some of these rows
PER_LABEL = 200
NEAR = 0.8


def rows(extra: Sequence[Sample], learned: Sequence[Sample], per_label: int, seed: int) -> list[Sample]:
    """`per_label` rows of each gold label, drawn from those of `extra` that give nothing of `learned` away."""
    near = {leak.train for leak in all_leaks(extra, {"learned": learned}, NEAR)}
    source = random.Random(seed)
    found: list[Sample] = []
    for label in ("0", "1"):
        free = sorted((row for row in extra if row.gold == label and row.id not in near), key=lambda row: row.id)
        found += source.sample(free, per_label)
    return found


def made(sets: Path, out: Path, progress: Progress) -> Path:
    """The stage's folder: `development.jsonl`, pinned like a test set, from the sets that `train data jigsaw` made."""

    def work(folder: Path, _: Progress) -> stage.Outcome:
        extra, *learned = (read_samples(sets / f"{name}.jsonl") for name in ("D", *APART))
        known = {row.id: row for part in learned for row in part}
        drawn = rows(extra, list(known.values()), PER_LABEL, seed=0)
        write_samples(folder / f"{NAME}.jsonl", drawn)
        frozen.freeze(folder, {NAME: drawn})
        return stage.Outcome({"rows": len(drawn)}, f"# Development rows\n\n{len(drawn)} rows of D, in neither A nor E.")

    plan = stage.Plan("jigsaw-development", {"sets": sets}, {"per_label": PER_LABEL, "near": NEAR}, (frozen,))
    return stage.run(plan, out, work, progress).path
