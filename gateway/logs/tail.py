"""Reads the request log's segments on from where the store says that reading ended.

Invariant: only whole lines are given out, and each byte of a file once, because the new offsets are stored in the same
transaction as what the lines taught. A half-written last line waits for its end, for ever if its writer died.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

# Bytes taken at one look, so that a long backlog does not keep decisions waiting.
LOOK_BYTES = 2 << 20
# Clocks of file systems are coarse: a segment that was last written just before a rollout began is read too.
SLACK_S = 5.0
# A copy begins at once, may wait in a queue, and is then bounded by the route's total_s.
PAIR_WITHIN_S = 900.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Line:
    """One whole line without its end."""

    place: Place
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look found: lines, and the offsets up to which files are read now; `more` may be had at once."""

    lines: list[Line]
    offsets: dict[str, int]
    more: bool


def look(folder: Path, offsets: Mapping[str, int], since: float, most: int = LOOK_BYTES) -> Batch:
    """New whole lines of all segments that were written to after `since`, file by file.

    Writers that wrote side by side are read side by side: each has its part of `most`, so a reader that stood still does
    not come to the end of one before it begins another.
    """
    lines: list[Line] = []
    ends: dict[str, int] = {}
    unread = _unread(folder, offsets, since)
    writers = {_writer(path) for path, _, _ in unread}
    left = {writer: max(most // len(writers), 1) for writer in writers}
    more = False
    for path, start, size in unread:
        room = left[_writer(path)]
        data = _whole_lines(path, start, room) if room > 0 else b""
        # What was cut off at the last whole line is more, though there is a little room left; a torn line never is.
        more = more or room <= 0 or (bool(data) and size - start > room)
        if data:
            _cut(path.name, start, data, lines)
            ends[path.name] = start + len(data)
            left[_writer(path)] -= len(data)
    return Batch(lines, ends, more=more)


def _unread(folder: Path, offsets: Mapping[str, int], since: float) -> list[tuple[Path, int, int]]:
    """Of every segment with something new, the oldest first: where to go on, and its size."""
    found = []
    for path in sorted((folder / "segments").glob("*.jsonl")):
        start = offsets.get(path.name)
        try:
            status = path.stat()
        except FileNotFoundError:  # taken away since the folder was listed
            continue
        if status.st_size > (start or 0) and (start is not None or status.st_mtime >= since - SLACK_S):
            found.append((path, start or 0, status.st_size))
    return found


def _writer(path: Path) -> str:
    """The middle of time-writer-number (`gateway.logs.segment`)."""
    return path.stem.partition("-")[2].rpartition("-")[0]


class Segments:
    """Lines that were read before, read again where they stand; each segment is opened once, until `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "segments"
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def line(self, place: Place) -> bytes | None:
        """None if the file is gone."""
        file = self._files.get(place.file)
        if file is None:
            try:
                file = self._files[place.file] = (self._folder / place.file).open("rb")
            except FileNotFoundError:
                return None
        file.seek(place.offset)
        return file.read(place.length)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def _whole_lines(path: Path, start: int, most: int) -> bytes:
    """About `most` bytes from `start` up to the end of a line; a longer line is read whole. None of a file that is gone."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(most)
            if len(data) == most and b"\n" not in data:
                data += file.readline()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def _cut(name: str, start: int, data: bytes, lines: list[Line]) -> None:
    for line in data.splitlines(keepends=True):
        lines.append(Line(Place(name, start, len(line) - 1), line[:-1]))
        start += len(line)
