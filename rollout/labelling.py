"""From agreement to correctness in one step of a rollout: which sessions a person is to label, and what the labels prove.

Invariants: who is asked about is drawn before anybody looks, by a hash; draws are learnt from in the order in which they
were made, however late a label comes, so nobody who labels chooses what the gate sees next; and what a cycle brought counts
when all of its draws have been learnt from. A draw that nobody labels counts as wrong.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from graduand.rollout.assignment import unit_key
from graduand.rollout.gates.correctness import Correctness
from graduand.rollout.gates.cycles import LEAST
from graduand.rollout.gates.drawing import FLOOR, Block, Guess, joined, single

# Without a rhythm one of so many sessions is drawn, as they come.
BLOCK = 10
# How often an answer is right that compares so with the teacher's, before the first label says more; worth PRIOR labels.
RATES = {"same": 0.95, "other": 0.3, "better": 0.95, "equal": 0.85, "worse": 0.4, "": 0.5}
PRIOR = 5
PLACES = 2**53
# Of a cycle whose length nobody knows yet, OPEN times as many blocks are open as will be drawn from, where that is few.
OPEN, MOST_OPEN = 4, 512


def place(salt: str, *records: str) -> float:
    """Where a draw falls in [0, 1): a keyed hash of what is drawn from."""
    return unit_key(salt, " ".join(records)) / PLACES


def kind_of(agreed: bool | None, score: float | None) -> str:
    """How an answer compared with the teacher's: the key of RATES.

    >>> kind_of(True, None), kind_of(None, 0.5), kind_of(None, None)
    ('same', 'equal', '')
    """
    if score is not None:
        return "better" if score > 0.5 else "worse" if score < 0.5 else "equal"
    return "" if agreed is None else "same" if agreed else "other"


@dataclass(frozen=True, slots=True)
class Draw:
    """A session that was drawn out of its block: the request that stands for it, and what the gate needs when its label
    comes. `last`: with it all draws of its cycle are learnt from."""

    guess: Guess
    mean: float  # guess about the whole block
    probability: float  # with which it was drawn out of its block
    size: int
    share: float  # what its block counts for beside the others
    last: bool

    @property
    def weight(self) -> float:
        """What its label stands for."""
        return 1 / (self.size * self.probability)


@dataclass(slots=True)
class Labelling:
    """The gate of correctness of one step, and the sessions that wait for it.

    >>> labelling = Labelling(Correctness(0.8, FLOOR), labels=100, whole=False)
    >>> for number in range(BLOCK):
    ...     dropped = labelling.take(Guess(f"r{number}", 0.0, kind="same"), "salt")
    >>> len(labelling.asked), labelling.asked[0].size, round(labelling.asked[0].weight, 6)
    (1, 10, 1.0)
    """

    gate: Correctness
    labels: int  # that people are asked for, each time that the step is entered
    whole: bool  # what a cycle brought waits for its end
    budget: int = 0  # draws in all, `labels` an entry
    drawn: int = 0
    size: int = 1  # sessions a block, in the cycle that runs
    cycles: int = 0  # of which all draws are learnt from
    usual: float = 0.0  # sessions a block in the first cycle, 0 before its end
    p_min: float = 0.0
    log_e: float = 0.0  # at the last look that was due
    last_at: float | None = None  # when a session could last have come
    blocks: list[Block] = field(default_factory=list)  # of the cycle that runs, in their order
    asked: list[Draw] = field(default_factory=list)  # drawn and not yet learnt from, oldest first
    known: dict[str, list[int]] = field(default_factory=dict)  # of each kind of guess: labels that said right, labels

    def __post_init__(self) -> None:
        self.budget = self.budget or self.labels
        self.size = self.size if self.whole else BLOCK

    @property
    def full(self) -> bool:
        """As many draws as were asked for were made."""
        return self.drawn >= self.budget

    @property
    def spent(self) -> bool:
        """Nothing more will be learnt."""
        return self.full and not self.asked

    @property
    def a_cycle(self) -> int:
        """The most draws of one cycle: no fewer cycles than a proof needs share the labels."""
        return math.ceil(self.labels / LEAST)

    def predicted(self, kind: str) -> float:
        """How likely an answer of this kind is right, by the labels so far."""
        right, n = self.known.get(kind, (0, 0))
        return (RATES[kind] * PRIOR + right) / (PRIOR + n)

    def take(self, guess: Guess, salt: str) -> list[str]:
        """A session has ended, and the request stands for it: the records that will not be asked about after all."""
        if self.full:
            return [guess.record]
        self.last_at = guess.at
        self.p_min = self.p_min or guess.p
        one = single(replace(guess, predicted=0.0 if guess.wrong else self.predicted(guess.kind)))
        if not self.blocks or self.blocks[-1].size >= self.size:
            self.blocks.append(one)
            dropped: list[str] = []
        else:
            self.blocks[-1], dropped = _join(self.blocks[-1], one, salt)
        if self.whole:
            return dropped + self._halved(max(self.a_cycle, min(OPEN * self.a_cycle, MOST_OPEN)), salt)
        if self.blocks[-1].size >= self.size:
            self._ask()
        return dropped

    def close(self, salt: str) -> list[str]:
        """A cycle has ended without a hold: its draws are made. The records that will not be asked about after all."""
        dropped = self._grouped(min(self.a_cycle, self.budget - self.drawn), salt)
        self.usual = self.usual or float(max((block.size for block in self.blocks), default=0))
        self._ask()
        return dropped

    def spoil(self) -> list[str]:
        """The cycle that runs had a hold in it: it does not count. The records that will not be asked about."""
        dropped = [block.kept.record for block in self.blocks]
        self.blocks, self.size = [], 1 if self.whole else BLOCK
        return dropped

    def again(self) -> list[str]:
        """The step is entered anew: what is known stays, and as many labels are asked for once more."""
        self.budget = self.drawn + self.labels
        return self.spoil()

    def learn(self, correct: bool | None) -> Draw:
        """The label of the oldest draw; None: nobody labelled it, which counts as wrong."""
        draw = self.asked.pop(0)
        guess = draw.guess
        self.gate.update(
            correct, predicted=guess.predicted, mean=draw.mean, weight=min(draw.weight, 1 / FLOOR), share=draw.share
        )
        if correct is not None and not guess.wrong:
            right, n = self.known.get(guess.kind, (0, 0))
            self.known[guess.kind] = [right + correct, n + 1]
        self.cycles += draw.last
        if not self.whole or (draw.last and self.cycles >= LEAST):
            self.log_e = self.gate.log_e
        return draw

    def to_dict(self) -> dict[str, Any]:
        """Plain data, bit-identical through JSON."""
        return asdict(self)

    def _ask(self) -> None:
        usual = self.usual or float(BLOCK)
        for number, block in enumerate(self.blocks, 1):
            # A block that is smaller than usual, or whose sessions were drawn more often, stands for less of the traffic.
            share = min(1.0, self.p_min / block.p) * min(1.0, block.size / usual)
            last = number == len(self.blocks)
            self.asked.append(Draw(block.kept, block.mean, block.probability, block.size, share, last))
        self.drawn += len(self.blocks)
        self.spoil()

    def _halved(self, most: int, salt: str) -> list[str]:
        """Let blocks be twice as large where there are more than so many."""
        if len(self.blocks) <= most:
            return []
        self.size *= 2
        return self._grouped(math.ceil(len(self.blocks) / 2), salt, 2)

    def _grouped(self, groups: int, salt: str, each: int = 0) -> list[str]:
        """Join neighbours to so many blocks, of as many as can be alike, or of `each`."""
        dropped: list[str] = []
        blocks, n = self.blocks, len(self.blocks)
        if n <= groups:
            return dropped
        self.blocks = []
        for number in range(groups):
            first, end = (
                (number * each, (number + 1) * each) if each else (number * n // groups, (number + 1) * n // groups)
            )
            block, *others = blocks[first:end]
            for other in others:
                block, lost = _join(block, other, salt)
                dropped += lost
            self.blocks.append(block)
        return dropped


def labelling_from_dict(data: Mapping[str, Any]) -> Labelling:
    """The labelling that `Labelling.to_dict` described."""
    blocks = [Block(**{**one, "kept": Guess(**one["kept"])}) for one in data["blocks"]]
    asked = [Draw(**{**one, "guess": Guess(**one["guess"])}) for one in data["asked"]]
    return Labelling(**{**data, "gate": Correctness(**data["gate"]), "blocks": blocks, "asked": asked})


def _join(one: Block, other: Block, salt: str) -> tuple[Block, list[str]]:
    block = joined(one, other, place(salt, one.kept.record, other.kept.record))
    lost = other if block.kept is one.kept else one
    return block, [lost.kept.record]
