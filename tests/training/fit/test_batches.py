"""Batches: every row once an epoch, the same ones again after a resume, little padding."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.training.fit.batches import Phase, Size, epoch_batches, padding_share, schedule


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=200),
    size=st.builds(Size, st.integers(1, 9), st.just(0) | st.integers(1, 900)),
    epoch=st.integers(0, 5),
)
def test_every_row_once(lengths: list[int], size: Size, epoch: int) -> None:
    batches = epoch_batches(lengths, size, "1", epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    if size.tokens:
        assert all(len(batch) * max(lengths[i] for i in batch) <= size.tokens or len(batch) == 1 for batch in batches)
    else:
        assert all(1 <= len(batch) <= size.rows for batch in batches)
    assert batches == epoch_batches(lengths, size, "1", epoch)


def test_epochs_and_seeds_differ() -> None:
    lengths, size = [10] * 40, Size(4)
    assert epoch_batches(lengths, size, "0", 0) != epoch_batches(lengths, size, "0", 1)
    assert epoch_batches(lengths, size, "0", 0) != epoch_batches(lengths, size, "1", 0)


@pytest.mark.parametrize("size", [Size(4), Size(1, 240)])
def test_padding_is_a_small_share(size: Size) -> None:
    source = random.Random(0)
    lengths = [source.randint(30, 90) for _ in range(320)]
    assert padding_share(lengths, epoch_batches(lengths, size, "0", 0)) < 0.05
    unsorted = [list(range(first, first + 4)) for first in range(0, 320, 4)]
    assert padding_share(lengths, unsorted) > 0.2


@pytest.mark.parametrize(("epochs", "steps"), [(1, 10), (2.5, 25), (0.01, 1), (3, 30)])
def test_parts_of_epochs(epochs: float, steps: int) -> None:
    assert len(schedule([Phase(0, 40, epochs)], [10] * 40, Size(4), 0)) == steps


def test_a_curriculum_goes_from_phase_to_phase() -> None:
    steps = schedule([Phase(0, 8, 2), Phase(8, 40, 1)], [10] * 40, Size(4), 0)
    assert [max(batch) < 8 for batch in steps] == [True] * 4 + [False] * 8
    assert sorted(index for batch in steps[4:] for index in batch) == list(range(8, 40))
