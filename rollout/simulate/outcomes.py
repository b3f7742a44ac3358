"""How often outcome gates certify a student whose users are worse off than the margin allows, and one whose users are not.

One yes or no of each user (who says nothing says no), matched one with one; looked at after each pair of users.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.simulate import bets

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arms:
    """Share of users with a good outcome: of the control, and of the student's users as a part of that."""

    control: float
    part: float
    margin: float
    swing: float = 0.0  # both arms' shares are so much higher in half of the hours, and lower in the others


def certified(arms: Arms, rng: np.random.Generator, users: int, runs: int, alpha: float = 0.05) -> float:
    """Share of runs in which the gate certifies that no more than the margin is lost."""
    evidence = bets.log_evidence(_matched(arms, rng, users, runs), 0.5)
    return float(np.isfinite(bets.first(evidence, -math.log(alpha))).mean())


def rolled_back(arms: Arms, rng: np.random.Generator, users: int, runs: int, alpha: float = 0.01) -> float:
    """Share of runs in which the harm gate says that more than the margin is lost."""
    evidence = bets.log_evidence(_matched(arms, rng, users, runs), 0.5, harm=True)
    return float(np.isfinite(bets.first(evidence, -math.log(alpha))).mean())


def _matched(arms: Arms, rng: np.random.Generator, users: int, runs: int) -> Floats:
    hours = np.where(np.arange(users) // 50 % 2, arms.swing, -arms.swing)
    control = rng.random((runs, users)) < arms.control + hours
    treated = rng.random((runs, users)) < (arms.control + hours) * arms.part
    return (1 + treated - (1 - arms.margin) * control) / 2
