"""Go, try or no-go, each with its reasons. Pure.

Invariant: the verdict is the worst of the findings; what was not measured is never a go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graduand.training.assess.facts import Inputs, Outputs
from graduand.training.data.scores import wilson

Level = Literal["go", "try", "no-go"]
ORDER: tuple[Level, ...] = ("go", "try", "no-go")
TARGET = 0.9
FEW_ROWS, ENOUGH_ROWS = 100, 500
LONG_ANSWER_WORDS = 200


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the teacher says the same when asked twice."""

    same: int
    asked: int
    how: str

    @property
    def share(self) -> float:
        """Share of equal answers."""
        return self.same / self.asked


@dataclass(frozen=True, slots=True)
class Finding:
    """One criterion, its level, and why."""

    what: str
    level: Level
    why: str


@dataclass(frozen=True, slots=True)
class Reached:
    """What the baselines reach against the teacher on held-out rows, and the rows that the target would take."""

    majority: float
    tfidf: float
    rows: int
    needed: int | None


def findings(inputs: Inputs, outputs: Outputs, itself: Agreement | None, reached: Reached | None) -> list[Finding]:
    """All criteria."""
    return [_amount(inputs), _precision(outputs), _consistency(itself, outputs), _baseline(reached, outputs)]


def verdict(found: Sequence[Finding]) -> Level:
    """The worst level.

    >>> verdict([Finding("a", "go", ""), Finding("b", "try", "")])
    'try'
    """
    return max((finding.level for finding in found), key=ORDER.index)


def _amount(inputs: Inputs) -> Finding:
    usable = round(inputs.distinct * (1 - inputs.near_duplicates))
    why = f"{usable} texts that differ, of {inputs.rows} rows"
    if usable < FEW_ROWS:
        return Finding(
            "rows", "no-go", f"{why}: log on until there are {FEW_ROWS}, or bootstrap with `graduand train synth`"
        )
    if usable < ENOUGH_ROWS:
        return Finding("rows", "try", f"{why}: enough to try, {ENOUGH_ROWS} are better")
    return Finding("rows", "go", why)


def _precision(outputs: Outputs) -> Finding:
    why = f"{outputs.readable:.1%} of the answers can be read as {outputs.kind}"
    if outputs.readable < 0.8:
        return Finding("outputs", "no-go", f"{why}: first make the teacher answer in one format")
    if outputs.kind == "text":
        length = f"{why}, free text of {outputs.median_words:g} words"
        if outputs.median_words > LONG_ANSWER_WORDS:
            return Finding("outputs", "no-go", f"{length}: long free text is where small students lose most")
        return Finding("outputs", "try", f"{length}: a judge must score it")
    if outputs.kind == "label" and outputs.distinct < 2:
        return Finding("outputs", "no-go", f"{why}, and all say the same: a constant needs no model")
    if outputs.readable < 0.98:
        return Finding("outputs", "try", f"{why}: the others teach nothing")
    return Finding("outputs", "go", f"{why}; {outputs.distinct} different, {outputs.entropy_bits:.2f} bits")


def _consistency(itself: Agreement | None, outputs: Outputs) -> Finding:
    if itself is None:
        return Finding(
            "teacher with itself", "try", "not measured: no prompt came twice, and no teacher to ask (--teachers)"
        )
    low, high = wilson(itself.same, itself.asked)
    why = f"{itself.share:.1%} [{low:.3f}, {high:.3f}] the same of {itself.asked} {itself.how}"
    if high < 0.8:
        return Finding("teacher with itself", "no-go", f"{why}: a student cannot agree with it more often than itself")
    if low < 0.9:
        return Finding("teacher with itself", "try", f"{why}: that is the ceiling of any student")
    return Finding("teacher with itself", "go", why)


def _baseline(reached: Reached | None, outputs: Outputs) -> Finding:
    if reached is None:
        reason = "not measured: " + (
            "too few rows" if outputs.kind == "label" else f"{outputs.kind} has no TF-IDF baseline"
        )
        return Finding("baselines", "try", reason)
    why = f"TF-IDF agrees with the teacher on {reached.tfidf:.1%} of held-out rows, majority on {reached.majority:.1%}"
    if reached.tfidf <= reached.majority:
        return Finding("baselines", "try", f"{why}: words alone tell nothing, so a student may or may not learn it")
    if reached.needed is None:
        return Finding("baselines", "try", f"{why}; {TARGET:.0%} is not in sight by more rows alone, for the baseline")
    if reached.needed > reached.rows:
        return Finding(
            "baselines",
            "try",
            f"{why}; it would need about {reached.needed} rows for {TARGET:.0%}, and has {reached.rows}",
        )
    return Finding("baselines", "go", f"{why}; {reached.rows} rows are enough for {TARGET:.0%}")
