"""A worker's journal: records that were answered and may not yet be in a segment, in memory that outlives the process.

A ring in a memory-mapped file. `put` copies a record in before the answer's end leaves (`Exchange._leave`); the writer's
thread commits it once it is in a segment. When the worker is killed the kernel keeps the pages, and the shipper writes
what is missing.
File: magic, head, tail (u64 each; positions only grow), padding to 64 bytes, then the ring of (u32 length, bytes).
Invariant: `head` moves after the bytes are there, `tail` after they are in a segment; so what lies between is whole.
Each moves as one word of memory. `struct.pack_into` must not be used: it fills its target with zeros first and then writes
byte by byte, and a kill in between would leave a ring that seems to be empty.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

RING_BYTES = 4 << 20
MAGIC = 0x4A4E4C31  # "JNL1"
MAKING = ".making"
MADE_WITHIN_S = 60.0
_AT = 64
_MAGIC, _HEAD, _TAIL = range(3)  # words of the file's beginning
_WORDS = struct.Struct("=QQQ")
_U32 = struct.Struct("<I")


class Journal:
    """The writer's side. One thread puts, another commits."""

    def __init__(self, path: Path) -> None:
        """Make the file; OSError if there is no room or no right to."""
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Under its own name only once it is locked: without a lock it would be taken for one that was left behind.
        making = path.with_suffix(MAKING)
        self._file = os.open(making, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # A page that the disk has no room for would end the process with SIGBUS: all of them are taken now.
            os.posix_fallocate(self._file, 0, _AT + RING_BYTES)
            self._map = mmap.mmap(self._file, _AT + RING_BYTES)
            self._words = memoryview(self._map).cast("Q")
            self._words[_MAGIC] = MAGIC
            making.rename(path)
        except OSError:
            os.close(self._file)
            making.unlink(missing_ok=True)
            raise
        self._head = self._tail = 0

    def put(self, line: bytes) -> int:
        """Copy one record in; return its position to commit, or 0 if the ring has no room for it."""
        length = len(line) + _U32.size
        if length > RING_BYTES - (self._head - self._tail):
            return 0
        self._copy(self._head, _U32.pack(len(line)))
        self._copy(self._head + _U32.size, line)
        self._head += length
        self._words[_HEAD] = self._head
        return self._head

    def commit(self, position: int) -> None:
        """All records up to `position` are in a segment."""
        self._words[_TAIL] = position
        self._tail = position

    def close(self) -> None:
        """Remove the file if everything was committed; else leave it to the shipper."""
        if self._head == self._tail:
            self.path.unlink(missing_ok=True)
        self._words.release()
        self._map.close()
        os.close(self._file)

    def _copy(self, position: int, data: bytes) -> None:
        at = position % RING_BYTES
        fits = min(len(data), RING_BYTES - at)
        self._map[_AT + at : _AT + at + fits] = data[:fits]
        if fits < len(data):
            self._map[_AT : _AT + len(data) - fits] = data[fits:]


def left_behind(folder: Path) -> Iterator[Path]:
    """Journals whose writers are gone. Removes what is left of those that were killed while they made one."""
    for path in folder.glob(f"*{MAKING}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > MADE_WITHIN_S:
                path.unlink()
    for path in sorted(folder.glob("*.ring")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield path


def uncommitted(path: Path) -> list[bytes]:
    """A journal's records that may not be in a segment, oldest first."""
    data = path.read_bytes()
    if len(data) < _AT + RING_BYTES:
        return []
    magic, head, tail = _WORDS.unpack_from(data)
    if magic != MAGIC:
        return []  # no journal of this version
    ring = memoryview(data)[_AT : _AT + RING_BYTES]
    lines = []
    while tail < head:
        (length,) = _U32.unpack(_taken(ring, tail, _U32.size))
        lines.append(_taken(ring, tail + _U32.size, length))
        tail += _U32.size + length
    return lines


def _taken(ring: memoryview, position: int, length: int) -> bytes:
    at = position % RING_BYTES
    return bytes(ring[at : at + length]) + bytes(ring[: max(0, at + length - RING_BYTES)])
