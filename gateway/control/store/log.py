"""How far the request log was read, which records were seen, and which wait for the others of their request.

With one replica the controller reads its own segments, and a record that waits is a place in one of them. Several replicas
hand the records of live rollouts to the one that leads, through a stream; there, what waits is kept whole.
"""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from graduand.gateway.logs import tail
from graduand.gateway.logs.tail import Batch, Line, Place
from graduand.gateway.model import reader
from graduand.gateway.model.routing import DEFERRED
from graduand.gateway.state.hashes import Hashes
from graduand.gateway.state.store import StateStore

if TYPE_CHECKING:
    from graduand.gateway.state.redis_stream import Stream

# A record's id is looked for among those of its own quarter of an hour only: a record that comes twice has one time.
SEEN_S = 900
# The parts of a pair, which are read in any order.
ROLES = ("served", "shadow", "audit", "deferred", "answered")
# The one name under which lines of the stream have their places.
EVIDENCE = "evidence"
TAKEN_AT_ONCE = 1_500

Json = dict[str, Any]


class OwnSegments:
    """The one replica's own log. What waits is a place in it."""

    whole = False

    def share(self, folder: Path) -> bool:
        """There is nobody to give it to."""
        return False

    def read(self, folder: Path, offsets: Mapping[str, int], since: float) -> Batch:
        """What is new in the segments."""
        return tail.look(folder, offsets, since)

    def read_to(self, offsets: Callable[[], dict[str, int]]) -> dict[str, int]:
        """By segment, up to where it was read."""
        return offsets()

    def done(self, end: int) -> None:
        """The log is there for others, too."""

    def kept(self, line: Line) -> bytes:
        """What is kept of a line that waits."""
        return json.dumps([line.place.file, line.place.offset, line.place.length]).encode()

    def line(self, kept: bytes) -> Line:
        """The line of which this was kept; its data has to be read again."""
        return Line(Place(*json.loads(kept)), b"")


class SharedStream:
    """The stream of all replicas' lines. What waits is a whole line."""

    whole = True

    def __init__(self, state: StateStore, stream: "Stream") -> None:
        self._state = state
        self._stream = stream

    def share(self, folder: Path) -> bool:
        """Append what is new in the segments of `folder`; whether there is more."""
        self._state.version()  # or it is not the store that is known
        hashes = self._state.hashes
        since = [float(at) for at in hashes.all("rollouts:live").values()]
        if not since:
            return False
        known = self._stream.read_to()
        batch = tail.look(folder, known, min(since))
        if not batch.lines:
            return False
        # Asked for after the reading: a rollout that began meanwhile may have records among these.
        live = hashes.all("rollouts:live").keys()
        lines = [line for one in batch.lines if (line := _wanted(one, live)) is not None]
        done = self._stream.append(known, batch.offsets, lines)
        self._stream.forget([name for name in known if not (folder / "segments" / name).exists()])
        return done and batch.more

    def read(self, folder: Path, offsets: Mapping[str, int], since: float) -> Batch:
        """What is new in the stream."""
        found = self._stream.after(offsets.get(EVIDENCE, 0), TAKEN_AT_ONCE)
        lines = [Line(Place(EVIDENCE, number - 1, len(data)), data) for number, data in found]
        return Batch(lines, {EVIDENCE: found[-1][0]} if found else {}, more=len(found) == TAKEN_AT_ONCE)

    def read_to(self, offsets: Callable[[], dict[str, int]]) -> dict[str, int]:
        """By segment of this replica, up to where it was shared."""
        return self._stream.read_to()

    def done(self, end: int) -> None:
        """What stands before `end` is not needed any more, once the transaction is written."""
        self._stream.trim(end)

    def kept(self, line: Line) -> bytes:
        """What is kept of a line that waits: all of it."""
        return line.data

    def line(self, kept: bytes) -> Line:
        """The line of which this was kept."""
        return Line(Place("waiting", 0, len(kept)), kept)


