"""Drift on real text: requests between false alarms on held-out text, and how soon other text is noticed.

`python -m benchmarks.drift --jigsaw DIR` takes comments (JSON lines with `text`) for the usual traffic; without it, the
docstrings of Python's standard library. What drifts in are paragraphs and summaries of the Python packages installed
here. Twenty runs each way, each with another split into training and held-out texts; the seed gives all of it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.drift_report import markdown, plot
from benchmarks.drift_texts import comments, descriptions, docstrings, summaries
from graduand.monitoring.drift.describe import Description, describe
from graduand.monitoring.drift.descriptors import Descriptors
from graduand.monitoring.drift.mix import MixShift
from graduand.monitoring.drift.neighbours import scores
from graduand.monitoring.drift.novelty import Novelty
from graduand.monitoring.drift.prompts import Prompt
from graduand.monitoring.drift.reference import Reference, build
from graduand.monitoring.embedding.embedder import Embedder, Vector
from graduand.monitoring.embedding.named import NAMES, load

Json = dict[str, Any]
RUNS = 20
TRAINING = 6_000
PROMISES = (1_000, 10_000)
PROMISE = 10_000
CONTAMINATION = (0.1, 0.2, 0.5, 1.0)
BEFORE, PATIENCE, LONG = 200, 5_000, 10_000
RESULTS = Path(__file__).parent / "results"

Observation = tuple[tuple[float, float], Vector, Description]
Detector = Callable[[Observation], bool]


class Remembering:
    """An embedder that embeds each text once."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.digest = embedder.name, embedder.digest
        self._embed = embedder.embed
        self._known: dict[str, Vector] = {}
        self.seconds = 0.0

    def embed(self, text: str) -> Vector:
        """The text's point."""
        found = self._known.get(text)
        if found is None:
            began = time.process_time()
            found = self._known[text] = self._embed(text)
            self.seconds += time.process_time() - began
        return found

    @property
    def ms_per_text(self) -> float:
        """What a text cost."""
        return 1000 * self.seconds / max(len(self._known), 1)


def detectors(reference: Reference, promise: float) -> dict[str, Detector]:
    """Fresh ones, each with its part of an observation."""
    novelty = Novelty(reference.scores.tolist(), promise)
    mix = MixShift(reference.whitening, reference.nulls, promise)
    described = Descriptors(reference.spreads, promise)
    return {
        "novelty": lambda seen: novelty.update(seen[0]),
        "mix": lambda seen: mix.update(seen[1]),
        "descriptors": lambda seen: described.update(seen[2]),
    }


