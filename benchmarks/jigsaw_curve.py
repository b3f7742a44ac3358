"""A cost-quality curve on real comments with GPT-4's recorded answers: `python -m benchmarks.jigsaw_curve FOLDER`.

FOLDER has the recorded answers; numbers and picture go to benchmarks/results/jigsaw_curve.json and .png.

The student is a TF-IDF baseline that answers as text, so its answers are read and compared like a model's. Trained on
train.6, its threshold learnt as the product does on most of train.5k, judged on the rest of it and on the two test sets.
"""

import json
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import mmh3
import numpy as np
from scipy import optimize, sparse, special

from graduand.gateway.control.study import tradeoff
from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.tasks import read
from graduand.rollout.hybrid.curve import curve
from graduand.rollout.hybrid.learning import Learning, Terms, advance, due, next_at
from graduand.rollout.hybrid.pairs import Pair

TASK = read({"kind": "label", "labels": [0, 1], "field": "is_bad"})
SIZE = 1 << 18
RESULTS = Path(__file__).parent / "results" / "jigsaw_curve"
WORD = re.compile(r"\w+|[!?*]+")


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def counts(texts: list[str]) -> sparse.csr_matrix:
    """Hashed words, pairs of words and pieces of words."""
    data, places, ends = [], [], [0]
    for text in texts:
        words = WORD.findall(text.casefold())
        padded = [f"<{word}>" for word in words]
        pieces = [word[at : at + 4] for word in padded for at in range(len(word) - 3)]
        pairs = [f"{one} {other}" for one, other in pairwise(words)]
        found = Counter(mmh3.hash(piece, signed=False) % SIZE for piece in words + pairs + pieces)
        places += found.keys()
        data += np.log1p(list(found.values())).tolist()
        ends.append(len(places))
    return sparse.csr_matrix((data, places, ends), shape=(len(texts), SIZE))


class Student:
    """TF-IDF and logistic regression."""

    def __init__(self, texts: list[str], labels: np.ndarray) -> None:
        table = counts(texts)
        self.idf = np.log((1 + len(texts)) / (1 + np.bincount(table.indices, minlength=SIZE))) + 1
        design, sign = self._scaled(table), 2 * labels - 1

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            margin = sign * (design @ weights[:-1] + weights[-1])
            pull = -sign * special.expit(-margin)
            slope = np.append(design.T @ pull + 0.1 * weights[:-1], pull.sum())
            return float(np.logaddexp(0, -margin).sum() + 0.05 * weights[:-1] @ weights[:-1]), slope

        self.weights = optimize.minimize(loss, np.zeros(SIZE + 1), jac=True, method="L-BFGS-B").x

    def _scaled(self, table: sparse.csr_matrix) -> sparse.csr_matrix:
        table = table.multiply(self.idf).tocsr()
        lengths = np.sqrt(table.multiply(table).sum(1)).A1
        return sparse.diags(1 / np.maximum(lengths, 1e-9)) @ table

    def margins(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self._scaled(counts(texts)) @ self.weights[:-1] + self.weights[-1])


def compared(student: Student, data: list[dict[str, Any]]) -> tuple[np.ndarray, ...]:
    """Score, disagreement, and whether student and teacher are right by gold, for each pair that can be scored."""
    out = []
    for row, margin in zip(data, student.margins([row["text"] for row in data]), strict=True):
        found = compare(TASK, row["gpt4_raw"], json.dumps({"is_bad": int(margin > 0)}))
        if found.agreed is not None:
            gold = str(row["is_bad"])
            out.append((abs(float(margin)), not found.agreed, found.student == gold, found.teacher == gold))
    return tuple(np.array(column) for column in zip(*out, strict=True))


def learnt(pairs: list[Pair]) -> Learning:
    """What the product learns from these pairs, one cut for all labels."""
    known, terms = Learning(), Terms(0.05, 0.1, "tfidf@000000", "none")
    while due(known, len(pairs)):
        known = advance(known, pairs[: next_at(known)], terms, 0.0)
    return known


