"""The stage `train split`: one file a part, the test sets pinned, and the leak check run on what was made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.rollout.answers.tasks import Task
from graduand.training.data import frozen, labels
from graduand.training.data.leaks import refuse_leaks
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample, read_samples, write_samples
from graduand.training.data.split import TRAIN, VALID, Sizes, Split, around, split
from graduand.training.stages import markdown
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """What the split is made by."""

    task: Task
    labels_from: str
    sizes: Sizes
    seed: int
    joins: tuple[str, ...]
    threshold: float

    def as_json(self) -> dict[str, Any]:
        """The stage's parameters."""
        sizes = {"indist": self.sizes.indist, "per_label": self.sizes.per_label, "valid": self.sizes.valid}
        return {
            "task": labels.as_json(self.task),
            "labels_from": self.labels_from,
            **sizes,
            "seed": self.seed,
            "join": list(self.joins),
            "threshold": self.threshold,
        }


def work(data: Path, keep: Path | None, settings: SplitSettings) -> Work:
    """The stage's work; with `keep`, the test sets of that folder stay as they are."""

    def run(folder: Path, progress: Progress) -> Outcome:
        samples = read_samples(data)
        progress.say(f"{len(samples)} rows: looking for groups")
        if keep is None:
            tests, rest, made, left_out = _fresh(samples, settings)
        else:
            tests, rest, made, left_out = _kept(samples, frozen.read_frozen(keep), settings)
        for name, part in (tests | rest).items():
            write_samples(folder / f"{name}.jsonl", part)
        frozen.freeze(folder, tests)
        for part in rest.values():
            _check(part, tests, settings)
        if VALID in rest:
            _check(rest[TRAIN], {VALID: rest[VALID]}, settings)
        return _outcome(tests | rest, made, left_out)

    return run


Parts = dict[str, list[Sample]]


def _fresh(samples: list[Sample], settings: SplitSettings) -> tuple[Parts, Parts, Split, dict[str, str]]:
    kept, found, refused = labels.labelled(settings.task, samples, settings.labels_from)
    if not kept:
        reason = next(iter(refused.values()))
        raise DataError(f"no row has a label by {settings.labels_from!r} ({reason}); give another --labels-from")
    made = split(kept, found, settings.sizes, settings.seed, settings.joins, settings.threshold)
    rest = {name: part for name, part in made.parts.items() if name in (TRAIN, VALID)}
    return {name: part for name, part in made.parts.items() if name not in rest}, rest, made, refused


def _kept(samples: list[Sample], tests: Parts, settings: SplitSettings) -> tuple[Parts, Parts, Split, dict[str, str]]:
    free, touched = around(samples, tests, settings.joins, settings.threshold)
    kept, found, refused = labels.labelled(settings.task, free, settings.labels_from)
    made = split(kept, found, Sizes(0, 0, settings.sizes.valid), settings.seed, settings.joins, settings.threshold)
    return tests, dict(made.parts), made, refused | dict.fromkeys(touched, "belongs to a frozen test row")


def _check(part: list[Sample], tests: Parts, settings: SplitSettings) -> None:
    """Every reason is checked whatever was joined: a split by less than conversations and duplicates would leak."""
    refuse_leaks(part, tests, settings.threshold, users="user" in settings.joins)


def _outcome(parts: Parts, made: Split, left_out: dict[str, str]) -> Outcome:
    reasons: dict[str, int] = {}
    for reason in left_out.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    rows = {name: len(part) for name, part in parts.items()}
    figures: dict[str, Any] = {
        "parts": rows,
        "groups": made.groups,
        "largest_group": made.largest_group,
        "left_out": reasons,
    }
    report = [
        "# Split",
        markdown.table(("part", "rows"), rows.items()),
        f"{made.groups} groups, the largest of {made.largest_group} rows; none is in two parts. No training row leaks.",
        markdown.table(("left out because", "rows"), reasons.items()) if reasons else "Nothing was left out.",
        f"The test sets are pinned in `{frozen.PINS}`. Keep them when the data grows: `graduand train split --keep`.",
    ]
    return Outcome(figures, "\n\n".join(report))
