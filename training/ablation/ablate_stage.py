"""The stage `train ablate`: learn from nested subsets with several seeds, score on the frozen test sets, fit the laws.

Resumable: each size and seed is written down as soon as it is known. Invariant: a subset that has one label only is an
error of all its rows' majority, never left out; no law is drawn where the curve does not allow one.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.rollout.answers.tasks import Task
from graduand.training.ablation import laws, subsets
from graduand.training.ablation.laws import Law, Point
from graduand.training.baselines import majority, tfidf
from graduand.training.data import labels
from graduand.training.data.frozen import read_frozen
from graduand.training.data.leaks import refuse_leaks
from graduand.training.data.samples import Sample, read_samples
from graduand.training.stages import markdown, plots
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import Outcome, Work

POINTS = "points.jsonl"
# Learns from samples with their labels, drawn by a seed; answers with labels for each test set's samples.
Learn = Callable[
    [Sequence[Sample], Sequence[str], int, Mapping[str, Sequence[Sample]]], Mapping[str, Sequence[str | None]]
]


@dataclass(frozen=True, slots=True)
class AblationSettings:
    """The curve: which labels, which shares of the rows, and how many seeds."""

    task: Task
    labels_from: str
    shares: tuple[float, ...]
    seeds: int
    leak_threshold: float


def with_tfidf(
    samples: Sequence[Sample], learned: Sequence[str], _: int, tests: Mapping[str, Sequence[Sample]]
) -> dict[str, list[str]]:
    """The cheap thing to fit: seconds for a whole curve."""
    texts = [sample.text for sample in samples]
    one_label = len(set(learned)) < 2
    model: majority.Majority | tfidf.TfIdf = majority.fit(learned) if one_label else tfidf.fit(texts, learned)
    return {name: model.predict([sample.text for sample in asked]) for name, asked in tests.items()}


def work(data: Path, tests: Path, settings: AblationSettings, learn: Learn) -> Work:
    """The stage's work."""

    def run(folder: Path, progress: Progress) -> Outcome:
        frozen = read_frozen(tests)
        kept, learned, _ = labels.labelled(settings.task, read_samples(data), settings.labels_from)
        refuse_leaks(kept, frozen, settings.leak_threshold)
        label_of = dict(zip((sample.id for sample in kept), learned, strict=True))
        asked = {name: labels.labelled(settings.task, samples, "gold")[:2] for name, samples in frozen.items()}
        todo = [(size, seed) for size in subsets.sizes(len(kept), settings.shares) for seed in range(settings.seeds)]
        laws.check_sizes([size for size, _ in todo])
        known = _read(folder / POINTS)
        for done, (size, seed) in enumerate(todo):
            progress.step(done, len(todo), f"{size} rows, seed {seed}")
            if (size, seed) in known:
                continue
            chosen = subsets.subset(kept, size, seed)
            said = learn(
                chosen, [label_of[s.id] for s in chosen], seed, {name: pair[0] for name, pair in asked.items()}
            )
            errors = {name: _error(asked[name][1], said[name]) for name in asked}
            known[size, seed] = errors
            with (folder / POINTS).open("a") as file:
                file.write(json.dumps({"rows": size, "seed": seed, "errors": errors}) + "\n")
        progress.step(len(todo), len(todo), "laws")
        return _outcome(folder, [(size, seed, known[size, seed]) for size, seed in todo])

    return run


def _read(path: Path) -> dict[tuple[int, int], dict[str, float]]:
    """What an earlier run has written; a last line that a kill cut off is done again."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found[entry["rows"], entry["seed"]] = entry["errors"]
    if path.is_file():  # without the torn line, so that the next one begins on a line of its own
        path.write_text("".join(json.dumps({"rows": r, "seed": s, "errors": e}) + "\n" for (r, s), e in found.items()))
    return found


def _error(gold: Sequence[str], said: Sequence[str | None]) -> float:
    return sum(one != other for one, other in zip(gold, said, strict=True)) / len(gold)


def _outcome(folder: Path, found: Sequence[tuple[int, int, dict[str, float]]]) -> Outcome:
    curves = {name: [Point(rows, seed, errors[name]) for rows, seed, errors in found] for name in found[0][2]}
    figures: dict[str, Any] = {"tests": {}}
    parts, lines = ["# Data size"], dict[str, list[tuple[float, float]]]()
    for name, points in curves.items():
        both, (low, high) = laws.fit(points), laws.band(points)
        means = _means(points)
        rows = both[0].largest
        best = min(both, key=lambda law: law.miss)
        figures["tests"][name] = {
            "sizes": [{"rows": size, "error": mean, "spread": spread} for size, mean, spread in means],
            "laws": [law.as_json() for law in both], "gain_of_doubling": [low, best.gain, high],
        }  # fmt: skip
        lines[name] = [(size, 1 - mean) for size, mean, _ in means]
        lines[f"{name}, {best.name} law"] = [
            (size, 1 - best.error(size)) for size in (*(each[0] for each in means), 2 * rows, 4 * rows)
        ]
        parts += [f"## {name}", _table(means), _laws(both), _verdict(rows, best, low, high)]
    picture = plots.curve(folder / "curve.png", "Accuracy by rows", "rows learned from", lines)
    return Outcome(figures, "\n\n".join([parts[0], markdown.picture(picture, "accuracy by rows"), *parts[1:]]))


def _means(points: Sequence[Point]) -> list[tuple[int, float, float]]:
    by_size: dict[int, list[float]] = {}
    for point in points:
        by_size.setdefault(point.rows, []).append(point.error)
    return [(size, statistics.mean(errors), statistics.pstdev(errors)) for size, errors in sorted(by_size.items())]


def _table(means: Sequence[tuple[int, float, float]]) -> str:
    rows = [(size, f"{1 - mean:.4f}", f"{spread:.4f}") for size, mean, spread in means]
    return markdown.table(("rows", "mean accuracy", "spread over seeds"), rows)


def _laws(both: Sequence[Law]) -> str:
    rows = [
        (law.name, f"{law.floor:.4f}", f"{law.scale:.4g}", f"{law.power:.2f}", f"{law.bend:g}", f"{law.miss:.4f}")
        for law in both
    ]
    return markdown.table(("law", "E", "B", "b", "D0", "miss"), rows)


def _verdict(rows: int, best: Law, low: float, high: float) -> str:
    worth = "more rows are worth their price" if low > 0.005 else "more rows may well bring nothing"
    return (
        f"Doubling the {rows} rows would bring {best.gain:+.3f} accuracy, between {low:+.3f} and {high:+.3f} (95%, over "
        f"seeds and both laws): {worth}. Past {laws.FARTHEST:g} times the rows nothing is said."
    )
