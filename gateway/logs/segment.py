"""The request log's writer: records become lines of a segment file, beside the request path and never in its way.

`append` copies a record into the journal and onto a queue; a thread redacts and writes in groups, every 20 ms. A record
is *acknowledged* once `append` returns, which is before the last byte of its answer can leave: from then on it survives
the death of the process (gateway.logs.journal). When there is no room it is refused and counted, never waited for.
Files: FOLDER/segments/*.jsonl, locked (flock) while they are open; a segment without a lock is closed for ever.
"""

import errno
import fcntl
import logging
import os
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from graduand.gateway.logs import places
from graduand.gateway.logs.journal import Journal
from graduand.gateway.model.fields import Record
from graduand.gateway.model.recording import DEFAULT, RecordPolicy

if TYPE_CHECKING:
    from graduand.gateway.logs.redaction import Redactor

MAX_PENDING_BYTES = 64 << 20
SEGMENT_BYTES = 32 << 20
FLUSH_EVERY_S = 0.02
WEIGH_EVERY_S = 1.0
CLOSE_WITHIN_S = 2.0
# The most buffers that Linux takes in one call (IOV_MAX).
WRITTEN_AT_ONCE = 1024
LONG_LINE_BYTES = 4096
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger("graduand")


def redactor_of(policy: RecordPolicy) -> "Redactor | None":
    """What takes out what the policy names; None, and RE2 is not loaded, where it names nothing."""
    if not policy.redacts:
        return None
    from graduand.gateway.logs.redaction import Redactor

    return Redactor(policy)


class SegmentFile:
    """The open segment of one writer; rolled by size and by age. Not for two threads at once."""

    def __init__(self, folder: Path, name: str, seal_s: float) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._seal_s = seal_s
        self._number = 0
        self._file = -1
        self._size = 0
        self._opened_at = 0.0

    def write(self, *data: bytes | memoryview) -> int:
        """Hand some of `data` to the kernel, from its beginning; return how many bytes. OSError if nothing could be."""
        if self._file < 0:
            self._open()
        done = os.writev(self._file, data)
        self._size += done
        return done

    def roll(self) -> None:
        """Close the segment if it is full or old; call it between two lines only."""
        old = time.monotonic() - self._opened_at > self._seal_s
        if self._file >= 0 and (self._size >= SEGMENT_BYTES or (old and self._size > 0)):
            self.close()

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the segment: the next write opens another."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        while True:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            path = self._folder / f"{stamp}-{self._name}-{self._number:05d}.jsonl"
            self._number += 1
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o640)
            except FileExistsError:  # of a process of the same number, in another container of the same second
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            self._file, self._size, self._opened_at = file, 0, time.monotonic()
            return


