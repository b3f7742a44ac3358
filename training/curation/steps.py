"""The steps of a curation as written in YAML, and what each one does. Pure: samples and labels in, places to drop out.

    task: {labels: ["0", "1"], field: is_bad}
    seed: 0
    steps:
      - rules: {min_characters: 3, max_characters: 4000, drop: ["(?i)lorem ipsum"], scripts: [LATIN]}
      - exact                             # equal but for case, blanks and punctuation; the first one stays
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
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from rollout.answers import Unparsed
from rollout.strict import Strict
from rollout.tasks import Task
from training import labels
from training.curation import doubt
from training.data.near import near_pairs, squeezed
from training.data.samples import Sample
from training.data.split import conversation_of
from training.rows import DataError

Drops = dict[int, str]
LISTED = "listed: "  # a reason that begins so names a row for review and does not drop it


@dataclass(frozen=True, slots=True)
class Rows:
    """What a step sees: samples, the label that each would teach, and what else decides."""

    samples: Sequence[Sample]
    labels: Sequence[str]
    task: Task
    seed: int

    def order(self, place: int) -> bytes:
        """The row's place in a random order that does not depend on the other rows."""
        return hashlib.sha256(f"{self.seed}/{self.samples[place].id}".encode()).digest()


class Rules(Strict):
    """Length, script and patterns of the user's text."""

    min_characters: int = Field(0, ge=0)
    max_characters: int | None = Field(None, ge=1)
    scripts: list[str] = Field(default_factory=list)
    script_share: float = Field(0.8, gt=0, le=1)
    drop: list[str] = Field(default_factory=list)
    keep: list[str] = Field(default_factory=list)

    @field_validator("drop", "keep")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return patterns


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
    drop, keep = [re.compile(each) for each in step.drop], [re.compile(each) for each in step.keep]
    drops = {}
    for place, sample in enumerate(rows.samples):
        why = _broken(sample.text, step, drop, keep)
        if why:
            drops[place] = why
    return drops


def _broken(text: str, step: Rules, drop: list[re.Pattern[str]], keep: list[re.Pattern[str]]) -> str:
    if len(text) < step.min_characters:
        return f"shorter than {step.min_characters} characters"
    if step.max_characters is not None and len(text) > step.max_characters:
        return f"longer than {step.max_characters} characters"
    if step.scripts and script_share(text, step.scripts) < step.script_share:
        return f"less than {step.script_share:.0%} of its letters are {', '.join(step.scripts)}"
    hit = next((pattern for pattern in drop if pattern.search(text)), None)
    if hit:
        return f"matches {hit.pattern!r}"
    miss = next((pattern for pattern in keep if not pattern.search(text)), None)
    return f"does not match {miss.pattern!r}" if miss else ""


def script_share(text: str, scripts: Sequence[str]) -> float:
    """The share of the letters whose Unicode names begin with one of `scripts`; 1 without letters.

    >>> script_share("Привет!", ["LATIN"]), script_share("Hello?", ["LATIN"]), script_share("123", ["LATIN"])
    (0.0, 1.0, 1.0)
    """
    letters = [char for char in text if char.isalpha()]
    named = sum(unicodedata.name(char, "").startswith(tuple(scripts)) for char in letters)
    return named / len(letters) if letters else 1.0


def exact(rows: Rows, step: Exact) -> Drops:
    """Every row whose text an earlier one has."""
    first: dict[str, int] = {}
    drops = {}
    for place, sample in enumerate(rows.samples):
        earlier = first.setdefault(squeezed(sample.text), place)
        if earlier != place:
            drops[place] = f"same text as {rows.samples[earlier].id}{_contradicts(rows, place, earlier)}"
    return drops


def near(rows: Rows, step: Near) -> Drops:
    """Every row that is like an earlier one that stays."""
    drops: Drops = {}
    for pair in near_pairs([sample.text for sample in rows.samples], step.threshold):
        if pair.one not in drops and pair.other not in drops:
            other = rows.samples[pair.one].id
            drops[pair.other] = f"{pair.similarity:.2f} like {other}{_contradicts(rows, pair.other, pair.one)}"
    return drops


def _contradicts(rows: Rows, one: int, other: int) -> str:
    return "" if rows.labels[one] == rows.labels[other] else ", with another label"


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
    for place, (sample, label) in enumerate(zip(rows.samples, rows.labels, strict=True)):
        said = labels.gold(rows.task, sample)
        if sample.gold is not None and isinstance(said, Unparsed):
            drops[place] = f"gold cannot be read: {said.reason}"
        elif not isinstance(said, Unparsed) and said.value != label:
            drops[place] = f"label {label}, gold {said.value}"
    return drops


def doubtful(rows: Rows, step: Doubt) -> Drops:
    """Likely label errors, the likeliest first."""
    found = doubt.candidates([sample.text for sample in rows.samples], rows.labels, step.folds, rows.seed)
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
        return doubt.confidence([sample.text for sample in rows.samples], rows.labels, step.folds, rows.seed)
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
    counts = Counter(rows.labels)
    most = max(1, int(step.ratio * min(counts.values(), default=0)))
    seen: Counter[str] = Counter()
    drops = {}
    for place in sorted(range(len(rows.samples)), key=rows.order):
        label = rows.labels[place]
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
