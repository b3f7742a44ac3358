"""The request log's writer: records become lines of a segment file, beside the request path and never in its way.

`append` only puts bytes on a queue; a thread writes them out in groups. When the disk is slower than the traffic for so
long that the queue is full, records are dropped and counted, never waited for. Files: FOLDER/segments/*.jsonl.
"""

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import orjson

MAX_PENDING_BYTES = 64 << 20
SEGMENT_BYTES = 64 << 20
FLUSH_EVERY_S = 0.02


class LogWriter:
    """One worker's writer. `records_written`, `records_lost` (disk errors) and `records_refused` (queue full) only grow."""

    def __init__(self, folder: Path, *, name: str = "") -> None:
        self._folder = folder / "segments"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._name = name or str(os.getpid())
        # A deque's append and popleft are atomic, and each counter below has one writing thread: no lock is needed.
        self._queue: deque[bytes] = deque()
        self._bytes_queued = 0
        self._bytes_done = 0
        self.records_written = 0
        self.records_lost = 0
        self.records_refused = 0
        self._size = SEGMENT_BYTES
        self._segment = 0
        self._file = -1
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._writer.start()

    @property
    def pending_bytes(self) -> int:
        """Bytes queued and not yet handed to the file system."""
        return self._bytes_queued - self._bytes_done

    def append(self, record: dict[str, Any]) -> None:
        """Queue one record; never waits."""
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        if self.pending_bytes > MAX_PENDING_BYTES:
            self.records_refused += 1
            return
        self._bytes_queued += len(line)
        self._queue.append(line)

    def close(self) -> None:
        """Write what is queued and stop."""
        self._closing.set()
        self._writer.join()
        if self._file >= 0:
            os.close(self._file)

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_EVERY_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        take = self._queue.popleft
        lines = [take() for _ in range(len(self._queue))]
        if not lines:
            return
        data = b"".join(lines)
        done = self._write(data)
        written = len(lines) if done == len(data) else data.count(b"\n", 0, done)
        self.records_written += written
        self.records_lost += len(lines) - written
        self._bytes_done += len(data)

    def _write(self, data: bytes) -> int:
        """Write as much as the disk takes; return how many bytes that was."""
        done = 0
        try:
            if self._size >= SEGMENT_BYTES:
                self._next_segment()
            view = memoryview(data)
            while done < len(data):
                done += os.write(self._file, view[done:])
            self._size += done
        except OSError:
            self._size = SEGMENT_BYTES  # a new segment next time: this one may end in half a line
        return done

    def _next_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._folder / f"{stamp}-{self._name}-{self._segment:05d}.jsonl"
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o640)
        self._segment += 1
        self._size = 0
