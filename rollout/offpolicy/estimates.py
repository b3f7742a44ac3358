"""IPS, SNIPS and the doubly robust estimator, each with an interval over units.

Requests of one unit are not independent, so a unit's requests are summed first and the interval is that of a mean or a ratio
over units (linearised; Student's t). It holds for many units, none of which outweighs the rest: `effective_units` says how
many there are as if all weighed alike. Horvitz and Thompson (1952); Swaminathan and Joachims, "The self-normalized estimator
for counterfactual learning" (2015); Dudik, Langford and Li, "Doubly robust policy evaluation and learning",
arXiv:1103.4601.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import scipy  # loads its parts when they are first used: half a second, which most processes never need
from numpy.typing import NDArray

from graduand.rollout.offpolicy import CannotEvaluate
from graduand.rollout.offpolicy.decisions import FEWEST_UNITS, Decision, Reward, check

Method = Literal["ips", "snips", "dr"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the policy would have earned a request, by one method."""

    method: Method
    reward: str
    value: float
    low: float
    high: float
    level: float  # of the interval
    requests: int
    units: int
    effective_units: float
    logged_value: float  # what was earned a request by the logged policy

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def estimate(decisions: Sequence[Decision], reward: Reward, method: Method, level: float = 0.95) -> Estimate:
    """The policy's value; raise CannotEvaluate where the log does not cover it.

    `ips` is unbiased and noisy; `snips` divides by the weights that came up, which takes most of the noise out for a bias
    that vanishes; `dr` corrects a model's guesses by what was seen, and is right if either is.
    """
    check(decisions)
    weights = np.array([one.weight for one in decisions])
    rewards = np.array([one.reward for one in decisions])
    units = np.unique([one.unit for one in decisions], return_inverse=True)[1]
    size = int(units.max()) + 1
    counts = np.bincount(units, minlength=size).astype(float)
    earned, bases = weights * rewards, counts
    if method == "snips":
        bases = np.bincount(units, weights, size)
    elif method == "dr":
        earned = _robust(decisions, weights, rewards)
    if not bases.sum() > 0:
        raise CannotEvaluate("no request was answered by an arm that the policy would take")
    value, half = _ratio(np.bincount(units, earned, size).astype(float), bases, level)
    effective = _effective(np.bincount(units, weights, size).astype(float))
    if effective < FEWEST_UNITS:
        raise CannotEvaluate(
            f"the weights rest on {effective:.0f} units of {size} as if all weighed alike; {FEWEST_UNITS} are needed. The "
            "policy is too far from the logged one, or a few units have most of the traffic"
        )
    return Estimate(
        method, reward.name, value, value - half, value + half, level, len(decisions), size, effective,
        float(rewards.mean()),
    )  # fmt: skip


def _robust(decisions: Sequence[Decision], weights: Floats, rewards: Floats) -> Floats:
    """The model's guess of the policy, and what was seen beyond the guess, weighed."""
    without = sum(
        not {arm for arm, p in one.wanted.items() if p > 0} | {one.arm} <= one.guesses.keys() for one in decisions
    )
    if without:
        raise CannotEvaluate(f"the doubly robust estimator needs a guess for each arm; {without} requests have none")
    guessed = np.array([math.fsum(p * one.guesses.get(arm, 0.0) for arm, p in one.wanted.items()) for one in decisions])
    return np.asarray(guessed + weights * (rewards - np.array([one.guesses[one.arm] for one in decisions])))


def _ratio(sums: Floats, bases: Floats, level: float) -> tuple[float, float]:
    """A ratio of sums over units and half its interval."""
    size, total = len(sums), float(bases.sum())
    value = float(sums.sum()) / total
    spread = math.sqrt(float(((sums - value * bases) ** 2).sum()) * size / (size - 1)) / total
    return value, float(scipy.stats.t.ppf((1 + level) / 2, size - 1)) * spread


def _effective(weights: Floats) -> float:
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def guesses(decisions: Sequence[Decision], folds: int = 5) -> list[Decision]:
    """The same decisions with each arm's mean reward as the guess, from the units of the other folds only."""
    found = []
    fold = [one.unit % folds for one in decisions]
    means = {
        number: _means([one for one, own in zip(decisions, fold, strict=True) if own != number])
        for number in range(folds)
    }
    for one, own in zip(decisions, fold, strict=True):
        known = {arm: means[own].get(arm, 0.0) for arm in {*one.wanted, one.arm}}
        found.append(Decision(one.unit, one.arm, one.reward, one.logged, one.wanted, known))
    return found


def _means(decisions: Sequence[Decision]) -> dict[str, float]:
    by_arm: dict[str, list[float]] = {}
    for one in decisions:
        by_arm.setdefault(one.arm, []).append(one.reward)
    return {arm: math.fsum(rewards) / len(rewards) for arm, rewards in by_arm.items()}
