"""How often gold labels certify a share that is not there, and how often one that is: the gate of correctness, many runs at
once, looked at after each label.

The model: a block of requests is right with probability `true` each; the guess is right with probability `good`, or says
"right" always; one of each block is drawn for a label, alike or where the guess doubts.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graduand.rollout.gates.correctness import BELIEFS, BETS, SHARES
from graduand.rollout.gates.drawing import EVEN, FLOOR, SUREST

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """What is true, and what is guessed about it."""

    true: float
    good: float = 0.9
    block: int = 20
    doubtful: bool = False  # the guess knows which requests it is unsure of, and those are drawn more often
    flattering: bool = False  # the guess says "right", whatever is true
    skipped: float = 0.0  # share of draws that nobody labels
    worst_first: bool = False  # shares wander from block to block around `true`, the bad ones first


@dataclass(frozen=True, slots=True)
class Labels:
    """Blocks of many runs, shape (runs, labels)."""

    correct: Floats
    predicted: Floats
    mean: Floats
    weight: Floats


def drawn(world: World, rng: np.random.Generator, labels: int, runs: int) -> Labels:
    """Labels as a queue would draw them."""
    shape = (runs, labels, world.block)
    share = np.full((1, labels, 1), world.true)
    if world.worst_first:
        share += np.linspace(-1, 1, labels)[None, :, None] * min(world.true, 1 - world.true) * 0.9
    right = rng.random(shape) < share
    unsure = rng.random(shape) < 0.3 if world.doubtful else np.zeros(shape, bool)
    wrong_guess = rng.random(shape) < np.where(unsure, 0.5, 1 - world.good)
    sure = np.where(right != wrong_guess, 0.95, 0.05)
    guess = np.where(unsure, 0.5, sure) if world.doubtful else (right != wrong_guess).astype(float)
    if world.flattering:
        guess = np.ones(shape)
    doubt = np.clip(guess, SUREST, 1 - SUREST) if world.doubtful else np.full(shape, 0.5)
    chance = EVEN + (1 - EVEN) * 2 * np.sqrt(doubt * (1 - doubt))
    chance /= chance.sum(2, keepdims=True)
    at = (chance.cumsum(2) <= rng.random((runs, labels, 1))).sum(2).clip(max=world.block - 1)[:, :, None]
    picked = [np.take_along_axis(values, at, 2)[:, :, 0] for values in (right.astype(float), guess, chance)]
    correct = np.where(rng.random((runs, labels)) < world.skipped, 0.0, picked[0])
    return Labels(correct, picked[1], guess.mean(2), 1 / (world.block * picked[2]))


def log_e(labels: Labels, p0: float, floor: float, *, gold_alone: bool = False) -> Floats:
    """Log evidence after each label, shape (runs, labels): `gates.correctness` for many runs at once."""
    gain, surprise, most = labels.weight * labels.correct, labels.weight * labels.predicted - labels.mean, 1 / floor
    shares = (1.0, 0.0, 0.0, 0.0, 0.0) if gold_alone else SHARES
    total = np.zeros_like(gain)
    for belief, share in zip(BELIEFS, shares, strict=True):
        if not share:
            continue
        lowered = belief * np.minimum(1.0, (most - p0) / np.maximum(most - labels.mean, 1e-12))
        x = gain - lowered * surprise - p0
        largest = 1 / (p0 + belief * (most - p0))
        for bet in BETS:
            total += share / len(BETS) * np.exp(np.cumsum(np.log1p(bet * largest * x), axis=1))
    return np.asarray(np.log(total))


def certified(
    world: World, rng: np.random.Generator, *, p0: float, labels: int = 100, runs: int = 1000, alpha: float = 0.05,
    gold_alone: bool = False,
) -> float:  # fmt: skip
    """Share of runs in which `p0` is certified at some label, by all that is known or by gold alone."""
    floor = FLOOR if world.doubtful else 1.0
    found = log_e(drawn(world, rng, labels, runs), p0, floor, gold_alone=gold_alone)
    return float((found.max(axis=1) >= -math.log(alpha)).mean())
