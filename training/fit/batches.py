"""Batches: which examples go together, and in what order.

Invariant: a pure function of lengths, sizes, seed and epoch, so that a resumed run sees the same batches; each epoch has
every example exactly once.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

# Sorting by length within pools of this many batches leaves little padding, and still mixes rows between epochs.
POOL_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Size:
    """A batch has at most `rows` rows, or if `tokens` is not 0, as many as fit into that many tokens with padding."""

    rows: int
    tokens: int = 0

    def pool(self, lengths: Sequence[int]) -> int:
        """How many rows are sorted together."""
        if not self.tokens:
            return self.rows * POOL_BATCHES
        return max(1, POOL_BATCHES * self.tokens * len(lengths) // max(1, sum(lengths)))


@dataclass(frozen=True, slots=True)
class Phase:
    """Examples `first` to `last` (not included), seen for `epochs`: one phase after the other is a curriculum."""

    first: int
    last: int
    epochs: float


def schedule(phases: Sequence[Phase], lengths: Sequence[int], size: Size, seed: int) -> list[list[int]]:
    """All steps of a run, each a batch of indices into `lengths`; the last epoch of a phase may be a part of one."""
    steps: list[list[int]] = []
    for number, phase in enumerate(phases):
        part, whole = lengths[phase.first : phase.last], int(phase.epochs)
        epochs = [epoch_batches(part, size, f"{seed}/{number}" if number else str(seed), at) for at in range(whole + 1)]
        last = epochs.pop()
        found = [batch for epoch in epochs for batch in epoch] + last[: round((phase.epochs - whole) * len(last))]
        steps += [[phase.first + index for index in batch] for batch in found or last[:1]]
    return steps


def epoch_batches(lengths: Sequence[int], size: Size, seed: str, epoch: int) -> list[list[int]]:
    """One epoch's batches of indices into `lengths`, similar lengths together, in random order."""
    source = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    source.shuffle(order)
    pool = size.pool(lengths)
    batches: list[list[int]] = []
    for first in range(0, len(order), pool):
        alike = sorted(order[first : first + pool], key=lambda index: lengths[index])
        batches += _fill(alike, lengths, size.tokens) if size.tokens else _cut(alike, size.rows)
    source.shuffle(batches)
    return batches


def _cut(indices: list[int], size: int) -> list[list[int]]:
    """`indices` in runs of nearly equal size, at most `size`: a rest of one row would make a noisy step."""
    count = -(-len(indices) // size)
    bounds = [len(indices) * part // count for part in range(count + 1)]
    return [indices[first:last] for first, last in itertools.pairwise(bounds)]


def _fill(indices: list[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """`indices`, sorted by length, in runs of at most `tokens` tokens with padding; a longer row is a run alone."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and (len(runs[-1]) + 1) * lengths[index] <= tokens:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of the batches' tokens that is padding."""
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths[index] for batch in batches for index in batch) / padded
