"""Ships closed segments: recover what a killed writer left, seal, upload, then delete what nobody reads any more.

Every step can be repeated: it is killed anywhere, starts again, and does the same under the same names, so each record
lands once. Must never delete a segment before the target has all of its parts and the rollouts' controller has read it.
"""

import fcntl
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from graduand.gateway.errors import GraduandError
from graduand.gateway.logs import journal, places, retention, seal
from graduand.gateway.logs.segment import redactor_of
from graduand.gateway.logs.target import Target, TargetError
from graduand.gateway.model.recording import RecordPolicy
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics

SHIPPED = ".shipped"
RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
RETAIN_EVERY_S = 3600.0
# What a writer had not committed when it was killed can only be in its latest segments.
LATEST = 4
# A file without a byte may be one that a writer is opening in this moment.
EMPTY_FOR_S = 60.0

logger = logging.getLogger("graduand")


class Readers(Protocol):
    """Who else reads segments."""

    def done_with(self, segments: Iterable[Path]) -> set[str]:
        """The names of those segments that nobody will read any more."""
        ...

    def forget(self, names: Iterable[str]) -> None:
        """These segments are gone."""
        ...


@dataclass(frozen=True, slots=True)
class Shipped:
    """A part that the target has: its key, the hash of its bytes, and how many records of which rollouts are in it."""

    key: str
    sha256: str
    rollouts: Mapping[str, int]


class Evidence(Protocol):
    """Who writes down which parts hold what a rollout learnt from."""

    def shipped(self, parts: Sequence[Shipped]) -> None:
        """The target has these."""
        ...


