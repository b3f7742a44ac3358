"""Does a confidence threshold keep its promise on real comments? `python -m benchmarks.jigsaw_promise FOLDER`.

FOLDER has comments with GPT-4's recorded answers (train.6 and train.5k). The student is a logistic
regression on word and character n-grams that are weighed by their log ratio in the classes, trained on train.6 with GPT-4's
labels; the scorer is the product's, on the features of a one-token answer. Pairs are the comments of train.5k that
the student has not seen. Each split takes 3,000 of them at random, learns as the product does, and counts disagreement
among what would be released: of the comments left over (whose counts are small), and of all of them, which is the true
rate that the pairs were drawn from. Numbers and picture go to benchmarks/results/jigsaw_promise.json and .png.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union

from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.tasks import read
from graduand.rollout.hybrid.calibration import Logistic
from graduand.rollout.hybrid.learning import Classes, Learning, Terms, advance, due, next_at
from graduand.rollout.hybrid.pairs import Pair

TASK = read({"kind": "label", "labels": [0, 1], "field": "is_bad"})
RESULTS = Path(__file__).parent / "results" / "jigsaw_promise"
RISK, DELTA, PAIRS = 0.05, 0.1, 3000
MODES: tuple[Classes, ...] = ("none", "student", "teacher")
AT = (300, 500, 750, 1000, 1500, 2000, 3000)
LONG = (5000, 10_000, 20_000)
NAMES = {"none": "over everything", "student": "each label of the student's", "teacher": "each label of either side"}
COLOURS = {"none": "#0b6e4f", "student": "#2166ac", "teacher": "#b2182b"}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Comments that both have labelled; features of the student's answer."""

    student: Ints
    teacher: Ints
    vectors: Floats

    @property
    def agreed(self) -> NDArray[np.bool_]:
        return np.asarray(self.student == self.teacher)

    def pair(self, place: int, unit: int) -> Pair:
        """One comment as a pair of a user of its own."""
        said, meant = str(self.student[place]), str(self.teacher[place])
        return Pair(unit, float(unit), tuple(self.vectors[place].tolist()), said == meant, said, meant)


def labelled(folder: Path, name: str) -> list[tuple[str, str, int]]:
    """Id, text and GPT-4's label of each comment whose answer can be read."""
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [(row, compare(TASK, row.get("gpt4_raw") or "", "0").teacher) for row in rows]
    return [(row["id"], row["text"], int(label)) for row, label in found if label]


def pool(folder: Path) -> Pool:
    """The student trained on train.6, asked about what it has not seen of train.5k."""
    train = labelled(folder, "train.6")
    seen = {number for number, _, _ in train}
    fresh = [row for row in labelled(folder, "train.5k") if row[0] not in seen]
    texts, labels = [text for _, text, _ in train], np.array([label for _, _, label in train])
    asked = [text for _, text, _ in fresh]
    grams = make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, strip_accents="unicode"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True),
    )
    found = grams.fit_transform(texts)
    toxic, rest = found[labels == 1].sum(0) + 1, found[labels == 0].sum(0) + 1
    ratio = np.asarray(np.log((toxic / toxic.sum()) / (rest / rest.sum()))).ravel()
    by_grams = LogisticRegression(C=4, max_iter=3000, class_weight="balanced").fit(
        found.multiply(ratio).tocsr(), labels
    )
    p = by_grams.predict_proba(grams.transform(asked).multiply(ratio).tocsr())[:, 1]
    p = np.clip(p, 1e-9, 1 - 1e-9)
    student, margin = (p > 0.5).astype(np.int64), np.abs(np.log(p / (1 - p)))
    taken = np.log(np.maximum(p, 1 - p))
    return Pool(student, np.array([label for *_, label in fresh]), np.column_stack([margin, margin, margin, taken]))


