"""How plain facts of requests (length, digits, language, template, system message) are spread over the reference texts.

Invariant: bins and categories are chosen from some of the texts and counted in the others. Counted in those that they were
chosen from, they would fit them better than they fit any traffic.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graduand.monitoring.drift import DriftError
from graduand.monitoring.drift.describe import Description
from graduand.monitoring.drift.sessions import effective

OTHER = "other"
# A category or bin rarer than this is counted with others.
LEAST_SHARE = 0.02
NUMBERS, NAMES = ("length", "digits", "system_length"), ("language", "template", "system")
BINS = 8
# So many of the texts, at most half, choose the places.
CHOOSE = 500
HOURS = 168
WEEK_S = 6.5 * 86_400.0  # nearly: some hours may have had nobody
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """When a reference text was asked, in seconds since 1970, and by whom; None where nobody knows."""

    at: float | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """How one fact was spread: in bins between `cuts` if it is a number, else over `names`.

    `counts` has a row for each hour of the week (UTC), or one row for all of them where the texts do not cover a week.
    """

    cuts: tuple[float, ...]
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def places(self) -> int:
        """How many bins or categories there are."""
        return len(self.cuts) + 1 if self.cuts else len(self.names)

    def place(self, value: float | str) -> int:
        """The bin or category of a value."""
        if isinstance(value, str):
            return self.names.index(value) if value in self.names else len(self.names) - 1
        return bisect_right(self.cuts, value)


@dataclass(frozen=True, slots=True)
class Spreads:
    """All facts. `alike`: how many independent texts one of the counted tells as much as, at most 1."""

    facts: Mapping[str, Spread]
    alike: float = 1.0

    @property
    def by_hour(self) -> bool:
        """Whether traffic is compared with that of the same hours of the week."""
        return any(len(one.counts) > 1 for one in self.facts.values())


def hour_of_week(at: float) -> int:
    """0 to 167, from Thursday 00:00 UTC, as 1970 began.

    >>> hour_of_week(0.0), hour_of_week(7 * 86_400 - 1.0), hour_of_week(7 * 86_400)
    (0, 167, 0)
    """
    return int(at // HOUR_S) % HOURS


def spreads(described: Sequence[Description], seen: Sequence[Seen] = (), seed: int = 0) -> Spreads:
    """The spread of each fact over the texts; `seen` says when and by whom each was asked, if it is known of all.

    Times that cover a week make a reference by the hour of the week.
    """
    if len(described) < 2 * BINS:
        raise DriftError(f"{len(described)} texts are too few to describe traffic by; give at least {2 * BINS}")
    known = list(seen) or [Seen()] * len(described)
    order = np.random.default_rng(seed).permutation(len(described)).tolist()
    part = min(len(order) // 2, CHOOSE)
    chosen, counted = [described[at] for at in order[:part]], [(described[at], known[at]) for at in order[part:]]
    times = [one.at for _, one in counted if one.at is not None]
    weekly = len(times) == len(counted) and max(times) - min(times) >= WEEK_S
    facts: dict[str, Spread] = {}
    for name in (*NUMBERS, *NAMES):
        values = [getattr(one, name) for one in chosen]
        cuts, names = (_bins(values), ()) if name in NUMBERS else ((), _categories(values))
        empty = Spread(cuts, names, ())
        counts = np.zeros((HOURS if weekly else 1, empty.places), dtype=np.int64)
        for one, when in counted:
            counts[hour_of_week(when.at or 0.0) if weekly else 0, empty.place(getattr(one, name))] += 1
        facts[name] = Spread(cuts, names, tuple(tuple(row) for row in counts.tolist()))
    groups = Counter(one.unit for _, one in counted if one.unit is not None)
    sizes = [*groups.values(), *[1] * sum(one.unit is None for _, one in counted)]
    return Spreads(facts, effective(sizes) / len(counted))


def _bins(values: list[float]) -> tuple[float, ...]:
    ranked = sorted(float(value) for value in values)
    places = (len(ranked) * number // BINS for number in range(1, BINS))
    return tuple(sorted({ranked[place] for place in places} - {ranked[0]})) or (ranked[-1] + 1e-9,)


def _categories(values: list[str]) -> tuple[str, ...]:
    counts = Counter(values)
    kept = [name for name, count in counts.most_common(BINS) if count >= LEAST_SHARE * len(values) and name != OTHER]
    return (*kept, OTHER)


def to_json(found: Spreads) -> dict[str, Any]:
    """Plain data."""
    return {"alike": found.alike, "facts": {name: asdict(one) for name, one in found.facts.items()}}


def from_json(data: Mapping[str, Any]) -> Spreads:
    """What `to_json` gave."""
    facts = {
        name: Spread(tuple(one["cuts"]), tuple(one["names"]), tuple(tuple(row) for row in one["counts"]))
        for name, one in data["facts"].items()
    }
    return Spreads(facts, data["alike"])
