"""What a log tells of its traffic: who asks how much, how alike a user's answers are, the day's rhythm. Pure.

A proof counts one user's day as one observation, so what it costs in requests depends on these. `Blocks` plays the same
traffic again: hours of the log, drawn with replacement for each hour to come, with all that came together in them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.simulate.bets import first, log_evidence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
HOUR_S, DAY_S = 3600.0, 86400.0
FEWEST = 50
# Runs of a proof that are drawn, and the most users' days that one is followed for.
RUNS, MOST = 100, 3_000
# From these on something is worth naming as the cause.
BIG_USER, BIG_COST = 0.2, 1.3


@dataclass(frozen=True, slots=True)
class Request:
    """One served request: when (seconds since 1970), whose, and whether student and teacher agreed, if both answered."""

    at: float
    unit: int | None
    agreed: bool | None = None


@dataclass(frozen=True, slots=True)
class Habits:
    """`lengths` are the requests of each user's day; shares are of all requests."""

    requests: int
    seconds: float
    users: int
    unknown: float  # share that names no user
    top: float  # share of the user who asks most
    lengths: tuple[int, ...]
    alike: float | None  # intra-class correlation of agreement within a user's day; None with too few pairs
    agreement: float | None
    swing: float | None  # the best hour of the day is so much above the mean; None with less than a day of pairs
    apart: float | None  # standard deviation of the days' true means; None with less than two days

    @property
    def per_day(self) -> float:
        """Requests a day."""
        return self.requests / self.seconds * DAY_S

    @property
    def length(self) -> float:
        """Requests of a user's day, on average."""
        return sum(self.lengths) / max(len(self.lengths), 1)


def habits(requests: Sequence[Request]) -> Habits | None:
    """What these requests, in their order, tell; None of fewer than 50."""
    if len(requests) < FEWEST:
        return None
    days = Counter(_day(at, one) for at, one in enumerate(requests))
    units = Counter(one.unit for one in requests if one.unit is not None)
    scored = [(at, one) for at, one in enumerate(requests) if one.agreed is not None]
    groups: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for at, one in scored:
        groups[_day(at, one)].append(bool(one.agreed))
    enough = len(scored) >= FEWEST
    return Habits(
        len(requests), max(requests[-1].at - requests[0].at, 1.0), len(units),
        1 - units.total() / len(requests), max(units.values(), default=0) / len(requests), tuple(days.values()),
        correlation(list(groups.values())) if enough else None,
        float(np.mean([one.agreed for _, one in scored])) if enough else None,
        _swing([one for _, one in scored]), _apart([one for _, one in scored]),
    )  # fmt: skip


