"""Rows of a table beside the log that are on the disk (fsync) before anybody is told that they are stored."""

import os
from pathlib import Path

from graduand.gateway.logs import places
from graduand.gateway.logs.segment import SegmentFile


class SyncedRows:
    """Appends lines to segments below SPOOL/TABLE. Not for two threads at once."""

    def __init__(self, spool: Path, table: str, writer: str, seal_s: float) -> None:
        self._file = SegmentFile(spool / table / places.SEGMENTS, f"{writer}-{os.getpid()}", seal_s)

    def append(self, line: bytes) -> None:
        """Write a whole line and wait for the disk; OSError if it does not take it."""
        done = 0
        try:
            while done < len(line):
                done += self._file.write(memoryview(line)[done:])
            self._file.sync()
        except OSError:
            self._file.close()  # half a line may stand at its end: the next one goes to a new file
            raise
        self._file.roll()

    def tidy(self) -> None:
        """Close a segment that is old, so that it is shipped."""
        self._file.roll()

    def close(self) -> None:
        """Let go of the segment."""
        self._file.close()
