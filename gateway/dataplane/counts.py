"""Counts that all processes of a machine share: numbered slots in one small file, mapped into memory.

Invariant: who counts holds the slot's lock, so counts are exact, however many processes count; the kernel lifts the lock of
a process that dies, and the counts stay. Who only looks needs no lock, and always sees the numbers of one write: a slot has
two places, a write goes to the one that does not count, and then one word, how often the slot was written, says that it
counts now. A process that is killed in a write leaves what stood there before. Nothing here knows what is counted or for
how long.
"""

import fcntl
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

# A slot's cells, all float64: how often it was written, then two places of (the period, requests, tokens).
_CELLS = 7
_SLOT_BYTES = 8 * _CELLS
NAME_BYTES = 32

Counted = tuple[float, float, float]


class SharedCounts:
    """A file of slots, each three numbers: the period that it counts for, requests and tokens."""

    def __init__(self, path: Path, slots: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = max(slots, 1) * _SLOT_BYTES
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        there = os.fstat(self._file).st_size
        if (
            there < size
        ):  # written, not only made longer: a page that has no room on the disk would end the process later
            os.pwrite(self._file, b"\0" * (size - there), there)
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._map = mmap.mmap(self._file, size)
        self._cells = memoryview(self._map).cast("d")

    def close(self) -> None:
        """Give the file back; not to be used afterwards."""
        self._cells.release()
        self._map.close()
        os.close(self._file)

    def locked(self, slot: int) -> "Locked":
        """A lock between processes on one slot, for a `with`."""
        return Locked(self._file, slot)

    def read(self, slot: int) -> Counted:
        """Period, requests and tokens."""
        return _last_written(self._cells, slot)

    def write(self, slot: int, period: float, requests: float, tokens: float) -> None:
        """Set a slot; only while it is locked."""
        cells, start = self._cells, slot * _CELLS
        writes = cells[start] + 1.0
        place = _place(start, writes)
        cells[place], cells[place + 1], cells[place + 2] = period, requests, tokens
        cells[start] = writes


class Locked:
    """Holds the lock of one slot."""

    def __init__(self, file: int, slot: int) -> None:
        self._file = file
        self._start = slot * _SLOT_BYTES

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT_BYTES, self._start)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT_BYTES, self._start)


def slots_of(path: Path, names: Iterable[bytes]) -> dict[bytes, int]:
    """The slot of each of these names (all of one length, `NAME_BYTES`), as the file at `path` hands them out: a name keeps
    its slot for as long as there is the file, whoever asks and in whatever order; a new name gets the next."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX)  # lifted when the file is closed
        known = os.pread(file, os.fstat(file).st_size, 0)
        whole = len(known) // NAME_BYTES * NAME_BYTES  # a process that was killed may have left a part of one
        slots = {known[at : at + NAME_BYTES]: at // NAME_BYTES for at in range(0, whole, NAME_BYTES)}
        wanted = list(names)
        fresh = [name for name in dict.fromkeys(wanted) if name not in slots]
        os.pwrite(file, b"".join(fresh), whole)
        slots.update((name, whole // NAME_BYTES + at) for at, name in enumerate(fresh))
        return {name: slots[name] for name in wanted}
    finally:
        os.close(file)


def peek(path: Path, slot: int) -> Counted:
    """Period, requests and tokens of a slot of a file that other processes count in; zeros if nobody has counted yet."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < (slot + 1) * _SLOT_BYTES:
                return 0.0, 0.0, 0.0
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                whole = memoryview(mapped)[: len(mapped) // 8 * 8]
                with whole, whole.cast("d") as cells:
                    return _last_written(cells, slot)
    except OSError:
        return 0.0, 0.0, 0.0


def _last_written(cells: "memoryview[float]", slot: int) -> Counted:
    start = slot * _CELLS
    while True:
        writes = cells[start]
        place = _place(start, writes)
        found = cells[place], cells[place + 1], cells[place + 2]
        if cells[start] == writes:  # else the place may have been written a second time meanwhile
            return found


def _place(start: int, writes: float) -> int:
    return start + 1 + 3 * (int(writes) & 1)
