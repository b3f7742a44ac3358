"""Which requests a person is to label: one of each block, drawn with a known probability where a label tells most.

Invariant: the draw is a function of the block's guesses and of a hash, never of an outcome; and no request's probability
falls below the floor, so no label ever counts for more than 1 / floor. Zrnic and Candes, "Active statistical inference",
arXiv:2403.03208: the best probabilities are in proportion to the guess's error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graduand.rollout.gates import GateError

# Of a block's probability, this much is shared alike whatever the guesses say.
FLOOR = 0.5


@dataclass(frozen=True, slots=True)
class Guess:
    """A request that was answered, and what is guessed about its answer before anybody looks."""

    record: str
    predicted: float  # that the answer is right: agreement with the teacher, or a judge's score


@dataclass(frozen=True, slots=True)
class Drawn:
    """The request of a block that was drawn, with everything that the gate needs when its label comes."""

    record: str
    predicted: float
    mean: float  # guess about the whole block
    probability: float  # with which it was drawn out of its block
    size: int

    @property
    def weight(self) -> float:
        """What its label stands for: 1 where all of a block are drawn alike."""
        return 1 / (self.size * self.probability)


def draw(block: Sequence[Guess], place: float, floor: float = FLOOR) -> Drawn:
    """The request of `block` that is to be labelled; `place` in [0, 1) comes from a hash that knows no outcome.

    >>> block = [Guess("a", 1.0), Guess("b", 0.5)]
    >>> draw(block, 0.2).record, draw(block, 0.3).record, round(draw(block, 0.3).weight, 2)
    ('a', 'b', 0.67)
    """
    if not block or not 0 <= place < 1:
        raise GateError(f"a draw needs a block and a place in [0, 1); it has {len(block)} requests and {place!r}")
    chances = probabilities([one.predicted for one in block], floor)
    at, passed = 0, chances[0]
    while passed <= place and at < len(block) - 1:
        at += 1
        passed += chances[at]
    mean = math.fsum(one.predicted for one in block) / len(block)
    return Drawn(block[at].record, block[at].predicted, mean, chances[at], len(block))


def probabilities(predicted: Sequence[float], floor: float = FLOOR) -> list[float]:
    """With which each request of a block is drawn: `floor` in equal parts, the rest in proportion to the guesses' own
    doubt, the square root of p (1 - p).

    >>> [round(p, 2) for p in probabilities([1.0, 0.5, 1.0, 0.5])]
    [0.12, 0.38, 0.12, 0.38]
    """
    doubts = [math.sqrt(max(p * (1 - p), 0.0)) for p in predicted]
    whole, even = math.fsum(doubts), 1 / len(doubts)
    if not whole:
        return [even] * len(doubts)
    return [floor * even + (1 - floor) * doubt / whole for doubt in doubts]
