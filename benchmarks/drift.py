"""Drift on real text: requests between false alarms on held-out text, and how soon other text is noticed.

`python -m benchmarks.drift --jigsaw DIR` takes comments (JSON lines with `text`) for the usual traffic; without it, the
docstrings of Python's standard library. What drifts in are paragraphs and summaries of the Python packages installed
here. Twenty runs each way, each with another split into training and held-out texts; the seed gives all of it.
"""

import argparse
import ast
import importlib.metadata
import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from monitoring.drift.describe import Description, describe
from monitoring.drift.descriptors import Descriptors
from monitoring.drift.mix import MixShift
from monitoring.drift.neighbours import scores
from monitoring.drift.novelty import Novelty
from monitoring.drift.prompts import Prompt
from monitoring.drift.reference import Reference, build
from monitoring.embedding import Embedder, Vector, load

Json = dict[str, Any]
RUNS = 20
TRAINING = 6_000
PROMISES = (1_000, 10_000)
PROMISE = 10_000
CONTAMINATION = (0.1, 0.2, 0.5, 1.0)
BEFORE, PATIENCE, LONG = 200, 5_000, 10_000
SHORTEST, LONGEST = 40, 2_000
RESEARCH = {"static": (567, 144, 38, 15), "minilm": (180, 83, 21, 9)}
RESULTS = Path(__file__).parent / "results"

Observation = tuple[tuple[float, float], Vector, Description]
Detector = Callable[[Observation], bool]


def comments(folder: Path) -> list[str]:
    """The texts of all JSON-lines files in a folder but the balanced test set, whose mix is another."""
    files = [path for path in sorted(folder.glob("*.jsonl")) if "balanced" not in path.name]
    found = (json.loads(line)["text"] for path in files for line in path.read_text("utf-8").splitlines())
    return sorted(set(found))


def docstrings() -> list[str]:
    """First paragraphs of the standard library's docstrings."""
    found: set[str] = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.update(_paragraphs(ast.get_docstring(node) or ""))
    return sorted(found)


def descriptions() -> list[str]:
    """Paragraphs of the installed packages' descriptions, at most forty of each."""
    found: set[str] = set()
    for package in importlib.metadata.distributions():
        body = package.metadata.get_payload()  # type: ignore[attr-defined]
        text = body if isinstance(body, str) and body.strip() else package.metadata.get("Description") or ""
        found.update(list(_paragraphs(text))[:40])
    return sorted(found)


def summaries() -> list[str]:
    """The installed packages' one-line summaries."""
    lines = {package.metadata.get("Summary") or "" for package in importlib.metadata.distributions()}
    return sorted(line for line in lines if len(line) >= SHORTEST)


def _paragraphs(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split("\n\n") if SHORTEST <= len(part.strip()) <= LONGEST)


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
            began = time.perf_counter()
            found = self._known[text] = self._embed(text)
            self.seconds += time.perf_counter() - began
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


