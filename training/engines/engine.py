"""Engines: a function from an Arrow table to an Arrow table is applied to batches, here or elsewhere.

Invariant: who asks cuts the batches, and an engine neither splits nor joins them, so each engine hands the function the same
tables and the outcomes are the same bytes. Must never lose a batch in silence: it is handed back, or an error is raised.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import pyarrow as pa

from graduand.gateway.errors import GraduandError
from graduand.training.stages.progress import Progress

# Picklable, since it may go to another machine; what is slow to make (a model) it makes at its first call and keeps.
Function = Callable[[pa.Table], pa.Table]
Item = TypeVar("Item")


class EngineError(GraduandError, RuntimeError):
    """Workers cannot be had, or one of them failed."""


class Engine(Protocol):
    """Applies functions to batches."""

    @property
    def workers(self) -> int:
        """How many batches are worked on at once; 0: in this process."""

    def map(
        self, function: Function, batches: Sequence[pa.Table], most: int | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Each batch's place and outcome as they come, by at most `most` workers. Close it to stop."""


class Local:
    """This process, one batch after the other."""

    workers = 0

    def map(
        self, function: Function, batches: Sequence[pa.Table], most: int | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        for place, batch in enumerate(batches):
            yield place, function(batch)


LOCAL = Local()


def in_order(
    engine: Engine, function: Function, batches: Sequence[pa.Table], progress: Progress, text: str
) -> list[pa.Table]:
    """All outcomes in the order of the batches, with progress by rows."""
    found: list[pa.Table | None] = [None] * len(batches)
    total, done = sum(batch.num_rows for batch in batches), 0
    with contextlib.closing(engine.map(function, batches)) as outcomes:  # type: ignore[type-var]
        for place, outcome in outcomes:
            found[place] = outcome
            done += batches[place].num_rows
            progress.step(done, total, text)
    missing = [place for place, outcome in enumerate(found) if outcome is None]
    if missing:
        raise EngineError(f"{len(missing)} of {len(batches)} batches did not come back; run the same command again")
    return [outcome for outcome in found if outcome is not None]


def cut(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """`items` in runs of `most`, the last one shorter.

    >>> cut("abcde", 2)
    ['ab', 'cd', 'e']
    """
    return [items[first : first + most] for first in range(0, len(items), most)]
