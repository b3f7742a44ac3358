"""The steps of a curation as written in YAML, and what each one does. Pure: samples and labels in, places to drop out.

    task: {labels: ["0", "1"], field: is_bad}
    seed: 0
    steps:
      - rules: {min_characters: 3, max_characters: 4000, drop: ["(?i)lorem ipsum"], scripts: [LATIN]}
      - exact                             # equal but for case and blanks; the first one stays
      - near: {threshold: 0.8}            # near-duplicates by MinHash
      - cap: {per: user, most: 50}        # power users
      - gold                              # the label differs from what a person said
      - doubt: {drop: true, most: 0.05}   # label errors by confident learning; drop: false only lists them
      - rank: {by: confidence, drop: 0.1} # the worst share by a score
      - balance: {ratio: 3}               # at most so many rows of a label for each row of the rarest

Invariant: a step only drops, and each row that goes has its reason.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from graduand.rollout.answers.answers import Unparsed
from graduand.rollout.answers.strict import Strict
from graduand.training.curation import doubt
from graduand.training.curation.facts import Fact
from graduand.training.curation.rules import Rules
from graduand.training.data.near import Sketch, sketched_pairs, template, template_text
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample
from graduand.training.data.split import conversation_of

Drops = dict[int, str]
LISTED = "listed: "  # a reason that begins so names a row for review and does not drop it


@dataclass(frozen=True, slots=True)
class Rows:
    """What a step sees: samples whose labels can be read, what is known of each by itself, and what else decides."""

    samples: Sequence[Sample]
    facts: Sequence[Fact]
    rules: tuple[Rules, ...]  # in the order of each fact's `broken`
    seed: int

    @property
    def texts(self) -> list[str]:
        """Of all samples."""
        return [sample.text for sample in self.samples]

    @property
    def labels(self) -> list[str]:
        """The label that each sample would teach; empty where it cannot be read."""
        return ["" if isinstance(fact.label, Unparsed) else fact.label.value for fact in self.facts]

    def without(self, gone: Collection[int]) -> "Rows":
        """The rows at the other places."""
        left = [place for place in range(len(self.samples)) if place not in gone]
        samples, facts = [self.samples[place] for place in left], [self.facts[place] for place in left]
        return replace(self, samples=samples, facts=facts)

    def sketch(self, place: int) -> Sketch:
        """What the row's likes are found by."""
        sketch = self.facts[place].sketch
        if sketch is None:
            raise ValueError("these rows were looked at without regard to likeness")
        return sketch

    def order(self, place: int) -> bytes:
        """The row's place in a random order that does not depend on the other rows."""
        return hashlib.sha256(f"{self.seed}/{self.samples[place].id}".encode()).digest()


class Exact(Strict):
    """Equal texts."""


class Near(Strict):
    """Near-duplicates."""

    threshold: float = Field(0.8, gt=0, le=1)


class Cap(Strict):
    """At most so many rows of one user or conversation, drawn at random."""

    per: Literal["user", "conversation"] = "user"
    most: int = Field(ge=1)


class Gold(Strict):
    """Labels that differ from gold."""


class Doubt(Strict):
    """Likely label errors."""

    folds: int = Field(5, ge=2)
    most: float = Field(1.0, gt=0, le=1, description="share of the rows at most, the likeliest errors first")
    drop: bool = False


class Rank(Strict):
    """The worst share by a score: the model's confidence in the label, the text's length, or a note of that name."""

    by: str = "confidence"
    drop: float = Field(gt=0, lt=1)
    folds: int = Field(5, ge=2)


class Balance(Strict):
    """Rows of the frequent labels, drawn at random, beyond `ratio` for each row of the rarest."""

    ratio: float = Field(1.0, ge=1)


def rules(rows: Rows, step: Rules) -> Drops:
    """Rows that break a rule, with the first one that they break."""
    place_of_step = rows.rules.index(step)
    broken = ((place, fact.broken[place_of_step]) for place, fact in enumerate(rows.facts))
    return {place: why for place, why in broken if why}


def exact(rows: Rows, step: Exact) -> Drops:
    """Every row whose text an earlier one has."""
    first: dict[str, int] = {}
    drops = {}
    for place, fact in enumerate(rows.facts):
        earlier = first.setdefault(fact.plain, place)
        if earlier != place:
            drops[place] = f"same text as {rows.samples[earlier].id}{_contradicts(rows, place, earlier)}"
    return drops


