"""What the demo prints: read from the gateway's own log and metrics, as an operator would."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from examples.demo.tickets import TASKS
from examples.demo.traffic import Reply
from graduand.gateway.logs.reading import Reader, Source
from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record


@dataclass(frozen=True, slots=True)
class Pair:
    """A served teacher answer and the student's shadow answer to the same request."""

    teacher: str
    student: str

    @property
    def agree(self) -> bool:
        """Whether both said the same."""
        return self.teacher.strip() == self.student.strip()


def records(logs: Path) -> list[Record]:
    """All records of the log, in the order of their ids."""
    found = filter(None, map(reader.record_of, Reader(Source.of(str(logs)))))
    return sorted(found, key=lambda record: record["id"])


def shadow_pairs(logs: Path, rollout: str, within_s: float = 120) -> list[Pair]:
    """The pairs of a rollout until now, waiting for copies under way (they run after the answers have left)."""
    until = time.monotonic() + within_s
    while True:
        everything = [one for one in records(logs) if one["rollout"] == rollout]
        copies = [one for one in everything if one["role"] == "shadow"]
        expected = sum(one["role"] == "served" and one["copy_wanted"] for one in everything)
        if len(copies) >= expected or time.monotonic() > until:
            served = {one["id"]: one for one in everything if one["role"] == "served"}
            return [Pair(reader.answer(served[one["parent_id"] or ""]), reader.answer(one)) for one in copies]
        time.sleep(0.3)


def share_of(pairs: list[Pair]) -> float:
    """The share of pairs that agree; 0 without pairs."""
    return sum(pair.agree for pair in pairs) / len(pairs) if pairs else 0.0


def step_table(title: str, replies: list[Reply]) -> Table:
    """One row a route: share, agreement of the student's answers with the teacher, errors, median latency of each arm."""
    table = Table(
        "route", "requests", "by the student", "agreement", "errors", "teacher p50", "student p50", title=title
    )
    for task in TASKS:
        of_task = [reply for reply in replies if reply.task is task]
        if not of_task:
            continue
        student = [reply for reply in of_task if reply.arm == "student"]
        agreement = f"{sum(reply.agrees for reply in student) / len(student):.1%}" if student else "-"
        table.add_row(
            task.name, str(len(of_task)), f"{len(student)} ({len(student) / len(of_task):.1%})", agreement,
            str(sum(reply.error is not None for reply in of_task)),
            _median([reply.seconds for reply in of_task if reply.arm == "teacher"]), _median([r.seconds for r in student]),
        )  # fmt: skip
    return table


def books(logs: Path, admin_url: str, within_s: float = 10) -> tuple[int, int, int]:
    """Served records in the log, different ids among them, and requests by the metrics; waits for the log to settle."""
    until = time.monotonic() + within_s
    while True:
        ids = Counter(record["id"] for record in records(logs) if record["role"] == "served")
        counted = requests_counted(admin_url)
        if ids.total() == counted or time.monotonic() > until:
            return ids.total(), len(ids), counted
        time.sleep(0.2)


def requests_counted(admin_url: str) -> int:
    """The total of graduand_requests_total."""
    page = httpx.get(f"{admin_url}/metrics", timeout=10, trust_env=False).text
    families = {family.name: family for family in text_string_to_metric_families(page)}
    return round(
        sum(sample.value for sample in families["graduand_requests"].samples if sample.name.endswith("_total"))
    )


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms" if seconds else "-"
