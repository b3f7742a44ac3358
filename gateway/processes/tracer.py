"""The tracer's process: `python -m graduand.gateway.processes.tracer`, started by the supervisor where `tracing` is configured.

Reads the log's new records, makes spans of them and sends them by OTLP over HTTP. No request ever waits for it, and no
worker knows of it. Bounded: what it is too slow for, or what the receiver refuses for longer than its retries last, is
dropped and counted in `graduand_traces_total`. It begins with what is written from its own start on; payloads are not sent.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from graduand import __version__
from graduand.gateway.logs import places, tail
from graduand.gateway.model import reader
from graduand.gateway.model.routes import Settings, Tracing
from graduand.gateway.processes.child import SideProcess
from graduand.gateway.telemetry.spans import spans
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Metrics

LOOK_EVERY_S = 0.5
TIMEOUT_S = 10.0
BATCH_SPANS = 512
# How far behind the log it may be; beyond that, records are skipped. About a minute of heavy traffic.
MOST_BEHIND_BYTES = 64 << 20

Export = Callable[[Sequence[ReadableSpan]], bool]
logger = logging.getLogger("graduand")


class Tracer:
    """`look` at the log once. `export` sends spans and says whether they arrived. What was written before `since` is old."""

    def __init__(self, settings: Settings, metrics: Metrics, export: Export, since: float) -> None:
        self.settings = settings
        self._metrics = metrics
        self._export = export
        self._folder = places.spool(settings)
        self._resource = Resource.create({"service.name": "graduand", "service.version": __version__})
        self._offsets = {path.name: path.stat().st_size for path in self._segments() if path.stat().st_mtime < since}

    def look(self) -> bool:
        """Export what was written since the last look; whether there is more at once."""
        self._skip()
        batch = tail.look(self._folder, self._offsets, 0.0)
        self._offsets.update(batch.offsets)
        waiting: list[ReadableSpan] = []
        records = 0
        for line in batch.lines:
            made = self._spans(line.data)
            waiting += made
            records += bool(made)
            if len(waiting) >= BATCH_SPANS:
                self._send(waiting, records)
                waiting, records = [], 0
        self._send(waiting, records)
        return batch.more

    def _spans(self, line: bytes) -> list[ReadableSpan]:
        if b'"trace_sampled":true' not in line:
            return []
        try:
            record = reader.read(line)
            if record is not None:
                return list(spans(record, self.settings.upstreams, self._resource))
            problem = "it is no record as this version writes them"
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            problem = repr(error)
        logger.warning("a log record could not be made a span: %s", problem)
        self._metrics.add(m.TRACES, ("failed",))
        return []

    def _send(self, waiting: list[ReadableSpan], records: int) -> None:
        if waiting:
            self._metrics.add(m.TRACES, ("exported" if self._export(waiting) else "failed",), records)

    def _segments(self) -> list[Path]:
        return list((self._folder / "segments").glob("*.jsonl"))

    def _skip(self) -> None:
        """Give up what is too far behind; the lines are counted."""
        behind = {path: path.stat().st_size - self._offsets.get(path.name, 0) for path in self._segments()}
        if sum(behind.values()) <= MOST_BEHIND_BYTES:
            return
        for path, size in behind.items():
            start = self._offsets.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(size)
            whole = data.rfind(b"\n") + 1
            self._offsets[path.name] = start + whole
            self._metrics.add(m.TRACES, ("dropped",), data.count(b"\n", 0, whole))


def exporter(tracing: Tracing) -> Export:
    """Sends to the configured receiver; headers and certificates come from OTEL_EXPORTER_OTLP_* as everywhere."""
    sender = OTLPSpanExporter(endpoint=tracing.url, timeout=TIMEOUT_S)

    def export(batch: Sequence[ReadableSpan]) -> bool:
        return sender.export(batch) is SpanExportResult.SUCCESS

    return export


def main() -> None:
    """Entry point; the one argument is JSON: run_folder, and when the gateway began."""
    process = SideProcess("tracer")
    # Its predecessor, if there was one, has exported what it could; twice would be worse than never.
    since = time.time() if process.series.exists() else process.arguments["began"]
    tracing = process.settings.tracing
    assert tracing is not None
    tracer = Tracer(process.settings, process.metrics(), exporter(tracing), since)
    process.follow(tracer)
    wait_s = 0.0
    while not process.stopping.wait(wait_s):
        wait_s = _look(tracer)
    _look(tracer)


def _look(tracer: Tracer) -> float:
    try:
        return 0.0 if tracer.look() else LOOK_EVERY_S
    except OSError as error:
        logger.warning("the log could not be read: %s", error)
        time.sleep(LOOK_EVERY_S)
        return LOOK_EVERY_S


if __name__ == "__main__":
    main()
