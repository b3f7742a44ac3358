"""Is the student right often enough? Gold labels of a few requests, with a cheap guess about all of them."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field

from graduand.rollout.gates import GateError, check_open

# How much of the guess is believed, and the share of the largest bet that keeps every factor above 0: all pairs are mixed.
BELIEFS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Gold alone has half of the money: where the guess is of no use, it costs a factor of two and no more.
SHARES = (0.5, 0.125, 0.125, 0.125, 0.125)
BETS = (0.04, 0.1, 0.18, 0.28, 0.4, 0.54, 0.7, 0.86, 0.97)


@dataclass(slots=True)
class Correctness:
    """Evidence that the share of requests that the student answers rightly exceeds `p0`.

    Requests come in blocks; of each block one is drawn for a person to label, request j of M with the probability q_j. Before
    the draw everything about a block is known but the labels: `predicted` is the guess that an answer is right (that it
    agrees with the teacher, or a judge's score). With the weight w = 1 / (M q_j), belief b and the mean guess f of the block

        X = w Y - b (w F - f)

    has the block's true share as its mean, whatever the guesses are worth, and a smaller variance than Y where they are
    worth something. Null: that mean is at most p0 in every block, or on average so far. E is a mixture of products of
    1 + bet r (X - p0) over constant beliefs and bets, so it tunes itself: b = 0 is gold alone. `floor` bounds the weights:
    no request of a block may be drawn less often than `floor` / M. `share` is r in (0, 1], known before the draw: what the
    block stands for beside the others, where blocks differ in size or were drawn unevenly.

    Angelopoulos, Duchi and Zrnic, "PPI++", arXiv:2311.01453; Csillag et al., "Prediction-powered e-values",
    arXiv:2502.04294; Zrnic and Candes, "Active statistical inference", arXiv:2403.03208.

    >>> gate = Correctness(p0=0.8)
    >>> for n in range(100):
    ...     gate.update(n % 20 != 0, predicted=1.0 if n % 20 else 0.0, mean=0.95)
    >>> gate.log_e > math.log(20), gate.n, round(gate.estimate(), 3)
    (True, 100, 0.95)
    """

    p0: float
    floor: float = 1.0
    n: int = 0  # labels drawn, skipped ones too
    right: int = 0
    skipped: int = 0
    logs: list[float] = field(default_factory=list)  # of each belief and bet
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)  # of w Y, D = w F - f, w Y D and D squared

    def __post_init__(self) -> None:
        check_open("p0", self.p0)
        if not 0 < self.floor <= 1:
            raise GateError(f"floor must lie above 0 and be at most 1; it is {self.floor!r}")
        self.logs = list(self.logs) or [0.0] * (len(BELIEFS) * len(BETS))

    def update(
        self, correct: bool | None, *, predicted: float, mean: float, weight: float = 1.0, share: float = 1.0
    ) -> None:
        """Learn from the label of one block's drawn request: `correct` None was skipped, and counts as wrong.

        `predicted` is the guess about it, `mean` that of its whole block, `weight` 1 / (M q).
        """
        if not (0 <= predicted <= 1 and 0 <= mean <= 1):
            raise GateError(f"guesses must lie in [0, 1]; they are {predicted!r} and {mean!r}")
        most = 1 / self.floor
        if not 0 < weight <= most * (1 + 1e-9):
            raise GateError(f"a weight must lie above 0 and be at most 1 / floor = {most:.3g}; it is {weight!r}")
        if not 0 < share <= 1:
            raise GateError(f"a block's share must lie above 0 and be at most 1; it is {share!r}")
        gain = weight if correct else 0.0
        surprise = weight * predicted - mean
        at = 0
        for belief in BELIEFS:
            # Where a block's guesses are low the belief is lowered, so that no X lies below -belief (1/floor - p0).
            x = gain - belief * min(1.0, (most - self.p0) / max(most - mean, 1e-12)) * surprise
            largest = 1 / (self.p0 + belief * (most - self.p0))
            for bet in BETS:
                self.logs[at] += math.log1p(bet * largest * share * (x - self.p0))
                at += 1
        self.n, self.right, self.skipped = self.n + 1, self.right + bool(correct), self.skipped + (correct is None)
        for place, value in enumerate((gain, surprise, gain * surprise, surprise * surprise)):
            self.sums[place] += value

    @property
    def log_e(self) -> float:
        """Log evidence."""
        top = max(self.logs)
        money = [share / len(BETS) for share in SHARES for _ in BETS]
        return top + math.log(math.fsum(part * math.exp(log - top) for part, log in zip(money, self.logs, strict=True)))

    def estimate(self) -> float:
        """The share that is right, for display: the tuned estimator of PPI++; 0 without labels."""
        if not self.n:
            return 0.0
        gain, surprise, both, square = (value / self.n for value in self.sums)
        spread = square - surprise * surprise
        belief = min(max((both - gain * surprise) / spread, 0.0), 1.0) if spread > 1e-12 else 0.0
        return min(max(gain - belief * surprise, 0.0), 1.0)


def labels_needed(p0: float, log_threshold: float, floor: float = 1.0, at_most: int = 100_000) -> int | None:
    """How many labels certify a student that is never wrong, where every guess is right: with fewer there is nothing to hope
    for. None beyond `at_most`.

    >>> labels_needed(0.8, math.log(20)), labels_needed(0.95, math.log(20)), labels_needed(0.99999, math.log(20))
    (22, 90, None)
    """
    gate = Correctness(p0, floor)
    gate.update(True, predicted=1.0, mean=1.0)
    each = gate.logs

    def certified(n: int) -> bool:
        gate.logs = [n * log for log in each]
        return gate.log_e >= log_threshold

    return bisect_left(range(1, at_most + 1), True, key=certified) + 1 if certified(at_most) else None