class Log:
    """What was read of the log. Methods that write say so by their name and are called inside a transaction only."""

    _hashes: Hashes
    _source: OwnSegments | SharedStream

    def share(self, folder: Path) -> bool:
        """Give what this replica's log has for live rollouts to whoever leads; whether there is more. Any replica does
        it, in a transaction of its own. With one replica there is nobody to give it to."""
        return self._source.share(folder)

    def read(self, folder: Path, since: float) -> Batch:
        """What is to be learnt next, of all replicas: from where `offsets` says on."""
        return self._source.read(folder, self.offsets(), since)

    def offsets(self) -> dict[str, int]:
        """By segment, up to where it was read; of several replicas, how far the stream was."""
        return {name: int(end) for name, end in self._hashes.all("read").items()}

    def read_to(self) -> dict[str, int]:
        """By segment of this replica, up to where it was read, or shared: it is not read again."""
        return self._source.read_to(self.offsets)

    def write_offsets(self, offsets: Mapping[str, int]) -> None:
        """Read up to here."""
        for name, end in offsets.items():
            self._hashes.set("read", name, end)
            self._source.done(end)

    def write_gone(self, files: Iterable[str]) -> None:
        """Forget segments that are there no longer."""
        self._hashes.unset("read", files)

    def write_seen(self, record_id: str, time: float) -> bool:
        """Note a record's id; whether it is new."""
        if self._hashes.get(seen_at(time), record_id) is not None:
            return False
        self._hashes.set(seen_at(time), record_id, "")
        self._hashes.set("seen", str(_part(time)), "")
        return True

    def write_waiting(self, record_id: str, role: str, line: Line, time: float) -> None:
        """Part of a pair: kept, or where to find it, when the others come."""
        self._hashes.set("waiting", half_of(record_id, role), self._source.kept(line))
        self._hashes.set("waiting:since", half_of(record_id, role), time)

    def take_waiting(self, record_id: str, role: str) -> Line | None:
        """The waiting part, no longer waiting; a line without data has to be read again where it stands."""
        half = half_of(record_id, role)
        found = self._hashes.get("waiting", half)
        if found is None:
            return None
        self._hashes.unset("waiting", [half])
        self._hashes.unset("waiting:since", [half])
        return self._source.line(found)

    def waiting_files(self, since: float) -> set[str]:
        """The segments that hold records which have been waiting since then at the longest."""
        if self._source.whole:
            return set()
        recent = [half for half, at in self._hashes.all("waiting:since").items() if float(at) >= since]
        return {self._source.line(one).place.file for one in self._hashes.many("waiting", recent) if one is not None}

    def overdue(self, before: float) -> list[Line]:
        """The served requests that have waited for their copies since before then."""
        since = self._hashes.all("waiting:since")
        halves = [half for half, at in since.items() if half.startswith(half_of("", "served")) and float(at) < before]
        return (
            [self._source.line(one) for one in self._hashes.many("waiting", halves) if one is not None]
            if halves
            else []
        )

    def write_forgotten(self, halves_before: float, ids_before: float) -> int:
        """Give up halves that waited too long, and forget old ids; how many halves."""
        old = [half for half, at in self._hashes.all("waiting:since").items() if float(at) < halves_before]
        self._hashes.unset("waiting", old)
        self._hashes.unset("waiting:since", old)
        for part in self._hashes.all("seen"):
            if int(part) < _part(ids_before):
                self._hashes.drop(f"seen:{part}")
                self._hashes.unset("seen", [part])
        return len(old)


def half_of(record_id: str, role: str) -> str:
    """The name of a part of a pair."""
    return f"{role} {record_id}"


def seen_at(time: float) -> str:
    """The hash with the ids of this time."""
    return f"seen:{_part(time)}"


def _part(time: float) -> int:
    return int(time // SEEN_S)


def _wanted(line: Line, live: Container[str]) -> bytes | None:
    """The line if it belongs to a live rollout, without the texts of requests that nothing is compared with."""
    record = reader.parsed(line.data)
    if record is None or record["rollout"] not in live:
        return None
    if record["role"] != "served" or record["copy_wanted"] or record["reason"] == DEFERRED:
        return line.data
    # As it was written, for its hash is part of the evidence.
    return orjson.dumps({**orjson.loads(line.data), "request_json": None, "response_json": None})
