"""Batches: which examples go together, and in what order.

Invariant: a pure function of lengths, size, seed and epoch, so that a resumed run sees the same batches; each epoch has
every example exactly once.
"""

import itertools
import random
from collections.abc import Sequence

# Sorting by length within pools of this many batches leaves little padding, and still mixes rows between epochs.
POOL_BATCHES = 16


def epoch_batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """One epoch's batches of indices into `lengths`, similar lengths together, in random order."""
    source = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    source.shuffle(order)
    pool = size * POOL_BATCHES
    batches = [
        batch
        for first in range(0, len(order), pool)
        for batch in _cut(sorted(order[first : first + pool], key=lambda index: lengths[index]), size)
    ]
    source.shuffle(batches)
    return batches


def _cut(indices: list[int], size: int) -> list[list[int]]:
    """`indices` in runs of nearly equal size, at most `size`: a rest of one row would make a noisy step."""
    count = -(-len(indices) // size)
    bounds = [len(indices) * part // count for part in range(count + 1)]
    return [indices[first:last] for first, last in itertools.pairwise(bounds)]


def steps_per_epoch(rows: int, size: int) -> int:
    """How many batches `epoch_batches` makes."""
    pool = size * POOL_BATCHES
    full, rest = divmod(rows, pool)
    return full * POOL_BATCHES + -(-rest // size)


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of the batches' tokens that is padding."""
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths[index] for batch in batches for index in batch) / padded
