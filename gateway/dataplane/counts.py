"""Counts that all processes of a machine share: numbered slots in one small file, mapped into memory.

Invariant: what is read and written while a slot is locked is exact, however many processes count; the kernel lifts the
lock of a process that dies, and the counts stay. Nothing here knows what is counted or for how long.
"""

import fcntl
import mmap
import os
import struct
from pathlib import Path

_SLOT = struct.Struct("<ddd")  # the period, requests, tokens


class SharedCounts:
    """A file of slots, each three numbers: the period that it counts for, requests and tokens."""

    def __init__(self, path: Path, slots: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = max(slots, 1) * _SLOT.size
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        there = os.fstat(self._file).st_size
        if (
            there < size
        ):  # written, not only made longer: a page that has no room on the disk would end the process later
            os.pwrite(self._file, b"\0" * (size - there), there)
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._map = mmap.mmap(self._file, size)

    def close(self) -> None:
        """Give the file back; not to be used afterwards."""
        self._map.close()
        os.close(self._file)

    def locked(self, slot: int) -> "Locked":
        """A lock between processes on one slot, for a `with`."""
        return Locked(self._file, slot)

    def read(self, slot: int) -> tuple[float, float, float]:
        """Period, requests and tokens."""
        period, requests, tokens = _SLOT.unpack_from(self._map, slot * _SLOT.size)
        return period, requests, tokens

    def write(self, slot: int, period: float, requests: float, tokens: float) -> None:
        """Set a slot; only while it is locked."""
        _SLOT.pack_into(self._map, slot * _SLOT.size, period, requests, tokens)


class Locked:
    """Holds the lock of one slot."""

    def __init__(self, file: int, slot: int) -> None:
        self._file = file
        self._start = slot * _SLOT.size

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT.size, self._start)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT.size, self._start)


def peek(path: Path, slot: int) -> tuple[float, float, float]:
    """Period, requests and tokens of a slot of a file that other processes count in; zeros if nobody has counted yet."""
    try:
        data = path.read_bytes()
    except OSError:
        return 0.0, 0.0, 0.0
    if len(data) < (slot + 1) * _SLOT.size:
        return 0.0, 0.0, 0.0
    period, requests, tokens = _SLOT.unpack_from(data, slot * _SLOT.size)
    return period, requests, tokens
