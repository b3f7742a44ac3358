"""Batches: every row once an epoch, the same ones again after a resume, little padding."""

import random

from hypothesis import given
from hypothesis import strategies as st

from training.batches import epoch_batches, padding_share, steps_per_epoch


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=200),
    size=st.integers(1, 9),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_every_row_once(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert len(batches) == steps_per_epoch(len(lengths), size)
    assert batches == epoch_batches(lengths, size, seed, epoch)


def test_epochs_and_seeds_differ() -> None:
    lengths = [10] * 40
    assert epoch_batches(lengths, 4, 0, 0) != epoch_batches(lengths, 4, 0, 1)
    assert epoch_batches(lengths, 4, 0, 0) != epoch_batches(lengths, 4, 1, 0)


def test_padding_is_a_small_share() -> None:
    source = random.Random(0)
    lengths = [source.randint(30, 90) for _ in range(320)]
    assert padding_share(lengths, epoch_batches(lengths, 4, 0, 0)) < 0.05
    unsorted = [list(range(first, first + 4)) for first in range(0, 320, 4)]
    assert padding_share(lengths, unsorted) > 0.2