class LogWriter:
    """One worker's writer. `records_written`, `records_lost` (at the end, on a full disk), `records_refused` and
    `redactions` (by route) only grow."""

    def __init__(self, folder: Path, *, name: str = "", policy: RecordPolicy = DEFAULT) -> None:
        self._name = name or str(os.getpid())
        self._policy = policy
        self._folder = folder / places.SEGMENTS
        self._segment = SegmentFile(self._folder, self._name, policy.seal_s)
        self._journal = _journal(places.journals(folder, policy), self._name)
        self._redactor = redactor_of(policy)
        # A deque's append and popleft are atomic, and each counter below has one writing thread: no lock is needed.
        self._queue: deque[tuple[bytes, int]] = deque()
        self._bytes_queued = 0
        self._bytes_done = 0
        self.records_written = 0
        self.records_lost = 0
        self.records_refused = 0
        self.redactions: Counter[str] = Counter()
        # What is being written: the lines as they go to the file, how much of the first is there, and what was acknowledged.
        self._lines: list[bytes] = []
        self._line_done = 0
        self._acknowledged: list[tuple[int, int]] = []
        self._stuck = False
        self._crowded = False
        self._weighed_at = 0.0
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._writer.start()

    @property
    def pending_bytes(self) -> int:
        """Bytes queued and not yet handed to the file system."""
        return self._bytes_queued - self._bytes_done

    @property
    def no_room(self) -> bool:
        """Whether the disk or the spool is full."""
        return self._stuck or self._crowded or self.pending_bytes > MAX_PENDING_BYTES // 2

    @property
    def blocks(self) -> bool:
        """Whether requests are to be refused until there is room again (`on_full: block`)."""
        return self._policy.on_full == "block" and self.no_room

    def append(self, record: Record) -> None:
        """Acknowledge one record or count it as refused; never waits."""
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        if self.pending_bytes > MAX_PENDING_BYTES or (self._crowded and self._policy.on_full == "drop"):
            self.records_refused += 1
            return
        position = self._journal.put(line) if self._journal is not None else 0
        self._bytes_queued += len(line)
        self._queue.append((line, position))

    def close(self) -> None:
        """Write what is queued and stop. What a full disk does not take stays in the journal, or is lost and counted."""
        self._closing.set()
        self._writer.join()
        self._segment.close()
        if self._journal is not None:
            self._journal.close()

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_EVERY_S):
            self._flush()
            self._weigh()
        until = time.monotonic() + CLOSE_WITHIN_S
        while True:
            self._flush()
            if not self._lines and not self._queue:
                return
            if time.monotonic() > until:
                break
            time.sleep(FLUSH_EVERY_S)
        self.records_lost += sum(not position for _, position in (*self._acknowledged, *self._queue))

    def _flush(self) -> None:
        if not self._lines:
            self._take_queued()
        try:
            while self._lines:
                self._wrote(self._line_done + self._segment.write(*self._offered()))
        except OSError as error:
            self._failed(error)
            return
        if self._stuck:
            logger.info("the log is written again")
        self._stuck = False
        self._segment.roll()

    def _take_queued(self) -> None:
        take = self._queue.popleft
        queued = [take() for _ in range(len(self._queue))]
        self._acknowledged = [(len(line), position) for line, position in queued]
        self._lines = [line if self._redactor is None else self._redacted(line) for line, _ in queued]

    def _redacted(self, line: bytes) -> bytes:
        assert self._redactor is not None
        line, route, spans = self._redactor.line(line)
        if spans:
            self.redactions[route] += spans
        return line

    def _offered(self) -> list[bytes | memoryview]:
        """Short lines as one piece; long ones as they are, without a copy of megabytes that no cache holds."""
        rest = memoryview(self._lines[0])[self._line_done :]
        lines: list[bytes | memoryview] = [rest, *self._lines[1:WRITTEN_AT_ONCE]]
        return [b"".join(lines)] if sum(map(len, lines)) < LONG_LINE_BYTES * len(lines) else lines

    def _wrote(self, done: int) -> None:
        """So many bytes from the first line's beginning on are in the file."""
        ends = list(accumulate(map(len, self._lines[:WRITTEN_AT_ONCE])))
        count = bisect_right(ends, done)
        self._line_done = done - ends[count - 1] if count else done
        self._landed(self._acknowledged[:count])
        del self._lines[:count], self._acknowledged[:count]

    def _landed(self, lines: list[tuple[int, int]]) -> None:
        self.records_written += len(lines)
        self._bytes_done += sum(size for size, _ in lines)
        positions = [position for _, position in lines if position]
        if positions and self._journal is not None:
            self._journal.commit(positions[-1])

    def _failed(self, error: OSError) -> None:
        if not self._stuck:
            logger.error("the log cannot be written, records wait in memory: %s", error)
        self._stuck = True
        if error.errno in NO_ROOM:
            return  # the rest of the line follows in the same file, when there is room
        # This file may end in half a line: that one is written again, whole, to a new file.
        self._line_done = 0
        self._segment.close()

    def _weigh(self) -> None:
        """Look whether the spool is larger than it may be."""
        now = time.monotonic()
        if self._policy.spool_mb is None or now - self._weighed_at < WEIGH_EVERY_S:
            return
        self._weighed_at = now
        crowded = size_of(self._folder) > self._policy.spool_mb << 20
        if crowded != self._crowded:
            logger.error("the spool is %s", "full" if crowded else "no longer full")
        self._crowded = crowded


def size_of(folder: Path) -> int:
    """Bytes of a folder's files."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # shipped in this moment
                continue
    return total


def _journal(folder: Path | None, name: str) -> Journal | None:
    """A journal, or None with the consequence in the process's log: without one nothing else is different."""
    try:
        if folder is not None:
            return Journal(folder / f"{name}-{time.time_ns():x}.ring")
        reason = "there is no memory-backed folder /dev/shm for records before redaction"
    except OSError as error:
        reason = str(error)
    logger.warning(
        "no journal (%s): killing this process may lose the last %g ms of records", reason, 1000 * FLUSH_EVERY_S
    )
    return None
