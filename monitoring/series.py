"""Counters that survive the process that counts: one memory-mapped file a worker, summed by whoever is scraped.

A worker is the only writer of its file, so a count costs one addition and no lock; the kernel keeps the pages when the
worker is killed, so totals stay exact. (prometheus_client's own multiprocess mode keeps dead workers' gauges and slows
with every restart.) File: an 8-byte length of what is in use, then entries of u32 entry length, u32 key length, the key
(JSON: name, label values), padding to 8, and float64 cells.

Invariant: whoever reads, at any moment, sees whole entries only: an entry is there before the length covers it, and
length and cells change as one word of memory each. `struct.pack_into` must not be used: it fills its target with zeros
first, so a reader would now and then find no series at all.
"""

import json
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from graduand.gateway.errors import GraduandError

FILE_BYTES = 16 << 20
_HEAD = struct.Struct("=Q")
_ENTRY = struct.Struct("=II")

Key = tuple[str, tuple[str, ...]]


class SeriesFull(GraduandError, MemoryError):
    """The file has no room for another series; cardinality is bounded elsewhere, so this is a programming error."""


class SeriesFile:
    """The writer's side: `cells` gives the index of a series' first cell in `values`.

    A file that is already there is continued: a restarted worker counts on where the dead one stopped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        known = list(_entries(path)) if path.exists() else []
        with path.open("r+b" if known else "w+b") as file:
            file.truncate(FILE_BYTES)
            self._map = mmap.mmap(file.fileno(), FILE_BYTES)
        self._bytes = memoryview(self._map)
        self._length = self._bytes.cast("Q")  # its first word is the length of what is in use
        self.values = self._bytes.cast("d")
        self.known: dict[Key, int] = {key: start // 8 for key, start, _ in known}
        self._used = max((end for *_, end in known), default=_HEAD.size)
        self._commit()

    def cells(self, name: str, labels: tuple[str, ...], count: int) -> int:
        """The cells of a series; `count` zeroed ones are reserved if it is new."""
        start = self.known.get((name, labels))
        if start is not None:
            return start
        key = json.dumps([name, *labels]).encode()
        start = _round_up(self._used + _ENTRY.size + len(key))
        end = start + 8 * count
        if end > FILE_BYTES:
            raise SeriesFull(f"{self.path} has no room for series {name}")
        entry = _ENTRY.pack(end - self._used, len(key)) + key
        self._bytes[self._used : self._used + len(entry)] = entry
        self._used = end
        self._commit()
        self.known[name, labels] = start // 8
        return start // 8

    def _commit(self) -> None:
        self._length[0] = self._used


def read(path: Path) -> Iterator[tuple[Key, list[float]]]:
    """All series of a file, its writer alive or dead."""
    data = _in_use(path)
    for key, start, end in _entries_of(data):
        yield key, [value for (value,) in struct.iter_unpack("<d", data[start:end])]


def _entries(path: Path) -> Iterator[tuple[Key, int, int]]:
    return _entries_of(_in_use(path))


def _entries_of(data: bytes) -> Iterator[tuple[Key, int, int]]:
    at = _HEAD.size
    while at + _ENTRY.size <= len(data):
        length, key_length = _ENTRY.unpack_from(data, at)
        name, *labels = json.loads(data[at + _ENTRY.size : at + _ENTRY.size + key_length])
        yield (name, tuple(labels)), _round_up(at + _ENTRY.size + key_length), at + length
        at += length


def _in_use(path: Path) -> bytes:
    # Only the part in use: otherwise a scrape would read many megabytes of zeros.
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return b""
        return head + file.read(max(_HEAD.unpack(head)[0] - _HEAD.size, 0))


def _round_up(offset: int) -> int:
    return (offset + 7) & ~7
