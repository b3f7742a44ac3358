"""What the novelty detector said of each request: an append-only table of its own, joined to the log by the request's id.

The monitor reads the log after the fact, so a record cannot carry this itself. Rows are appended before the monitor commits
what it has learnt: killed in between, it says the same of the same requests again, and readers take what was said last.
Rows that find no room are counted and left out; they must never keep the monitor from detecting.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.logs import places
from graduand.gateway.logs.segment import SegmentFile, size_of
from graduand.gateway.model.recording import RecordPolicy
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics

SCHEMA_VERSION = 1
WEIGH_EVERY_S = 1.0
# Each try on a full disk may leave an empty file behind.
AGAIN_AFTER_S = 5.0

logger = logging.getLogger("graduand")


class DriftLog:
    """Appends rows to segments below SPOOL/drift; the monitor's alone. No text of a request is in them."""

    def __init__(
        self, spool: Path, policy: RecordPolicy, metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._spool = spool
        self._folder = spool / places.DRIFT / places.SEGMENTS
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._file: SegmentFile | None = None
        self._wait_until = self._weighed_at = 0.0
        self._crowded = self._stuck = False

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of id, time, route, adapter, novelty_p and e_value, or count them as lost. Never raises OSError."""
        now = self._clock()
        lines = [
            orjson.dumps(
                {"schema_version": SCHEMA_VERSION, **row, "evaluated_at": now}, option=orjson.OPT_APPEND_NEWLINE
            )
            for row in rows
        ]
        written = 0
        if lines and now >= self._wait_until:
            written = self._write(b"".join(lines), now)
        if written:
            self._metrics.add(m.DRIFT_RECORDS, ("written",), written)
        if written < len(lines):
            self._metrics.add(m.DRIFT_RECORDS, ("lost",), len(lines) - written)

    def tidy(self) -> None:
        """Close a segment that is old, so that it is shipped."""
        if self._file is not None:
            self._file.roll()

    def close(self) -> None:
        """Let go of the segment."""
        if self._file is not None:
            self._file.close()

    def _write(self, data: bytes, now: float) -> int:
        """How many whole lines the file system took."""
        done = 0
        try:
            if self._is_crowded(now):
                return 0
            if self._file is None:
                self._file = SegmentFile(self._folder, f"monitor-{os.getpid()}", self._policy.seal_s)
            while done < len(data):
                done += self._file.write(memoryview(data)[done:])
        except OSError as error:
            self._wait_until = now + AGAIN_AFTER_S
            self.close()  # half a line may stand at its end: the next one goes to a new file
            if not self._stuck:
                logger.error("what the novelty detector says cannot be logged, it goes on without: %s", error)
            self._stuck = True
        else:
            self._stuck = False
        return data.count(b"\n", 0, done)

    def _is_crowded(self, now: float) -> bool:
        """Whether the spool is larger than it may be."""
        if self._policy.spool_mb is not None and now - self._weighed_at >= WEIGH_EVERY_S:
            self._weighed_at = now
            folders = (self._spool / places.SEGMENTS, self._folder)
            size = sum(size_of(folder) for folder in folders if folder.is_dir())
            self._crowded = size > self._policy.spool_mb << 20
        return self._crowded