def released(known: Learning, comments: Pool) -> NDArray[np.bool_]:
    """Which comments the learnt cuts let through."""
    if known.frozen is None or known.threshold is None:
        return np.zeros(len(comments.student), bool)
    cuts = known.threshold.cuts
    fit = known.frozen.scorer
    scores = Logistic(fit.bias, fit.weights, fit.means, fit.scales)(comments.vectors)
    return np.asarray(scores >= np.array([cuts.get(str(said), cuts.get("", 2.0)) for said in comments.student]))


def risks(through: NDArray[np.bool_], comments: Pool, among: NDArray[np.bool_]) -> dict[str, float | None]:
    """Disagreement among what is released, of all and by class; None where nothing is."""
    groups = {"all": np.ones(len(through), bool)}
    for label in (0, 1):
        groups[f"student says {label}"] = comments.student == label
        groups[f"teacher says {label}"] = comments.teacher == label
    found: dict[str, float | None] = {}
    for name, group in groups.items():
        out = through & among & group
        found[name] = float((out & ~comments.agreed).sum() / out.sum()) if out.any() else None
    return found


def course(pairs: list[Pair], classes: Classes, comments: Pool, at: tuple[int, ...]) -> tuple[list[float], Learning]:
    """True coverage after so many pairs, and what is known at the end."""
    terms, known, coverage = Terms(RISK, DELTA, "classifier", classes), Learning(), []
    for mark in at:
        while due(known, mark):
            before, known = known, advance(known, pairs[: next_at(known)], terms, 0.0)
            if known == before:
                break
        coverage.append(float(released(known, comments).mean()))
    return coverage, known


def splits(comments: Pool, classes: Classes, runs: int) -> dict[str, Any]:
    """Many random splits: how often the promise is broken, and the coverage."""
    size = len(comments.student)
    curves, rows = [], []
    for seed in range(runs):
        print(f"\r{classes}: split {seed + 1} of {runs}", end="", file=sys.stderr, flush=True)
        order = np.random.default_rng(seed).permutation(size)
        pairs = [comments.pair(int(place), seed * size + at) for at, place in enumerate(order[:PAIRS])]
        coverage, known = course(pairs, classes, comments, AT)
        through, held_out = released(known, comments), np.ones(size, bool)
        held_out[order[:PAIRS]] = False
        curves.append(coverage)
        rows.append((risks(through, comments, held_out), risks(through, comments, np.ones(size, bool))))
    above = {}
    for name in rows[0][0]:
        shown = [(one[name], whole[name]) for one, whole in rows]
        above[name] = {
            "held out": sum(one is not None and one > RISK for one, _ in shown) / runs,
            "all comments": sum(whole is not None and whole > RISK for _, whole in shown) / runs,
            "mean risk": float(np.mean([whole for _, whole in shown if whole is not None] or [0.0])),
            "splits that release some": sum(whole is not None for _, whole in shown) / runs,
        }
    mean = np.mean(curves, axis=0)
    low, high = np.quantile(curves, [0.1, 0.9], axis=0)
    points = [dict(zip(("pairs", "mean", "low", "high"), map(float, row), strict=True))
              for row in zip(AT, mean, low, high, strict=True)]  # fmt: skip
    return {"classes": classes, "splits": runs, "share of splits with a risk above": above, "coverage": points}


def longer(comments: Pool, classes: Classes, runs: int) -> list[dict[str, float]]:
    """Coverage from more pairs than there are comments: drawn with replacement, so each is a user's anew."""
    curves = []
    for seed in range(runs):
        places = np.random.default_rng(1000 + seed).integers(len(comments.student), size=LONG[-1])
        pairs = [comments.pair(int(place), at) for at, place in enumerate(places)]
        curves.append(course(pairs, classes, comments, LONG)[0])
    rows = zip(LONG, np.mean(curves, axis=0), *np.quantile(curves, [0.1, 0.9], axis=0), strict=True)
    return [dict(zip(("pairs", "mean", "low", "high"), map(float, row), strict=True)) for row in rows]