def released(known: Learning, scores: np.ndarray) -> np.ndarray:
    """Which answers go out."""
    assert known.frozen is not None
    assert known.threshold is not None
    return np.array([known.frozen.scorer.score((one,)) >= known.threshold.cuts[""] for one in scores.tolist()])


def main() -> None:
    folder = Path(sys.argv[1])
    train = rows(folder, "train.6")
    seen = {row["id"] for row in train}
    teacher = [compare(TASK, row["gpt4_raw"], row["gpt4_raw"]) for row in train]
    student = Student([row["text"] for row in train], np.array([int(found.teacher) for found in teacher]))
    rest = [row for row in rows(folder, "train.5k") if row["id"] not in seen]
    np.random.default_rng(0).shuffle(rest)  # type: ignore[arg-type]
    scores, wrong, _, _ = compared(student, rest[:4000])
    known = learnt(
        [Pair(at, at, (s,), not bad) for at, (s, bad) in enumerate(zip(scores, wrong.tolist(), strict=True))]
    )
    print(f"pairs {len(scores)}, student disagrees {wrong.mean():.1%}; threshold: {known.said}")
    sets = {
        "train.5k, held out": rest[4000:],
        "test.indist.1": rows(folder, "test.indist.1"),
        "test.balanced": rows(folder, "test.balanced"),
    }
    told, drawn = {}, []
    for name, data in sets.items():
        found = compared(student, data)
        report(name, *found, known=known)
        told[name], one = summary(name, *found, known=known)
        drawn.append(one)
    threshold = known.threshold.to_dict() if known.threshold is not None else {"none": known.said}
    whole = {"student": "TF-IDF baseline", "calibration_pairs": len(wrong), "threshold": threshold, "sets": told}
    RESULTS.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    tradeoff.draw(drawn, RESULTS.with_suffix(".png"))


def summary(
    name: str, scores: np.ndarray, wrong: np.ndarray, ours: np.ndarray, theirs: np.ndarray, known: Learning
) -> tuple[dict[str, Any], tradeoff.Drawn]:
    """Its numbers for the file, and its curve for the picture; of the points only the round shares."""
    agreement = curve(scores, wrong, ~wrong, np.ones(len(wrong)))
    gold = curve(scores, wrong, ours, theirs)
    data: dict[str, Any] = {"pairs": len(wrong), "right_by_gold": {"teacher": gold.strong, "student": gold.weak}}
    data |= {key: value for key, value in tradeoff.numbers(agreement).items() if key != "points"}
    data["quality_by_gold_at"] = [gold.at_share(share).quality for share in tradeoff.SHARES]
    if known.threshold is not None:
        through = released(known, scores)
        data["at_threshold"] = {"share": float(through.mean()), "disagreement": float(wrong[through].mean())}
    return data, tradeoff.Drawn(name, agreement, len(wrong))


def report(
    name: str, scores: np.ndarray, wrong: np.ndarray, ours: np.ndarray, theirs: np.ndarray, known: Learning
) -> None:
    agreement = curve(scores, wrong, ~wrong, np.ones(len(wrong)))
    gold = curve(scores, wrong, ours, theirs)
    print(f"\n{name}: {len(scores)} pairs; right by gold: teacher {gold.strong:.3f}, student {gold.weak:.3f}")
    print(
        f"  agreement {agreement.weak:.3f}; APGR {agreement.apgr:.3f}; teacher's share for PGR .5 and .8: "
        f"{agreement.cpt(0.5):.2f}, {agreement.cpt(0.8):.2f}"
    )
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        at, right = agreement.at_share(share), gold.at_share(share)
        print(
            f"  student answers {at.share:4.0%}: disagreement there {at.disagreement:.3f}, "
            f"right by gold {right.quality:.3f}"
        )
    if known.threshold is not None:
        through = released(known, scores)
        print(f"  at the threshold: answers {through.mean():.1%}, disagreement there {wrong[through].mean():.3f}")


if __name__ == "__main__":
    main()
