"""What a log record tells the detectors. Pure, and never raises on a record that this version did not write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graduand.gateway.model import reader
from graduand.gateway.model.routing import STUDENT
from graduand.monitoring.drift.prompts import Prompt, prompt_of

Json = Mapping[str, Any]
# An answer of so many tokens or more is as long as can be.
LONGEST_TOKENS = 2_048
PASS = "pass"


@dataclass(frozen=True, slots=True)
class Output:
    """One answer of the student, or that it gave none."""

    failed: bool
    cut: bool
    length: float | None  # 0 to 1; None if unknown


@dataclass(frozen=True, slots=True)
class Gated:
    """What the output gates said of one answer."""

    student: bool
    failed: bool


def prompt(record: Json) -> Prompt | None:
    """The prompt of a client's request, once a request."""
    if record.get("role") != "served":
        return None
    asked = reader.request(record)
    found = prompt_of(asked) if asked else None
    return found if found is not None and found.text else None


def output(record: Json, adapter: str) -> Output | None:
    """How the student did; None for what is not this student's."""
    served = record.get("role") == "served"
    if served and not reader.by_student(record):
        return None
    if not served and (record.get("role") != "shadow" or record.get("arm") != STUDENT):
        return None
    if record.get("adapter") not in (adapter, None):
        return None
    cause = reader.failure(record) if served else record.get("error") or ""
    if cause in reader.NOBODYS or cause in reader.NOT_ASKED or record.get("client_disconnected"):
        return None
    if cause:
        return Output(True, False, None)
    if record.get("arm") != STUDENT:
        return None
    tokens = (record.get("usage") or {}).get("completion_tokens")
    length = min(tokens / LONGEST_TOKENS, 1.0) if isinstance(tokens, int | float) else None
    return Output(False, b'"finish_reason":"length"' in _compact(record), length)


def _compact(record: Json) -> bytes:
    return (record.get("response_json") or "").replace(" ", "").encode("utf-8", "replace")


def gated(record: Json, adapter: str) -> Gated | None:
    """The output gates' word on one answer; None if they had none, or it is another student's.

    A teacher who answers because the student failed was asked the harder questions: that is no fair comparison.
    """
    verdicts = [one for one in record.get("verdicts") or () if isinstance(one, Mapping)]
    student = record.get("arm") == STUDENT
    if not verdicts or (student and record.get("adapter") != adapter):
        return None
    if not student and str(record.get("reason") or "").startswith(("fallback:", "hybrid:")):
        return None
    return Gated(student, any(one.get("label") != PASS for one in verdicts))