def markdown(result: Json) -> str:
    """The tables."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in result["sources"].items())
    lines = [
        "# Drift on real text", "",
        f"`python -m benchmarks.drift`, {result['runs']} runs each way, seed {result['seed']}. Usual traffic: "
        f"{result['usual']}; drifting in: paragraphs or summaries of installed Python packages ({sizes}).", "",
        "## Requests between false alarms", "",
        "Held-out text, never seen by the reference set. Drawn once: each text once a run, in random order; again: 10,000 "
        "draws a run.", "",
        "| embedder | monitor | promised | drawn | requests | alarms | requests an alarm |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in result["embedders"]:
        for row in one["held_out"]:
            length = f"{row['requests'] / row['alarms']:,.0f}" if row["alarms"] else f"> {row['requests']:,}"
            lines.append(
                f"| {one['embedder']} | {row['monitor']} | {row['promise']:,} | {row['drawn']} | {row['requests']:,} | "
                f"{row['alarms']} | {length} |"
            )
    lines += [
        "", "## Requests until a drift is noticed", "",
        f"Mean of {result['runs']} runs (median), promise {PROMISE:,}, after {BEFORE} usual requests; {PATIENCE:,} means not "
        "noticed by then. Research: the figures of the study that the method is taken from, on its own texts.", "",
        "| embedder | drifting in | monitor | 10% | 20% | 50% | 100% |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in result["embedders"]:
        for source, monitor in dict.fromkeys((row["source"], row["monitor"]) for row in one["delays"]):
            rows = [row for row in one["delays"] if (row["source"], row["monitor"]) == (source, monitor)]
            cells = " | ".join(f"{row['mean']:,.0f} ({row['median']:,.0f})" for row in rows)
            lines.append(f"| {one['embedder']} | {source} | {monitor} | {cells} |")
        study = " | ".join(str(value) for value in RESEARCH[one["embedder"]])
        lines.append(f"| {one['embedder']} | research | novelty | {study} |")
    lines += ["", "## Embedders", "",
              "AUC of the distance alone, and of the distance in units of what is usual for a text of that length.", "",
              "| embedder | ms a text | AUC paragraphs | AUC summaries | research |", "|---|---|---|---|---|"]  # fmt: skip
    study_of = {"static": "AUC .905, 0.14 ms", "minilm": "AUC .952, 7.7 ms"}
    for one in result["embedders"]:
        cells = " | ".join(
            ", ".join(f"{value:.3f}" for value in one["auc"][name]) for name in ("paragraphs", "summaries")
        )
        lines.append(f"| {one['embedder']} | {one['ms_per_text']} | {cells} | {study_of[one['embedder']]} |")
    return "\n".join([*lines, "", "![delay by contamination](drift.png)", ""])


def plot(result: Json, path: Path) -> None:
    """Delay by contamination, and requests between false alarms against the promise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.6), gridspec_kw={"width_ratios": [3, 2]})
    colours = {"static": "#1f6feb", "minilm": "#d1570a"}
    styles = {"paragraphs": "-", "summaries": "--"}
    shares = [100 * share for share in CONTAMINATION]
    for one in result["embedders"]:
        for source, style in styles.items():
            rows = [row for row in one["delays"] if (row["source"], row["monitor"]) == (source, "novelty")]
            left.plot(shares, [row["mean"] for row in rows], style, marker="o", color=colours[one["embedder"]],
                      label=f"{one['embedder']}, {source}")  # fmt: skip
        study = RESEARCH[one["embedder"]]
        left.plot(shares, study, ":", marker="x", color=colours[one["embedder"]], label=f"{one['embedder']}, research")
    left.set(xscale="log", yscale="log", xlabel="share of requests from elsewhere (%)",
             ylabel="requests until the alarm (mean)", title=f"Novelty: how soon a drift is noticed ({result['runs']} runs)")  # fmt: skip
    left.set_xticks(shares, [f"{share:g}" for share in shares])
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    bars = [(one["embedder"], row) for one in result["embedders"] for row in one["held_out"] if row["drawn"] == "again"]
    names = [f"{embedder}\n{row['monitor']}" for embedder, row in bars]
    # Without an alarm the run is at least as long as all requests together.
    lengths = [row["requests"] / max(row["alarms"], 1) for _, row in bars]
    right.bar(names, lengths, color=[colours[embedder] for embedder, _ in bars])
    for place, (_, row) in enumerate(bars):
        right.text(place, lengths[place], f"{row['alarms']} alarms", ha="center", va="bottom", fontsize=8)
    right.axhline(PROMISE, color="black", linewidth=1)
    right.axhline(PROMISE / 2, color="black", linewidth=1, linestyle=":")
    right.text(-0.45, PROMISE, "promised", va="bottom", fontsize=8)
    right.set(yscale="log", ylabel="requests an alarm", title="Held-out text: between false alarms")
    right.tick_params(axis="x", labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jigsaw", type=Path, default=os.environ.get("GRADUAND_JIGSAW"), metavar="DIR")
    parser.add_argument("--embedders", nargs="+", default=["static", "minilm"], choices=list(RESEARCH))
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR")
    given = parser.parse_args(arguments)
    usual = comments(Path(given.jigsaw)) if given.jigsaw else docstrings()
    drifting = {"paragraphs": descriptions(), "summaries": summaries()}
    what = "comments of the Jigsaw challenge" if given.jigsaw else "docstrings of the standard library"
    result: Json = {
        "usual": f"{len(usual):,} {what}", "sources": {name: len(texts) for name, texts in drifting.items()},
        "runs": given.runs, "seed": given.seed,
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