def best(comments: Pool) -> dict[str, float]:
    """The greatest coverage that any pair of cuts has while the true risks are kept: what no proof can exceed."""
    margin = comments.vectors[:, 0]
    grids = [
        np.append(np.quantile(margin[comments.student == label], np.linspace(0, 1, 60)), math.inf) for label in (0, 1)
    ]
    found: dict[str, float] = dict.fromkeys(MODES, 0.0)
    everything = np.ones(len(margin), bool)
    for low in grids[0]:
        for high in grids[1]:
            through = margin >= np.where(comments.student == 0, low, high)
            seen = {name: risk for name, risk in risks(through, comments, everything).items() if risk is not None}
            asked = {"none": ("all",), "student": ("all", "student"), "teacher": ("all", "student", "teacher")}
            for mode in MODES:
                kept = all(risk <= RISK for name, risk in seen.items() if name.startswith(asked[mode]))
                found[mode] = max(found[mode], float(through.mean())) if kept else found[mode]
    return found


def draw(data: dict[str, Any], path: Path) -> None:
    """Coverage against pairs, one line for each promise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 4.6))
    for one in data["modes"]:
        mode, points = one["classes"], [*one["coverage"], *one["longer"]]
        xs = [point["pairs"] for point in points]
        panel.plot(xs, [100 * point["mean"] for point in points], "o-", color=COLOURS[mode], ms=3, label=NAMES[mode])
        panel.fill_between(
            xs, [100 * point["low"] for point in points], [100 * point["high"] for point in points],
            color=COLOURS[mode], alpha=0.12, linewidth=0,
        )  # fmt: skip
        panel.axhline(100 * data["best possible coverage"][mode], color=COLOURS[mode], linestyle=":", linewidth=1)
    panel.axvline(PAIRS, color="#7b8794", linewidth=0.8)
    panel.text(PAIRS, 1, " beyond: comments drawn again", color="#7b8794", fontsize=8)
    panel.set(xscale="log", ylim=(0, 100), xlabel="pairs (half to fit, half to prove)")
    panel.set_ylabel("released by the student, percent of comments")
    panel.set_title(f"risk {RISK}, delta {DELTA} (dotted: best possible)", loc="left", fontsize=10)
    panel.legend(frameon=False, fontsize=9)
    panel.grid(color="#e8ecf0")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def told(data: dict[str, Any]) -> None:
    """The same for a terminal."""
    print(f"{data['comments']} comments; the student agrees with GPT-4 on {data['agreement']:.1%}")
    for one in data["modes"]:
        possible = data["best possible coverage"][one["classes"]]
        print(f"\npromise {NAMES[one['classes']]} ({one['splits']} splits); at best {possible:.1%}")
        print(
            "  coverage: " + ", ".join(f"{p['pairs']:.0f}: {p['mean']:.1%}" for p in [*one["coverage"], *one["longer"]])
        )
        for name, share in one["share of splits with a risk above"].items():
            print(
                f"  {name}: above {RISK} in {share['held out']:.1%} of splits (held out), {share['all comments']:.1%} (all "
                f"comments); mean {share['mean risk']:.2%}; released in {share['splits that release some']:.0%}"
            )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="the folder of the recorded answers")
    arguments.add_argument("--splits", type=int, default=200)
    arguments.add_argument("--longer", type=int, default=5, help="runs with comments drawn again")
    given = arguments.parse_args()
    began = time.monotonic()
    comments = pool(given.folder)
    print(f"{len(comments.student)} comments after {time.monotonic() - began:.0f} s", file=sys.stderr)
    found = [{**splits(comments, mode, given.splits), "longer": longer(comments, mode, given.longer)} for mode in MODES]
    data = {
        "student": "logistic regression on weighed word and character n-grams, trained on train.6 with GPT-4's labels",
        "scorer": "the product's logistic fit on the features of a one-token answer, cuts by label",
        "risk": RISK, "delta": DELTA, "comments": len(comments.student), "agreement": float(comments.agreed.mean()),
        "teacher says 1": float(comments.teacher.mean()), "best possible coverage": best(comments), "modes": found,
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    told(data)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    draw(data, RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
