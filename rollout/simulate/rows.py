"""Traffic as it is, many runs at once: sessions, few big users, rhythms, days that differ, bursts of failures.

Each row says what a rule makes of it: the rule that counts requests and looks at each (`earlier`), and the gates. Quick forms;
the tests check them against ledger and machine on a sample.
"""

import math

import numpy as np
from numpy.typing import NDArray

from graduand.rollout import planning
from graduand.rollout.gates.account import weight
from graduand.rollout.gates.cycles import LEAST, Seen, above, differ
from graduand.rollout.simulate import bets, earlier

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LOG_20, LOG_500 = math.log(20), math.log(500)
# What a route's first candidate is asked for at alpha .05.
FIRST = LOG_20 - math.log(weight(1))


def session_means(
    rng: np.random.Generator, runs: int, sessions: int, length: int, alike: float, mean: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Means of sessions of `length` requests with an intra-class correlation `alike`, and the requests themselves."""
    spread = 1 / alike - 1
    own = rng.beta(mean * spread, (1 - mean) * spread, size=(runs, sessions))
    agreed = rng.random((runs, sessions, length)) < own[:, :, None]
    return agreed.mean(axis=2), agreed.reshape(runs, sessions * length)


def sessions(
    rng: np.random.Generator, *, alike: float, length: int = 20, mean: float = 0.95, p0: float = 0.95, count: int = 300,
    runs: int = 2000,
) -> dict[str, float]:  # fmt: skip
    """Share of runs that promote at some look: by requests from the 1,000th pair on, and by sessions."""
    before = after = 0
    most = earlier.boundary(p0, 0.05, count * length)
    for _ in range(0, runs, 100):
        means, agreed = session_means(rng, 100, count, length, alike, mean)
        before += int(((~agreed).cumsum(1) <= most)[:, 999:].any(1).sum())
        after += int(np.isfinite(bets.first(bets.log_evidence(means, p0), LOG_20)).sum())
    return {"before": before / runs, "after": after / runs}


def harmless_sessions(rng: np.random.Generator, *, runs: int = 2000, count: int = 300) -> dict[str, float]:
    """False rollbacks at .90 of a student of .95 in sessions of 20, correlation .3: by requests, and by sessions."""
    before = after = 0
    up, down = (np.log1p(np.array(bets.UP) * gain) for gain in (0.9 / 0.1, -1.0))
    for _ in range(0, runs, 100):
        means, agreed = session_means(rng, 100, count, 20, 0.3, 0.95)
        bad = (~agreed).cumsum(1)
        good = np.arange(1, agreed.shape[1] + 1) - bad
        top = np.full(bad.shape, -np.inf)
        for one, other in zip(up, down, strict=True):
            np.logaddexp(top, bad * one + good * other, out=top)
        before += int((top - math.log(len(up)) >= math.log(200)).any(1).sum())
        after += int(np.isfinite(bets.first(bets.log_evidence(means, 0.9, harm=True), LOG_500)).sum())
    return {"before": before / runs, "after": after / runs}


def big_users(
    rng: np.random.Generator, *, runs: int = 1000, users: int = 100, requests: int = 5000
) -> dict[str, float]:
    """Populations of 100 users of Zipf share, correlation .3, whose mean *over users* is at the bound: promoted by requests,
    and with one observation a user, its first session of 20."""
    before = after = 0
    weights = 1 / np.arange(1, users + 1)
    most = earlier.boundary(0.95, 0.05, requests)
    for _ in range(runs):
        own = rng.beta(0.95 * 7 / 3, 0.05 * 7 / 3, size=users)
        agreed = rng.random(requests) < own[rng.choice(users, size=requests, p=weights / weights.sum())]
        before += bool(((~agreed).cumsum() <= most)[999:].any())
        first = rng.binomial(20, own) / 20
        after += bool((bets.log_evidence(first[None, :], 0.95) >= LOG_20).any())
    return {"before": before / runs, "after": after / runs}


def day_counts(
    rng: np.random.Generator, runs: int, days: int, a_day: int, mean: float, swing: float, apart: float
) -> Ints:
    """Agreements of each day: a rhythm of +-`swing` over its hours, and a true mean of its own that deviates by `apart`."""
    hours = mean + swing * np.sin(2 * np.pi * (np.arange(24) + 0.5) / 24)
    own = apart * rng.standard_normal((runs, days, 1))
    return np.asarray(rng.binomial(a_day // 24, np.clip(hours + own, 0, 1)).sum(axis=2))


def days(
    rng: np.random.Generator, *, a_day: int, mean: float = 0.95, swing: float = 0.0, apart: float = 0.0, p0: float = 0.95,
    most: int = 7, runs: int = 2000, log_threshold: float = FIRST,
) -> dict[str, float]:  # fmt: skip
    """Promoted within so many days, looked at at their ends from the second on, unless the days differ; held for that; and
    the median day of promotion."""
    size = a_day // 24 * 24
    counts = day_counts(rng, runs, most, a_day, mean, swing, apart)
    up, down = planning.gains(p0)
    ended = np.full(runs, np.inf)
    held = np.zeros(runs, dtype=bool)
    shares = counts / size
    errors = np.sqrt(np.maximum(shares * (1 - shares), 1 / size) / size)
    for day in range(LEAST, most + 1):
        good = counts[:, :day].sum(1)
        bad = day * size - good
        logs = np.logaddexp.reduce(good[:, None] * up + bad[:, None] * down, axis=1) - math.log(len(up))
        for run in np.flatnonzero(~held & np.isinf(ended)):
            seen = [Seen(0, 0, size, float(shares[run, at]), float(errors[run, at])) for at in range(day)]
            held[run] = differ(seen)
        for run in np.flatnonzero((logs >= log_threshold) & ~held & np.isinf(ended)):
            if above(shares[run, :day].tolist(), p0, math.exp(-log_threshold)):
                ended[run] = day
    done = np.isfinite(ended)
    return {
        "promoted": float(done.mean()), "held": float(held.mean()),
        "days": float(np.median(ended[done])) if done.any() else math.nan,
    }  # fmt: skip


def hourly(
    rng: np.random.Generator, *, a_day: int, swing: float = 0.0, apart: float = 0.0, mean: float = 0.95, most: int = 7,
    runs: int = 1000,
) -> float:  # fmt: skip
    """Promoted within so many days by the earlier rule, looked at every hour: what a rhythm does to it, and what days do
    whose true means are `apart` (SD)."""
    hours = mean + swing * np.sin(2 * np.pi * (np.arange(24 * most) + 0.5) / 24)
    shifts = np.repeat(rng.normal(0.0, apart, (runs, most)), 24, axis=1)
    good = rng.binomial(a_day // 24, np.clip(hours + shifts, 0.0, 1.0)).cumsum(1)
    n = a_day // 24 * np.arange(1, 24 * most + 1)
    few = earlier.boundary(0.95, 0.05, int(n[-1]))[n - 1]
    return float(((n - good <= few) & (n >= 1000)).any(1).mean())


def failures(
    rng: np.random.Generator, *, student: float, teacher: float, users: int, alike: float = 0.3, pairs: int = 20_000,
    burst: int = 5, runs: int = 300, ratio: float = 1.0, log_threshold: float = math.log(200),
) -> dict[str, float]:  # fmt: skip
    """Alarms about failures in bursts of 5 requests that correlate by `alike`, of Zipf users, each arm's its own: every
    request counted, and the first one-sided failure of each user; and the median of pairs until the second."""
    weights = 1 / np.arange(1, users + 1)
    every = firsts = 0
    waits = []
    spread = 1 / alike - 1
    for _ in range(runs):
        units = rng.choice(users, size=pairs // burst, p=weights / weights.sum())
        own = [rng.beta(rate * spread, (1 - rate) * spread, size=len(units)) for rate in (student, teacher)]
        ours, theirs = (rng.random(len(units) * burst) < np.repeat(rate, burst) for rate in own)
        at = np.flatnonzero(ours != theirs)
        _, seen = np.unique(np.repeat(units, burst)[at], return_index=True)
        first = np.sort(seen)
        p0 = ratio / (1 + ratio)
        logs = bets.log_evidence(ours[at].astype(float)[None, :], p0)[0] if len(at) else np.zeros(0)
        once = bets.log_evidence(ours[at][first].astype(float)[None, :], p0)[0] if len(at) else np.zeros(0)
        every += bool((logs >= log_threshold).any())
        crossed = np.flatnonzero(once >= log_threshold)
        firsts += bool(len(crossed))
        waits.append(float(at[first[crossed[0]]] + 1) if len(crossed) else math.inf)
    found = [wait for wait in waits if math.isfinite(wait)]
    return {
        "every": every / runs, "first": firsts / runs, "pairs": float(np.median(found)) if found else math.nan,
    }  # fmt: skip


def retries(rng: np.random.Generator, *, times: int = 10, pairs: int = 300, runs: int = 2000) -> dict[str, float]:
    """A student at the bound that is tried again and again: an alpha for each try, and shares of one."""
    xs = (rng.random((runs * times, pairs)) < 0.95).astype(float)
    peaks = bets.log_evidence(xs, 0.95).max(1).reshape(runs, times)
    asked = np.array([LOG_20 - math.log(weight(k)) for k in range(1, times + 1)])
    return {"before": float((peaks >= LOG_20).any(1).mean()), "after": float((peaks >= asked).any(1).mean())}


def drops(
    rng: np.random.Generator, *, healthy: int, then: float, runs: int = 400, log_threshold: float = LOG_500
) -> float:
    """Median of sessions' first audits, after a healthy past of .97, until a drop below .90 is found."""
    length = 2000 if then >= 0.7 else 200
    rates = np.concatenate([np.full(healthy, 0.97), np.full(length, then)])
    logs = bets.log_drop((rng.random((runs, len(rates))) < rates).astype(float), 0.9)
    return float(np.median(bets.first(logs[:, healthy:], log_threshold)))
