"""The unit is the observation: what the requests of one user's session say, as one bounded number.

Requests of one user are alike, so counting each as evidence of its own promotes students by luck. A sitting is what a unit
does without a gap of `GAP_S`, on one path; it ends at the end of its cycle too. All of it is drawn or none of it, by a hash
of unit and day that knows nothing of any outcome (`assignment.drawn`), and its mean is one observation. A missing outcome
counts as a disagreement where promotion is asked about and as an agreement where harm is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

Path = Literal["copies", "served"]

GAP_S = 1800.0
# So many sittings are open at most; beyond that those that were silent longest end early, whatever was in them.
MOST_OPEN = 4096


@dataclass(slots=True)
class Tally:
    """Outcomes of one kind within one sitting: their sum, how many there are, how many are missing."""

    total: float = 0.0
    known: int = 0
    missing: int = 0

    def add(self, outcome: float | None) -> None:
        """Count one; None: it should be there and is not."""
        if outcome is None:
            self.missing += 1
        else:
            self.total += outcome
            self.known += 1

    @property
    def least(self) -> float:
        """The mean with missing outcomes at 0.

        >>> Tally(total=2.0, known=3, missing=1).least, Tally(total=2.0, known=3, missing=1).most
        (0.5, 0.75)
        """
        return self.total / (self.known + self.missing)

    @property
    def most(self) -> float:
        """The mean with missing outcomes at 1."""
        return (self.total + self.missing) / (self.known + self.missing)


@dataclass(slots=True)
class Sitting:
    """One session of a unit on one path, drawn with probability `p`. `unit` is None where nobody knows it; `of_step`: all of
    it was asked in the step that its rollout is in."""

    unit: int | None
    path: Path
    began: float
    last: float
    p: float = 1.0
    of_step: bool = True
    requests: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)  # by the signal that a gate listens to

    def add(self, at: float, outcomes: Mapping[str, float | None]) -> None:
        """Count one compared request."""
        self.last = max(self.last, at)
        self.requests += 1
        for signal, outcome in outcomes.items():
            self.tallies.setdefault(signal, Tally()).add(outcome)


@dataclass(slots=True)
class Sittings:
    """The sittings that are open. Every sitting comes out once, by one of `add`, `over` and `cut`."""

    open: dict[str, Sitting] = field(default_factory=dict)

    def add(
        self, unit: int | None, path: Path, at: float, outcomes: Mapping[str, float | None], *, p: float = 1.0,
        of_step: bool = True,
    ) -> tuple[bool, list[Sitting]]:  # fmt: skip
        """Count one compared request of `unit`; whether a sitting began with it, and what has ended by that."""
        if unit is None:
            alone = Sitting(None, path, at, at, p, of_step)
            alone.add(at, outcomes)
            return True, [alone]
        key, ended = f"{path}:{unit:x}", []
        found = self.open.pop(key, None)
        # Another probability is another draw, and another step another question: what was before is whole.
        if found is not None and (at - found.last > GAP_S or (found.p, found.of_step) != (p, of_step)):
            ended.append(found)
            found = None
        began = found is None
        if found is None:
            found = Sitting(unit, path, at, at, p, of_step)
        found.add(at, outcomes)
        self.open[key] = found  # behind all others: the first is the one that was silent longest
        if len(self.open) > MOST_OPEN:
            ended.append(self.open.pop(next(iter(self.open))))
        return began, ended

    def over(self, now: float) -> list[Sitting]:
        """Take out the sittings that have been silent for longer than the gap: they stand before all others."""
        keys = [key for key, _ in takewhile(lambda one: now - one[1].last > GAP_S, self.open.items())]
        return [self.open.pop(key) for key in keys]

    def cut(self) -> list[Sitting]:
        """Take out all: a cycle has ended."""
        every = list(self.open.values())
        self.open = {}
        return every

    def to_dict(self) -> list[list[Any]]:
        """Plain data, bit-identical through JSON."""
        return [list(_plain(sitting)) for sitting in self.open.values()]


def sittings_from_dict(data: list[list[Any]]) -> Sittings:
    """The sittings that `Sittings.to_dict` described."""
    found = Sittings()
    for unit, path, began, last, p, of_step, requests, tallies in data:
        known = {signal: Tally(*tally) for signal, tally in tallies.items()}
        found.open[f"{path}:{unit:x}"] = Sitting(unit, path, began, last, p, of_step, requests, known)
    return found


def _plain(sitting: Sitting) -> Iterator[Any]:
    yield from (sitting.unit, sitting.path, sitting.began, sitting.last, sitting.p, sitting.of_step, sitting.requests)
    yield {name: [tally.total, tally.known, tally.missing] for name, tally in sitting.tallies.items()}
