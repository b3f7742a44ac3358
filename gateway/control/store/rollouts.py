"""What a store of rollouts does, whatever keeps it: their rows, events and evidence, and the log's offsets. In SQLite it
is gateway.control.store.sqlite, in Redis gateway.control.store.redis.

Invariant: whatever belongs together is written inside one `transaction`, which a lost lease or a stale version undoes
as a whole. Methods that write say so by their name and are called inside a transaction only.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.gateway.errors import GraduandError
from graduand.gateway.logs import tail
from graduand.gateway.logs.tail import Batch, Line
from graduand.gateway.state.store import StateStore
from graduand.rollout.hybrid.pairs import Pair
from graduand.rollout.state import Event

# The lease of the one controller that decides.
LEASE, LEASE_S = "controller", 3.0
DISAGREEMENTS_KEPT = 200

Json = dict[str, Any]


class NoRollout(GraduandError, LookupError):
    """There is no such rollout."""


class Rollouts(ABC):
    """Rollouts in one state store; not for sharing between threads."""

    state: StateStore

    def close(self) -> None:
        """Let go of the store."""
        self.state.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inside."""
        with self.state.transaction():
            yield

    # Rollouts and their events.

    def find(self, name: str) -> Row:
        """A rollout by its id, or the newest of a route; raise NoRollout."""
        found = self.row(name) or next(iter(self.rows(route=name)), None)
        if found is None:
            known = [row.id for row in self.rows()]
            raise NoRollout(f"there is no rollout {name!r}, nor one of a route of that name. There are: "
                            f"{', '.join(known[:20]) or 'none yet; start one with graduand rollout start'}")  # fmt: skip
        return found

    @abstractmethod
    def row(self, rollout_id: str) -> Row | None:
        """One rollout."""

    @abstractmethod
    def rows(self, route: str | None = None, limit: int = 100) -> list[Row]:
        """Rollouts, newest first."""

    @abstractmethod
    def live(self) -> list[Row]:
        """Rollouts about which something may have to be decided."""

    @abstractmethod
    def number(self, route: str) -> int:
        """How many rollouts this route has had."""

    @abstractmethod
    def write_row(self, row: Row) -> None:
        """Store a rollout as it is now."""

    @abstractmethod
    def write_event(self, row: Row, event: Event) -> None:
        """Store what happened; a second event at the same version is impossible."""

    @abstractmethod
    def events(self, rollout_id: str) -> list[tuple[int, str, Event]]:
        """Version and phase that each event led to, in order."""

    @abstractmethod
    def tokens(self, rollout_id: str) -> list[int]:
        """The fencing token under which each event was written, in order."""

    @abstractmethod
    def told(self, rollout_id: str, hook: int) -> int:
        """Up to which version a webhook was told."""

    @abstractmethod
    def write_told(self, rollout_id: str, hook: int, version: int) -> None:
        """A webhook was told up to this version."""

    # Evidence.

    @abstractmethod
    def write_unit(self, row: Row, unit: int) -> bool:
        """Note a unit; whether it is its first appearance in this entry."""

    @abstractmethod
    def write_once(self, row: Row, what: str, unit: int) -> bool:
        """Note that something happened to a unit; whether it is the first time on the present basis of its evidence."""

    @abstractmethod
    def write_forget_once(self, row: Row) -> None:
        """Drop what happened to units on earlier bases; of a rollout at rest all that nothing will ask about again."""

    @abstractmethod
    def write_forget_units(self, row: Row) -> None:
        """Drop the units of earlier entries."""

    @abstractmethod
    def write_point(self, row: Row, at: float, point: Mapping[str, Any]) -> None:
        """One point of a rollout's course, for the page."""

    @abstractmethod
    def last_point(self, rollout_id: str) -> float:
        """When the newest point was taken; 0 without any."""

    def course(self, rollout_id: str, most: int = 500) -> list[Json]:
        """Points in order of time, at most so many of them."""
        found = self.points(rollout_id)
        stride = max(1, -(-len(found) // most))
        return found[::-1][::stride][::-1]  # the newest point always

    @abstractmethod
    def points(self, rollout_id: str) -> list[Json]:
        """All points of a course in order of time."""

    @abstractmethod
    def write_disagreement(self, row: Row, at: float, record: str, seen: Mapping[str, Any]) -> None:
        """Keep a disagreement to be looked at; only the latest are kept."""

    @abstractmethod
    def disagreements(self, rollout_id: str, limit: int = 20) -> list[Json]:
        """The latest disagreements, newest first."""

    @abstractmethod
    def write_sample(self, row: Row, pair: Pair) -> None:
        """One pair to learn a threshold from."""

    @abstractmethod
    def samples(self, row: Row, most: int) -> list[Pair]:
        """The latest samples of this attempt, oldest first."""

    @abstractmethod
    def sample_count(self, row: Row) -> int:
        """How many samples this attempt has."""

    @abstractmethod
    def write_forget_samples(self, row: Row) -> None:
        """Drop what was sampled: a threshold that has expired is learnt again from fresh pairs."""

    # Pairs that wait for a judge.

    @abstractmethod
    def write_judging(self, row: Row, day: int, wanted: list[int], data: Mapping[str, Any]) -> None:
        """Let a pair wait for the answers to the `wanted` questions, and count it for its day."""

    @abstractmethod
    def judging(self, rollout_id: str, most: int) -> list[tuple[int, list[int], dict[str, str | None]]]:
        """The oldest waiting pairs: number, the questions to ask, and the verdicts so far by question."""

    @abstractmethod
    def judging_case(self, number: int) -> Json:
        """What a waiting pair is about."""

    @abstractmethod
    def judging_count(self, rollout_id: str) -> int:
        """How many pairs wait."""

    @abstractmethod
    def judged_on(self, rollout_id: str, day: int) -> int:
        """How many pairs of this day (since 1970, UTC) were taken in."""

    @abstractmethod
    def write_verdict(self, number: int, question: int, text: str | None) -> None:
        """Keep the first verdict on a question; nothing if the pair waits no longer."""

    @abstractmethod
    def write_judged(self, number: int) -> None:
        """A pair waits no longer."""

    @abstractmethod
    def write_forget_judging(self, row: Row) -> None:
        """Drop all waiting pairs of a rollout: nothing is to be learnt from them any more."""

    # The log.

    def share(self, folder: Path) -> bool:
        """Give what this replica's log has for live rollouts to whoever leads; whether there is more. Any replica does
        it, in a transaction of its own. With one replica there is nobody to give it to."""
        return False

    def read(self, folder: Path, since: float) -> Batch:
        """What is to be learnt next, of all replicas: from where `offsets` says on."""
        return tail.look(folder, self.offsets(), since)

    def expect(self, records: list[Json], rows: Mapping[str, Row]) -> None:  # noqa: B027
        """These records are about to be gathered: a store far away may fetch what it knows of them at once."""

    @abstractmethod
    def offsets(self) -> dict[str, int]:
        """By segment, up to where it was read."""

    @abstractmethod
    def write_offsets(self, offsets: Mapping[str, int]) -> None:
        """Read up to here."""

    def read_to(self) -> dict[str, int]:
        """By segment of this replica, up to where it was read, or shared."""
        return self.offsets()

    def waiting_files(self, since: float) -> set[str]:
        """The segments that hold records which have been waiting since then at the longest."""
        return set()

    def write_gone(self, files: Iterable[str]) -> None:  # noqa: B027
        """Forget segments that are there no longer."""

    @abstractmethod
    def write_seen(self, record_id: str, time: float) -> bool:
        """Note a record's id; whether it is new."""

    @abstractmethod
    def write_waiting(self, record_id: str, role: str, line: Line, time: float) -> None:
        """Part of a pair: kept, or where to find it, when the others come."""

    @abstractmethod
    def take_waiting(self, record_id: str, role: str) -> Line | None:
        """The waiting part, no longer waiting; a line without data has to be read again where it stands."""

    @abstractmethod
    def overdue(self, before: float) -> list[Line]:
        """The served requests that have waited for their copies since before then."""

    @abstractmethod
    def write_forgotten(self, halves_before: float, ids_before: float) -> int:
        """Give up halves that waited too long, and forget old ids; how many halves."""
