"""Descriptors: are plain facts about requests (length, digits, language, template) spread as in the training data?"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from graduand.monitoring.drift import DriftError, State, check_promise
from graduand.monitoring.drift.describe import Description

WINDOW = 500
OTHER = "other"
# A category or bin rarer than this is counted with others: the chi-square law needs some observations in each.
LEAST_SHARE = 0.02
NUMBERS, NAMES = ("length", "digits"), ("language", "template")
BINS = 8


@dataclass(frozen=True, slots=True)
class Spread:
    """How one fact was spread over `sum(counts)` texts: in bins between `cuts` if it is a number, else over `names`."""

    cuts: tuple[float, ...]
    names: tuple[str, ...]
    counts: tuple[int, ...]

    def place(self, value: float | str) -> int:
        """The bin or category of a value."""
        if isinstance(value, str):
            return self.names.index(value) if value in self.names else len(self.names) - 1
        return bisect_right(self.cuts, value)


def spreads(described: Sequence[Description]) -> dict[str, Spread]:
    """The spread of each fact over the reference texts; facts that are the same in all of them have two places still."""
    if len(described) < 2 * BINS:
        raise DriftError(f"{len(described)} texts are too few to describe traffic by; give at least {2 * BINS}")
    found = {name: _of_numbers(sorted(float(getattr(one, name)) for one in described)) for name in NUMBERS}
    return found | {name: _of_names(Counter(getattr(one, name) for one in described)) for name in NAMES}


def _of_numbers(values: list[float]) -> Spread:
    places = (len(values) * number // BINS for number in range(1, BINS))
    cuts = tuple(sorted({values[place] for place in places} - {values[0]})) or (values[-1] + 1e-9,)
    counts = [0] * (len(cuts) + 1)
    for value in values:
        counts[bisect_right(cuts, value)] += 1
    return Spread(cuts, (), tuple(counts))


def _of_names(counts: Counter[str]) -> Spread:
    total = counts.total()
    kept = [name for name, count in counts.most_common(BINS) if count >= LEAST_SHARE * total and name != OTHER]
    return Spread((), (*kept, OTHER), (*(counts[name] for name in kept), total - sum(counts[name] for name in kept)))


def to_json(found: Mapping[str, Spread]) -> dict[str, Any]:
    """Plain data."""
    return {name: asdict(one) for name, one in found.items()}


def from_json(data: Mapping[str, Any]) -> dict[str, Spread]:
    """What `to_json` gave."""
    return {name: Spread(tuple(one["cuts"]), tuple(one["names"]), tuple(one["counts"])) for name, one in data.items()}


def stability_index(counts: Sequence[int], reference: Sequence[int]) -> float:
    """PSI = sum (p - q) ln(p / q), half a count added everywhere so that an empty place is finite.

    >>> stability_index([50, 50], [500, 500])
    0.0
    """
    n, m = sum(counts) + 0.5 * len(counts), sum(reference) + 0.5 * len(reference)
    shares = (((c + 0.5) / n, (r + 0.5) / m) for c, r in zip(counts, reference, strict=True))
    return sum((p - q) * math.log(p / q) for p, q in shares)


class Descriptors:
    """PSI of each fact in windows of 500 requests, by the threshold that a window of that size calls for.

    Without change PSI is about chi2_{B-1} (1/n + 1/m) for B places, n requests in the window and m reference texts
    (Yurdakul, Naranjo, "Statistical properties of the population stability index", 2020): not 0.1 or 0.25, whatever n
    is. The level a is shared by the facts, so that a window alarms falsely with probability 500 / A. `value` is the
    largest PSI in units of its own threshold, so `threshold` is 1; `culprit` says which fact that is.

    >>> from graduand.monitoring.drift.describe import describe
    >>> known = spreads([describe(f"ticket {'x' * (n % 90)}") for n in range(900)])
    >>> detector = Descriptors(known, false_alarm_every=10_000)
    >>> any(detector.update(describe(f"ticket {'x' * (n % 90)}")) for n in range(900))
    False
    >>> next(n for n in range(1, 999) if detector.update(describe("ticket 4711"))), detector.culprit
    (100, 'digits')
    """

    threshold = 1.0

    def __init__(self, reference: Mapping[str, Spread], false_alarm_every: float) -> None:
        check_promise(false_alarm_every)
        self._reference = dict(reference)
        level = WINDOW / false_alarm_every / len(self._reference)
        self._limits = {name: _limit(one, min(level, 0.5)) for name, one in self._reference.items()}
        self._counts = self._empty()
        self.value = 0.0
        self.culprit = ""
        self.n = 0
        self.alarm = False

    def update(self, x: Description) -> bool:
        """Take one request's description."""
        self.n += 1
        self.alarm = False
        for name, spread in self._reference.items():
            self._counts[name][spread.place(getattr(x, name))] += 1
        if self.n % WINDOW == 0:
            self._look()
        return self.alarm

    def _look(self) -> None:
        ratios = {
            name: stability_index(self._counts[name], spread.counts) / self._limits[name]
            for name, spread in self._reference.items()
        }
        self.culprit = max(ratios, key=lambda name: ratios[name])
        self.value = ratios[self.culprit]
        self.alarm = self.value >= self.threshold
        self._counts = self._empty()

    def _empty(self) -> dict[str, list[int]]:
        return {name: [0] * len(spread.counts) for name, spread in self._reference.items()}

    def state(self) -> State:
        """The window's counts."""
        counts = {name: list(one) for name, one in self._counts.items()}
        return {"counts": counts, "value": self.value, "culprit": self.culprit, "n": self.n, "alarm": self.alarm}

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._counts = {name: list(one) for name, one in state["counts"].items()}
        self.value, self.culprit, self.n, self.alarm = state["value"], state["culprit"], state["n"], state["alarm"]


def _limit(spread: Spread, level: float) -> float:
    from scipy import special  # a third of a second, which a gateway without reference sets need not wait

    places = len(spread.counts)
    # Many windows hold no text of a category that training had none of; one that has is a change all the same.
    return float(special.chdtri(max(places - 1, 1), level)) * (1 / WINDOW + 1 / sum(spread.counts))
