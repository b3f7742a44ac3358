"""The unit is the observation: what the requests of one user's session say, as one bounded number.

Requests of one user are alike, so counting each as evidence of its own promotes students by luck. A sitting is what a unit
does without a gap of `GAP_S`, on one path; it ends at the end of its cycle too. All of it is drawn or none of it, by a hash
of unit and day that knows nothing of any outcome (`assignment.drawn`), and its mean is one observation. A missing outcome
counts as a disagreement where promotion is asked about and as an agreement where harm is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request that may stand for its sitting before a person; `place` in [0, 1) comes from a hash that knows no outcome."""

    record: str
    at: float
    kind: str  # how the answer compared with the teacher's
    wrong: bool  # there is no answer
    place: float


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
    candidate: Candidate | None = None  # each of `offered` alike
    offered: int = 0

    def add(self, at: float, outcomes: Mapping[str, float | None]) -> None:
        """Count one compared request."""
        self.last = max(self.last, at)
        self.requests += 1
        for signal, outcome in outcomes.items():
            self.tallies.setdefault(signal, Tally()).add(outcome)

    def offer(self, candidate: Candidate) -> str:
        """Let a request stand for the sitting, with the same chance as each before it; the record that no longer does.

        Vitter, "Random sampling with a reservoir", ACM Trans. Math. Softw. 11 (1985).
        """
        self.offered += 1
        if candidate.place * self.offered >= 1:
            return candidate.record
        before, self.candidate = self.candidate, candidate
        return "" if before is None else before.record


@dataclass(slots=True)
class Sittings:
    """The sittings that are open. Every sitting comes out once, by one of `add`, `over` and `cut`."""

    open: dict[str, Sitting] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)  # records that stand for their sitting no longer; never stored

    def add(
        self, unit: int | None, path: Path, at: float, outcomes: Mapping[str, float | None], *, p: float = 1.0,
        of_step: bool = True, candidate: Candidate | None = None,
    ) -> tuple[bool, list[Sitting]]:  # fmt: skip
        """Count one compared request of `unit`; whether a sitting began with it, and what has ended by that."""
        if unit is None:
            alone = Sitting(None, path, at, at, p, of_step)
            alone.add(at, outcomes)
            self._offer(alone, candidate)
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
        self._offer(found, candidate)
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

    def _offer(self, sitting: Sitting, candidate: Candidate | None) -> None:
        lost = "" if candidate is None else sitting.offer(candidate)
        if lost:
            self.dropped.append(lost)


def sittings_from_dict(data: list[list[Any]]) -> Sittings:
    """The sittings that `Sittings.to_dict` described."""
    found = Sittings()
    for unit, path, began, last, p, of_step, requests, tallies, *more in data:
        known = {signal: Tally(*tally) for signal, tally in tallies.items()}
        sitting = Sitting(unit, path, began, last, p, of_step, requests, known)
        if more:  # an earlier version had no candidates
            sitting.candidate, sitting.offered = Candidate(*more[0]), more[1]
        found.open[f"{path}:{unit:x}"] = sitting
    return found


def _plain(sitting: Sitting) -> Iterator[Any]:
    yield from (sitting.unit, sitting.path, sitting.began, sitting.last, sitting.p, sitting.of_step, sitting.requests)
    yield {name: [tally.total, tally.known, tally.missing] for name, tally in sitting.tallies.items()}
    if sitting.candidate is not None:
        yield astuple(sitting.candidate)
        yield sitting.offered