class Split:
    """One run: a reference set from some of the usual texts, and what the detectors see of all others."""

    def __init__(self, usual: Sequence[str], drifting: dict[str, list[str]], embedder: Embedder, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        order = self.rng.permutation(len(usual))
        count = min(TRAINING, len(usual) * 4 // 5)
        self.reference = build([Prompt(usual[index]) for index in order[:count]], embedder, seed)
        self._near = self.reference.neighbours()
        self._embedder = embedder
        self.held_out = [self._seen(usual[index]) for index in order[count:]]
        self.drifting = {name: [self._seen(text) for text in texts] for name, texts in drifting.items()}

    def _seen(self, text: str) -> Observation:
        point = self._embedder.embed(text)
        return scores(self._near, self.reference.usual, point, len(text)), point, describe(text)

    def false_alarms(self, promise: float, requests: int) -> dict[str, int]:
        """Alarms among held-out texts: each once if `requests` is 0, else so many drawn again and again."""
        size = len(self.held_out)
        order = self.rng.integers(size, size=requests) if requests else self.rng.permutation(size)
        watching = detectors(self.reference, promise)
        return {name: sum(update(self.held_out[index]) for index in order) for name, update in watching.items()}

    def delays(self, source: str, share: float) -> dict[str, int]:
        """Requests until the alarm, when a share of them comes from elsewhere after 200 usual ones."""
        found = {}
        for name, update in detectors(self.reference, PROMISE).items():
            for index in self.rng.integers(len(self.held_out), size=BEFORE):
                update(self.held_out[index])
            found[name] = next((n for n in range(1, PATIENCE + 1) if update(self._draw(source, share))), PATIENCE)
        return found

    def _draw(self, source: str, share: float) -> Observation:
        texts = self.drifting[source] if self.rng.random() < share else self.held_out
        return texts[self.rng.integers(len(texts))]

    def auc(self, source: str) -> list[float]:
        """How well each novelty score alone tells the sources apart."""
        usual = np.array([seen[0] for seen in self.held_out])
        other = np.array([seen[0] for seen in self.drifting[source]])
        return [float((other[:, None, k] > usual[None, :, k]).mean()) for k in (0, 1)]


def measure(usual: list[str], drifting: dict[str, list[str]], name: str, runs: int, seed: int) -> Json:
    """All runs with one embedder."""
    embedder = Remembering(load(name))
    once: dict[tuple[int, str], list[int]] = {}
    again: dict[str, int] = {}
    delays: dict[tuple[str, float, str], list[int]] = {}
    aucs: dict[str, list[list[float]]] = {source: [] for source in drifting}
    held_out = calibration = 0
    for run in range(runs):
        split = Split(usual, drifting, embedder, seed + run)
        held_out, calibration = held_out + len(split.held_out), split.reference.scores.shape[1]
        for promise in PROMISES:
            for monitor, count in split.false_alarms(promise, 0).items():
                once.setdefault((promise, monitor), []).append(count)
        for monitor, count in split.false_alarms(PROMISE, LONG).items():
            again[monitor] = again.get(monitor, 0) + count
        for source in drifting:
            aucs[source].append(split.auc(source))
            for share in CONTAMINATION:
                for monitor, delay in split.delays(source, share).items():
                    delays.setdefault((source, share, monitor), []).append(delay)
        print(f"{name}: run {run + 1} of {runs}", file=sys.stderr, flush=True)
    return {
        "embedder": name, "ms_per_text": round(embedder.ms_per_text, 3), "calibration": calibration,
        "auc": {source: [round(float(value), 3) for value in np.mean(found, axis=0)] for source, found in aucs.items()},
        "held_out": [
            {"monitor": monitor, "promise": promise, "requests": held_out, "alarms": sum(counts), "drawn": "once"}
            for (promise, monitor), counts in once.items()
        ] + [
            {"monitor": monitor, "promise": PROMISE, "requests": runs * LONG, "alarms": count, "drawn": "again"}
            for monitor, count in again.items()
        ],
        "delays": [
            {"source": source, "share": share, "monitor": monitor, "mean": round(mean(found), 1),
             "median": median(found), "missed": sum(delay >= PATIENCE for delay in found), "runs": found}
            for (source, share, monitor), found in delays.items()
        ],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jigsaw", type=Path, default=os.environ.get("GRADUAND_JIGSAW"), metavar="DIR")
    parser.add_argument("--embedders", nargs="+", default=["static", "minilm"], choices=NAMES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR")
    given = parser.parse_args(arguments)
    usual = comments(Path(given.jigsaw)) if given.jigsaw else docstrings()
    drifting = {"paragraphs": descriptions(), "summaries": summaries()}
    what = "comments of the Jigsaw challenge" if given.jigsaw else "docstrings of the standard library"
    result: Json = {
        "usual": f"{len(usual):,} {what}", "sources": {name: len(texts) for name, texts in drifting.items()},
        "runs": given.runs, "seed": given.seed, "promise": PROMISE, "patience": PATIENCE,
        "embedders": [measure(usual, drifting, name, given.runs, given.seed) for name in given.embedders],
    }  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "drift.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "drift.md").write_text(markdown(result))
    plot(result, given.out / "drift.png")
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