def _day(at: int, one: Request) -> tuple[int, int]:
    """The user's day; a request that names nobody is one of its own."""
    return (-1 - at, 0) if one.unit is None else (one.unit, int(one.at // DAY_S))


def correlation(groups: Sequence[Sequence[bool]]) -> float:
    """The intra-class correlation of yes-or-no answers in groups, by analysis of variance; 0 where no group has two.

    Ridout, Demetrio and Firth, "Estimating intraclass correlation for binary data", Biometrics 55 (1999).

    >>> correlation([[True] * 9 + [False]] * 10), correlation([[True] * 10] * 9 + [[False] * 10])
    (0.0, 1.0)
    """
    sizes = np.array([len(group) for group in groups], dtype=float)
    total, k = sizes.sum(), len(sizes)
    if k < 2 or total <= k:
        return 0.0
    means = np.array([np.mean(group) for group in groups])
    mean = float(sizes @ means) / total
    between = float(sizes @ (means - mean) ** 2) / (k - 1)
    within = float(sizes @ (means * (1 - means))) / (total - k)
    typical = (total - float((sizes**2).sum()) / total) / (k - 1)
    spread = between + (typical - 1) * within
    return float(np.clip((between - within) / spread, 0.0, 1.0)) if spread > 0 else 0.0


def _swing(scored: Sequence[Request]) -> float | None:
    """Amplitude of the first harmonic of the day, less what chance gives."""
    if len(scored) < FEWEST or scored[-1].at - scored[0].at < DAY_S:
        return None
    turn = 2 * np.pi * np.array([one.at for one in scored]) / DAY_S
    y = np.array([float(bool(one.agreed)) for one in scored])
    found = np.linalg.lstsq(np.column_stack([np.ones(len(y)), np.sin(turn), np.cos(turn)]), y, rcond=None)[0]
    chance = 4 * float(y.var()) / len(y)
    return float(np.sqrt(max(0.0, found[1] ** 2 + found[2] ** 2 - chance)))


def _apart(scored: Sequence[Request]) -> float | None:
    days: dict[int, list[float]] = defaultdict(list)
    for one in scored:
        days[int(one.at // DAY_S)].append(float(bool(one.agreed)))
    known = [day for day in days.values() if len(day) >= FEWEST]
    if len(known) < 2:
        return None
    means = np.array([np.mean(day) for day in known])
    sampling = float(np.mean([np.var(day) / len(day) for day in known]))
    return float(np.sqrt(max(0.0, float(means.var(ddof=1)) - sampling)))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a proof takes of such traffic: users' days and requests, half of the time and nine times in ten; None where it
    is not reached within 3,000 users' days. `alone` are the requests that it takes of independent ones."""

    sessions: int | None
    requests: int | None
    nine_in_ten: int | None
    alone: int | None


def cost(known: Habits, p0: float, true: float, log_threshold: float, seed: int = 0) -> Cost:
    """Of a student of mean `true`; users' days are drawn from the log's, and their own means from a beta law."""
    rng = np.random.default_rng(seed)
    lengths = rng.choice(np.array(known.lengths), size=(RUNS, MOST))
    waits = first(log_evidence(_means(lengths, true, known.alike or 0.0, rng), p0), log_threshold)
    alone = first(log_evidence((rng.random((RUNS, MOST)) < true).astype(float), p0), log_threshold)
    half, most = (float(np.quantile(waits, q, method="higher")) for q in (0.5, 0.9))
    single = float(np.quantile(alone, 0.5, method="higher"))
    return Cost(
        int(half) if np.isfinite(half) else None,
        round(half * known.length) if np.isfinite(half) else None,
        round(most * known.length) if np.isfinite(most) else None,
        int(single) if np.isfinite(single) else None,
    )


def _means(lengths: Ints, true: float, alike: float, rng: np.random.Generator) -> Floats:
    own = np.full(lengths.shape, true)
    if alike > 0:
        spread = max(1 / min(alike, 0.999) - 1, 1e-3)
        own = rng.beta(true * spread, (1 - true) * spread, size=lengths.shape)
    return np.asarray(rng.binomial(lengths, own) / lengths)


def because(known: Habits, taken: Cost) -> str:
    """Why it takes more than independent requests would; empty if it does not."""
    if taken.requests is not None and taken.alone is not None and taken.requests <= BIG_COST * taken.alone:
        return ""
    if known.top >= BIG_USER:
        return f"because one customer sends {known.top:.0%}"
    if known.alike and known.length > 1:
        return f"because a user's requests are alike (correlation {known.alike:.2g} within days of {known.length:.3g} requests)"
    return f"because a user's day of {known.length:.3g} requests is one observation"


@dataclass(slots=True)
class Blocks:
    """Hours of a log to be drawn from: for each hour to come one of the log's, of the same hour of the day if it has one."""

    requests: Sequence[Request]
    hours: dict[int, list[list[Request]]] = field(init=False)  # by hour of the day

    def __post_init__(self) -> None:
        blocks: dict[int, list[Request]] = defaultdict(list)
        for one in self.requests:
            blocks[int(one.at // HOUR_S)].append(one)
        self.hours = defaultdict(list)
        # The first and the last hour are cut off somewhere; hours without traffic are traffic too.
        numbers = range(min(blocks) + 1, max(blocks)) if len(blocks) > 2 else sorted(blocks)
        for number in numbers:
            self.hours[number % 24].append(blocks.get(number, []))

    def draw(self, hour: int, rng: np.random.Generator) -> list[Request]:
        """The requests of one hour to come, their times from its beginning."""
        fitting = self.hours.get(hour % 24) or [block for some in self.hours.values() for block in some]
        block = fitting[int(rng.integers(len(fitting)))]
        return [Request(one.at % HOUR_S, one.unit, one.agreed) for one in block]

    def thinned(self, per_day: float) -> "Blocks":
        """So many requests a day at most, users left out whole."""
        seconds = max(self.requests[-1].at - self.requests[0].at, 1.0)
        share = per_day * seconds / DAY_S / len(self.requests)
        if share >= 1:
            return self
        bar = int(share * 2**32)
        kept = [one for at, one in enumerate(self.requests) if _mixed(at if one.unit is None else one.unit) < bar]
        return Blocks(kept or self.requests[:1])


def _mixed(number: int) -> int:
    """A number's bits, mixed: 0 to 2^32 - 1. Knuth's multiplicative hash, once forth and once back."""
    mixed = (number ^ (number >> 32)) * 2654435761 % 2**32
    return (mixed ^ (mixed >> 15)) * 2246822519 % 2**32