class Shipper:
    """One spool's shipper; `look` does what there is to do. Two at once would do the same twice, which is harmless."""

    def __init__(
        self, spool: Path, policy: RecordPolicy, target: Callable[[], Target], readers: Readers, metrics: Metrics,
        clock: Callable[[], float] = time.time, evidence: Evidence | None = None,
    ) -> None:  # fmt: skip
        self._spool = spool
        self._evidence = evidence
        self._policy = policy
        self._open_target = target
        self._target: Target | None = None
        self._readers = readers
        self._metrics = metrics
        self._clock = clock
        self._failures = 0
        self._wait_until = 0.0
        self._retained_at = 0.0

    def look(self) -> bool:
        """One look; whether something was shipped. Errors of the target are counted and waited out, never raised."""
        shipped = False
        try:
            for folder, table in self._tables():
                # Taken before recovery: a writer that dies after this moment has its turn at the next look.
                closed = [one for one in sorted(folder.glob("*.jsonl")) if not is_shipped(one) and self._is_closed(one)]
                held = self._recover(folder) if table == "log" else set()
                self._clear(folder, table, held)
                if self._clock() >= self._wait_until:
                    for segment in closed:
                        self._ship(segment, table)
                        shipped = True
            if self._clock() >= self._wait_until:
                self._retain()
        except TargetError as error:
            self._failed(error)
        self._measure()
        return shipped

    def _tables(self) -> Iterator[tuple[Path, str]]:
        yield self._spool / places.SEGMENTS, "log"
        for table in places.BESIDE:
            yield self._spool / table / places.SEGMENTS, table

    # What a killed worker left.

    def _recover(self, folder: Path) -> set[str]:
        """Write what killed writers left; return those for whom that failed: their segments must stay."""
        place = places.journals(self._spool, self._policy)
        held: set[str] = set()
        if place is None or not place.is_dir():
            return held
        for path in journal.left_behind(place):
            try:
                self._recover_one(path, folder)
            except OSError as error:  # a full disk, most likely: the journal stays until there is room
                logger.error("the records in %s cannot be recovered yet: %s", path.name, error)
                held.add(path.stem.rpartition("-")[0])
        return held

    def _recover_one(self, path: Path, folder: Path) -> None:
        """Write the records that no segment has; they stand in one new segment, named after the journal."""
        writer = path.stem.rpartition("-")[0]
        lines = journal.uncommitted(path)
        recovered = folder / f"{path.stem.rpartition('-')[2]}-{writer}-journal.jsonl"
        if lines and not recovered.exists():
            there = _ids(sorted(folder.glob(f"*-{writer}-*.jsonl"))[-LATEST:])
            missing = [line for line in lines if orjson.loads(line)["id"] not in there]
            if missing:
                logger.warning("%d records of %s, which was killed, are recovered", len(missing), writer)
                _write_whole(recovered, b"".join(self._redacted(missing)))
        path.unlink()

    def _redacted(self, lines: list[bytes]) -> list[bytes]:
        redactor = redactor_of(self._policy)
        return lines if redactor is None else [redactor.line(line)[0] for line in lines]

    # Sealing and uploading.

    def _is_closed(self, segment: Path) -> bool:
        with segment.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            found = segment.stat()
            if found.st_size == 0 and self._clock() - found.st_mtime > EMPTY_FOR_S:
                segment.unlink()
            return found.st_size > 0

    def _ship(self, segment: Path, table: str) -> None:
        sealed = seal.seal(segment, table)
        if sealed.damaged:
            aside = segment.with_suffix(".damaged")
            logger.error("%d lines of %s are no records; they are kept in %s", len(sealed.damaged), segment.name, aside)
            _write_whole(aside, b"".join(sealed.damaged))
        shipped: list[Shipped] = []
        for part in sealed.parts:
            data = part.encoded()
            self._metrics.add(m.LOG_PARTS, ("sealed",))
            self._to_target().put(part.key, data)
            self._metrics.add(m.LOG_PARTS, ("uploaded",))
            self._succeeded()
            if table == "log" and (rollouts := _rollouts(part.lines)):
                shipped.append(Shipped(part.key, hashlib.sha256(data).hexdigest(), rollouts))
        if shipped and self._evidence is not None:
            try:
                self._evidence.shipped(shipped)
            except GraduandError as error:  # the records' own digests are in the evidence already
                logger.warning("the evidence of rollouts cannot name %d parts: %s", len(shipped), error)
        _write_whole(_marker(segment), b"")

    def _to_target(self) -> Target:
        if self._target is None:
            self._target = self._open_target()
        return self._target

    def _failed(self, error: TargetError) -> None:
        wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)] * random.uniform(0.75, 1.25)
        self._failures += 1
        self._wait_until = self._clock() + wait_s
        self._metrics.add(m.LOG_PARTS, ("failed",))
        logger.error("the log is not shipped, again in %.0f s (nothing is lost): %s", wait_s, error)

    def _succeeded(self) -> None:
        if self._failures:
            logger.info("the log is shipped again")
        self._failures, self._wait_until = 0, 0.0

    # Deleting.

    def _clear(self, folder: Path, table: str, held: set[str]) -> None:
        """Delete segments that have been shipped and read, but those of `held` writers."""
        shipped = [one for one in sorted(folder.glob("*.jsonl")) if is_shipped(one)]
        shipped = [one for one in shipped if not any(f"-{writer}-" in one.name for writer in held)]
        try:
            done = self._readers.done_with(shipped) if table == "log" else {one.name for one in shipped}
        except GraduandError as error:  # who cannot be asked may still be reading
            logger.warning("shipped segments stay for now: %s", error)
            return
        for segment in shipped:
            if segment.name in done:
                segment.unlink()
                _marker(segment).unlink()
        self._readers.forget(done)
        for marker in folder.glob(f"*{SHIPPED}"):
            if not marker.with_suffix("").exists():  # killed between the two
                marker.unlink(missing_ok=True)

    def _retain(self) -> None:
        now = self._clock()
        if self._policy.keep_days is None or now - self._retained_at < RETAIN_EVERY_S:
            return
        target = self._to_target()
        for key in retention.expired(target.listed(), now, self._policy.keep_days):
            target.delete(key)
            self._metrics.add(m.LOG_PARTS, ("deleted",))
        self._retained_at = now

    # Saying how it goes.

    def _measure(self) -> None:
        waiting, oldest, now = 0, None, self._clock()
        for folder, _ in self._tables():
            for segment in folder.glob("*.jsonl"):
                try:
                    size = segment.stat().st_size
                except FileNotFoundError:
                    continue
                if size and not is_shipped(segment):
                    waiting += size
                    began = _began(segment)
                    oldest = began if oldest is None else min(oldest, began)
        self._metrics.set(m.LOG_WAITING, (), waiting)
        self._metrics.set(m.LOG_LAG, (), 0.0 if oldest is None else max(0.0, now - oldest))


def _marker(segment: Path) -> Path:
    return segment.with_name(segment.name + SHIPPED)


def is_shipped(segment: Path) -> bool:
    """Whether the target has all of a segment."""
    return _marker(segment).exists()


def _began(segment: Path) -> float:
    """When a segment's first record was written, from the record itself; now if there is none."""
    try:
        with segment.open("rb") as file:
            first = orjson.loads(file.readline())
        # What is said of a request may be said long after it: that is the monitor's lag, not the log's.
        return float(first.get("evaluated_at", first["time"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # half a line so far
        return time.time()


def _ids(segments: Iterable[Path]) -> set[str]:
    found = set()
    for segment in segments:
        with segment.open("rb") as file:
            found |= {orjson.loads(line)["id"] for line in file if line.startswith(b"{") and line.endswith(b"}\n")}
    return found


def _rollouts(lines: Iterable[bytes]) -> Counter[str]:
    """How many records of each rollout there are."""
    found = (orjson.loads(line).get("rollout") for line in lines if b'"rollout":null' not in line)
    return Counter(one for one in found if one)


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
