"""Descriptors: are plain facts about requests (length, digits, language, template, system message) spread as in the
reference texts?"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graduand.monitoring.drift import State, check_promise
from graduand.monitoring.drift.describe import Description
from graduand.monitoring.drift.sessions import effective
from graduand.monitoring.drift.spreads import Spread, Spreads, hour_of_week

WINDOW = 500
# Draws that are expected beyond the threshold, and how many are made at most.
BEYOND, MOST_DRAWS = 20, 100_000

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def stability_index(counts: Sequence[float] | Floats | Counts, reference: Sequence[float] | Floats | Counts) -> float:
    """PSI = sum (p - q) ln(p / q), half a count added everywhere so that an empty place is finite.

    >>> stability_index([50, 50], [500, 500])
    0.0
    """
    return float(_indices(np.asarray(counts, dtype=float)[None, :], np.asarray(reference, dtype=float)[None, :])[0])


def _indices(counts: Floats, reference: Floats) -> Floats:
    """PSI of each row of (n, places)."""
    p, q = ((rows + 0.5) / (rows.sum(1) + 0.5 * rows.shape[1])[:, None] for rows in (counts, reference))
    return np.asarray(((p - q) * np.log(p / q)).sum(1))


class Descriptors:
    """PSI of each fact in windows of 500 requests, against what it would be if window and reference were of one kind.

    If they are exchangeable, then given what was counted in both together, which of it fell into the window is a draw
    without replacement. So the threshold is taken from such draws: it is right for references of any size, also of 32
    texts, for which PSI's chi-square law (Yurdakul, Naranjo, 2020) is far too narrow. The level a is shared by the facts,
    so that a window alarms falsely with probability at most 500 / A. A window in which few people asked much counts for
    as few requests (`sessions.effective`). With a reference by the hour of the week each request is compared with those of
    its hour and the hours beside it. `value` is the largest PSI in units of its own threshold, so `threshold` is 1;
    `culprit` says which fact that is.

    >>> from graduand.monitoring.drift.describe import describe
    >>> from graduand.monitoring.drift.spreads import spreads
    >>> known = spreads([describe(f"ticket {'x' * (n % 90)}") for n in range(900)])
    >>> detector = Descriptors(known, false_alarm_every=10_000)
    >>> any(detector.update(describe(f"ticket {'x' * (n % 90)}")) for n in range(900))
    False
    >>> next(n for n in range(1, 999) if detector.update(describe("ticket 4711"))), detector.culprit
    (100, 'digits')
    """

    threshold = 1.0

    def __init__(self, reference: Spreads, false_alarm_every: float) -> None:
        check_promise(false_alarm_every)
        self._facts = dict(reference.facts)
        self._alike = reference.alike
        self._by_hour = reference.by_hour
        self._near = {name: _near(one) for name, one in self._facts.items()}
        self._level = min(WINDOW / false_alarm_every / len(self._facts), 0.5)
        self._counts: dict[str, dict[str, list[int]]] = {}  # by hour and fact
        self._units: dict[str, int] = {}
        self._alone = 0
        self.value = 0.0
        self.culprit = ""
        self.n = 0
        self.alarm = False

    def update(self, x: Description, at: float = 0.0, unit: str = "") -> bool:
        """Take one request's description; `at` is when it came, `unit` who asked, if that is known."""
        self.n += 1
        self.alarm = False
        hour = str(hour_of_week(at) if self._by_hour else 0)
        counts = self._counts.setdefault(hour, {name: [0] * one.places for name, one in self._facts.items()})
        for name, spread in self._facts.items():
            counts[name][spread.place(getattr(x, name))] += 1
        if unit:
            self._units[unit] = self._units.get(unit, 0) + 1
        else:
            self._alone += 1
        if self.n % WINDOW == 0:
            self._look()
        return self.alarm

    def _look(self) -> None:
        told = effective([*self._units.values(), *[1] * self._alone]) / WINDOW
        ratios = {name: self._ratio(number, name, told) for number, name in enumerate(self._facts)}
        self.culprit = max(ratios, key=lambda name: ratios[name])
        self.value = ratios[self.culprit]
        self.alarm = self.value >= self.threshold
        self._counts, self._units, self._alone = {}, {}, 0

    def _ratio(self, number: int, name: str, told: float) -> float:
        """PSI of one fact in units of its threshold; 0 where there is nothing to compare with at these hours."""
        hours = [hour for hour in self._counts if self._near[name][int(hour)].sum()]
        if not hours:
            return 0.0
        window = np.array([self._counts[hour][name] for hour in hours], dtype=float)
        near = np.array([self._near[name][int(hour)] for hour in hours], dtype=float)
        share = window.sum(1) / window.sum()
        known = min(1 / float((share**2 / near.sum(1)).sum()), self._texts(name, hours)) * self._alike
        reference = share @ (near / near.sum(1)[:, None]) * known
        seen = window.sum(0) * told
        together = np.rint(seen + reference).astype(np.int64)
        drawn = min(max(round(float(seen.sum())), 1), int(together.sum()) - 1)
        if drawn < 1:
            return 0.0
        level = self._level
        draws = min(math.ceil(BEYOND / level), MOST_DRAWS)
        rng = np.random.default_rng([self.n, number])
        found = rng.multivariate_hypergeometric(together, drawn, size=draws, method="marginals")
        usual = np.sort(_indices(found.astype(float), (together - found).astype(float)))
        # An alarm is a window that at most a share `level` of all of them, itself counted, reaches.
        limit = float(usual[-max(math.floor(level * (draws + 1)), 1)])
        return stability_index(seen, reference) / float(np.nextafter(max(limit, 1e-9), math.inf))

    def _texts(self, name: str, hours: Sequence[str]) -> float:
        """How many reference texts there are of these hours and those beside them."""
        counts = np.array(self._facts[name].counts).sum(1)
        return float(
            counts[sorted({(int(hour) + beside) % len(counts) for hour in hours for beside in (-1, 0, 1)})].sum()
        )

    def state(self) -> State:
        """The window's counts."""
        counts: dict[str, Any] = {
            hour: {name: list(one) for name, one in facts.items()} for hour, facts in self._counts.items()
        }
        return {
            "counts": counts, "units": dict(self._units), "alone": self._alone, "value": self.value,
            "culprit": self.culprit, "n": self.n, "alarm": self.alarm,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._counts = {
            hour: {name: list(one) for name, one in facts.items()} for hour, facts in state["counts"].items()
        }
        self._units, self._alone = dict(state["units"]), state["alone"]
        self.value, self.culprit, self.n, self.alarm = state["value"], state["culprit"], state["n"], state["alarm"]


def _near(spread: Spread) -> Counts:
    """What was counted at each hour of the week and at the hours beside it."""
    counts = np.array(spread.counts, dtype=np.int64)
    return counts if len(counts) == 1 else counts + np.roll(counts, 1, 0) + np.roll(counts, -1, 0)
