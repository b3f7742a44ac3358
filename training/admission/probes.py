"""Probes: contexts at which a served model's next token is compared with the trained one's. Pure.

Taken from rows like those that were trained on, at the answer's first token, in its middle, and where it ends: an adapter
that was never taught to stop differs there. Invariant: the same rows and seed give the same probes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from graduand.training.fit.mask import Example

LONGEST = 512  # tokens; a probe need not be long, and each context costs a forward pass over it


@dataclass(frozen=True, slots=True)
class Probe:
    """A row's tokens, and the lengths of the contexts whose next token is asked for; `start` ends the prompt."""

    id: str
    ids: tuple[int, ...]
    start: int

    @property
    def cuts(self) -> tuple[int, ...]:
        """How many tokens each context has."""
        last = len(self.ids) - 1
        return tuple(sorted({self.start, (self.start + last) // 2, last}))

    @property
    def contexts(self) -> list[list[int]]:
        """The contexts."""
        return [list(self.ids[:cut]) for cut in self.cuts]


def probes(examples: Sequence[Example], most: int, seed: int) -> list[Probe]:
    """At most `most` whole rows, drawn by their ids; short ones only, if there are any."""
    whole = [example for example in examples if not example.truncated]
    short = [example for example in whole if len(example.ids) <= LONGEST] or whole
    drawn = sorted(short, key=lambda example: hashlib.sha256(f"{seed}/{example.id}".encode()).digest())
    return [Probe(example.id, example.ids, example.start) for example in drawn[:most]]