def near(rows: Rows, step: Near) -> Drops:
    """Every row that is like an earlier one that stays."""
    drops: Drops = {}
    for pair in sketched_pairs([fact.plain for fact in rows.facts], rows.sketch, step.threshold):
        if pair.one not in drops and pair.other not in drops:
            other = rows.samples[pair.one].id
            drops[pair.other] = f"{pair.similarity:.2f} like {other}{_contradicts(rows, pair.other, pair.one)}"
    return drops


def shared(rows: Rows) -> str:
    """The piece of text that nearly all rows share and by which none is like another; empty if there is none."""
    common = template([rows.sketch(place).shingles for place in range(len(rows.samples))])
    return template_text(rows.samples[0].whole, common) if common.size else ""


def _contradicts(rows: Rows, one: int, other: int) -> str:
    return "" if rows.facts[one].label == rows.facts[other].label else ", with another label"


def cap(rows: Rows, step: Cap) -> Drops:
    """What one user or conversation has beyond its share."""
    seen: Counter[str] = Counter()
    drops = {}
    for place in sorted(range(len(rows.samples)), key=rows.order):
        sample = rows.samples[place]
        owner = sample.user if step.per == "user" else conversation_of(sample)
        if owner is None:
            continue
        seen[owner] += 1
        if seen[owner] > step.most:
            drops[place] = f"more than {step.most} rows of one {step.per}"
    return drops


def gold(rows: Rows, step: Gold) -> Drops:
    """Rows that would teach something else than a person said; rows without gold stay."""
    drops = {}
    for place, (sample, fact, label) in enumerate(zip(rows.samples, rows.facts, rows.labels, strict=True)):
        said = fact.gold
        if sample.gold is not None and isinstance(said, Unparsed):
            drops[place] = f"gold cannot be read: {said.reason}"
        elif not isinstance(said, Unparsed) and said.value != label:
            drops[place] = f"label {label}, gold {said.value}"
    return drops


def doubtful(rows: Rows, step: Doubt) -> Drops:
    """Likely label errors, the likeliest first."""
    found = doubt.candidates(rows.texts, rows.labels, step.folds, rows.seed)
    kept = found[: math.ceil(step.most * len(rows.samples))]
    mark = "" if step.drop else LISTED
    return {
        each.place: f"{mark}label {each.label}, likelier {each.likelier} (margin {each.margin:.2f})" for each in kept
    }


def rank(rows: Rows, step: Rank) -> Drops:
    """The worst share."""
    scores = _scores(rows, step)
    worst = sorted(range(len(scores)), key=lambda place: (scores[place], rows.order(place)))
    return {
        place: f"among the worst {step.drop:.0%} by {step.by} ({scores[place]:.3f})"
        for place in worst[: int(step.drop * len(scores))]
    }


def _scores(rows: Rows, step: Rank) -> list[float]:
    if step.by == "confidence":
        return doubt.confidence(rows.texts, rows.labels, step.folds, rows.seed)
    if step.by == "length":
        return [float(len(sample.text)) for sample in rows.samples]
    scores = []
    for sample in rows.samples:
        try:
            scores.append(float(sample.notes[step.by]))
        except (KeyError, ValueError):
            raise DataError(
                f"rank by {step.by!r}: row {sample.id} has no note of that name with a number; rank by confidence or length"
            ) from None
    return scores


def balance(rows: Rows, step: Balance) -> Drops:
    """What frequent labels have beyond the ratio."""
    said = rows.labels
    counts = Counter(said)
    most = max(1, int(step.ratio * min(counts.values(), default=0)))
    seen: Counter[str] = Counter()
    drops = {}
    for place in sorted(range(len(rows.samples)), key=rows.order):
        label = said[place]
        seen[label] += 1
        if seen[label] > most:
            drops[place] = f"label {label} has more than {step.ratio:g} rows for each of the rarest"
    return drops


# Each step's keys, what it does, and the key that a bare value is for (`- near 0.9`).
STEPS: Mapping[str, tuple[type[Strict], Callable[[Rows, Any], Drops]]] = {
    "rules": (Rules, rules),
    "exact": (Exact, exact),
    "near": (Near, near),
    "cap": (Cap, cap),
    "gold": (Gold, gold),
    "doubt": (Doubt, doubtful),
    "rank": (Rank, rank),
    "balance": (Balance, balance),
}
