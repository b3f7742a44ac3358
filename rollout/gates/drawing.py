"""Which sessions a person is to label: one of each block, drawn with a known probability where a label tells most.

Invariant: the draw is a function of guesses and of a hash, never of an outcome; and no session's probability falls below
FLOOR times its equal share of the block, so no label ever counts for more than 1 / FLOOR. Two blocks join to one that is
drawn exactly as if it had been one from the beginning, so a day's sessions need no list. Zrnic and Candes, "Active
statistical inference", arXiv:2403.03208: the best probabilities are in proportion to the guess's error. Chao, "A general
purpose unequal probability sampling plan", Biometrika 69 (1982).
"""

import math
from dataclasses import dataclass

from graduand.rollout.gates import GateError

# Of a session's chance, this much is there whatever is guessed about it.
EVEN = 0.5
# No guess is ever surer than this.
SUREST = 0.02


def chance(predicted: float) -> float:
    """How much of its block's chance a session has, whose answer is guessed to be right with probability `predicted`: more
    where the guess is in doubt, by the standard deviation of a yes or no.

    >>> round(chance(0.98), 2), round(chance(0.8), 2), chance(0.5)
    (0.64, 0.9, 1.0)
    """
    if not 0 <= predicted <= 1:
        raise GateError(f"a guess must lie in [0, 1]; it is {predicted!r}")
    least = max(min(predicted, 1 - predicted), SUREST)
    return EVEN + (1 - EVEN) * 2 * math.sqrt(least * (1 - least))


FLOOR = chance(0.0)


@dataclass(frozen=True, slots=True)
class Guess:
    """A request that stands for its session, and what is guessed about its answer before anybody looks."""

    record: str
    predicted: float  # that the answer is right
    at: float = 0.0
    kind: str = ""  # on what the guess rests: how the answer compared with the teacher's
    wrong: bool = False  # there is no answer: nobody has to look
    p: float = 1.0  # with which the session was drawn to be compared


@dataclass(frozen=True, slots=True)
class Block:
    """Sessions in a row, and the one of them that is drawn so far. `total` is the sum of their chances, `guessed` of their
    guesses, `p` the largest probability with which one was drawn to be compared."""

    kept: Guess
    total: float
    guessed: float
    size: int
    p: float

    @property
    def probability(self) -> float:
        """With which the one that is kept was drawn out of its block."""
        return chance(self.kept.predicted) / self.total

    @property
    def mean(self) -> float:
        """The mean guess."""
        return self.guessed / self.size

    @property
    def weight(self) -> float:
        """What its label stands for: 1 where all of a block are drawn alike."""
        return 1 / (self.size * self.probability)


def single(guess: Guess) -> Block:
    """A block of one."""
    return Block(guess, chance(guess.predicted), guess.predicted, 1, guess.p)


def joined(one: Block, other: Block, place: float) -> Block:
    """Both as one block; `place` in [0, 1) comes from a hash that knows no outcome.

    >>> sure, doubtful = single(Guess("a", 0.98)), single(Guess("b", 0.5))
    >>> joined(sure, doubtful, 0.38).kept.record, joined(sure, doubtful, 0.4).kept.record
    ('a', 'b')
    >>> round(joined(sure, doubtful, 0.4).probability, 2), round(joined(sure, doubtful, 0.4).weight, 2)
    (0.61, 0.82)
    """
    if not 0 <= place < 1:
        raise GateError(f"a draw needs a place in [0, 1); it is {place!r}")
    total = one.total + other.total
    kept = one.kept if place * total < one.total else other.kept
    return Block(kept, total, one.guessed + other.guessed, one.size + other.size, max(one.p, other.p))
