"""Other systems' rules on the streams of failures that our gate gets, looked at as often.

GrowthBook's sequential test is run by `gbstats` itself (`pip install --no-deps gbstats`); without it its row says so.
Settings: GrowthBook two-sided at .05, tuning parameter 5,000 (its defaults), an alarm is an interval above no difference.
mSPRT (Johari, Koomen, Pekelis, Walsh, "Peeking at A/B tests", KDD 2017): normal mixture over the difference, tau .01, alpha
.05. Repeated threshold, as Argo's analysis and Flagger's checks do it: a check every 200 requests, at least 97% successes,
rolled back at the fifth failed check (Flagger's `threshold: 5`). Ours: first one-sided failures of users, alpha .05.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.simulate import bets

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
PAIRS, LOOK, ALPHA = 20_000, 200, 0.05
TUNING, TAU = 5_000, 0.01
SUCCESS, FAILED_CHECKS = 0.97, 5


def stream(
    rng: np.random.Generator, student: float, teacher: float, users: int, burst: int
) -> tuple[Ints, Bools, Bools]:
    """Whose each pair is, and whether either failed: in bursts of `burst` that correlate by .3, or independent."""
    weights = 1 / np.arange(1, users + 1)
    units = rng.choice(users, size=PAIRS // burst, p=weights / weights.sum())
    rates = [rng.beta(rate * 7 / 3, (1 - rate) * 7 / 3, size=len(units)) if burst > 1 else np.full(len(units), rate)
             for rate in (student, teacher)]  # fmt: skip
    ours, theirs = (rng.random(PAIRS) < np.repeat(rate, burst) for rate in rates)
    return np.repeat(units, burst), ours, theirs


def graduand(units: Ints, ours: Bools, theirs: Bools) -> bool:
    """Our gate."""
    at = np.flatnonzero(ours != theirs)
    first = np.sort(np.unique(units[at], return_index=True)[1])
    found = ours[at][first].astype(float)[None, :]
    return bool(len(first)) and bool((bets.log_evidence(found, 0.5) >= -math.log(ALPHA)).any())


def growthbook(units: Ints, ours: Bools, theirs: Bools) -> bool:
    """GrowthBook's sequential test, by its own package."""
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import ProportionStatistic

    config = SequentialConfig(difference_type="absolute", alpha=ALPHA, sequential_tuning_parameter=TUNING)
    for n in range(LOOK, PAIRS + 1, LOOK):
        arms = (ProportionStatistic(n=n, sum=int(arm[:n].sum())) for arm in (theirs, ours))
        if SequentialTwoSidedTTest(*arms, config).confidence_interval[0] > 0:
            return True
    return False


def msprt(units: Ints, ours: Bools, theirs: Bools) -> bool:
    """The mixture sequential probability ratio test of a difference of two rates."""
    n = np.arange(LOOK, PAIRS + 1, LOOK)
    one, two = (arm.cumsum()[n - 1] / n for arm in (ours, theirs))
    spread = np.maximum(one * (1 - one) + two * (1 - two), 1e-9)
    gap, wide = one - two, spread + n * TAU**2
    log_e = 0.5 * np.log(spread / wide) + n**2 * TAU**2 * gap**2 / (2 * spread * wide)
    return bool(((log_e >= -math.log(ALPHA)) & (gap > 0)).any())


def threshold(units: Ints, ours: Bools, theirs: Bools) -> bool:
    """A fixed bound, checked again and again."""
    checks = 1 - ours.reshape(-1, LOOK).mean(axis=1)
    return int((checks < SUCCESS).sum()) >= FAILED_CHECKS


RULES: dict[str, Callable[[Ints, Bools, Bools], bool]] = {
    "GrowthBook's sequential test": growthbook,
    "mSPRT": msprt,
    "repeated threshold": threshold,
    "ours": graduand,
}
# What happens, the student's and the teacher's rate of failures, users, requests in a burst.
CASES = (
    ("A/A, independent", 0.02, 0.02, 20_000, 1),
    ("A/A, bursts of 5", 0.02, 0.02, 1000, 5),
    ("A/A, bursts of 20", 0.02, 0.02, 1000, 20),
    ("4% against 2%, bursts of 5", 0.04, 0.02, 1000, 5),
)


def alarms(rng: np.random.Generator, runs: int) -> dict[str, dict[str, float]]:
    """For each case and rule the share of runs with an alarm; a rule that cannot be run is not there."""
    found: dict[str, dict[str, float]] = {}
    for name, student, teacher, users, burst in CASES:
        streams = [stream(rng, student, teacher, users, burst) for _ in range(runs)]
        found[name] = {}
        for rule, of in RULES.items():
            try:
                found[name][rule] = sum(of(*one) for one in streams) / runs
            except ImportError:
                continue
    return found
