"""What a log record tells the detectors. Pure."""

from dataclasses import dataclass

from graduand.gateway.model import reader
from graduand.gateway.model.fields import Record
from graduand.gateway.model.routing import STUDENT
from graduand.monitoring.drift.prompts import Prompt, prompt_of

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
class Checked:
    """What the output checks said of one answer."""

    student: bool
    failed: bool


def prompt(record: Record) -> Prompt | None:
    """The prompt of a client's request, once a request."""
    if record["role"] != "served" or not reader.asks(record):
        return None
    asked = reader.request(record)
    found = prompt_of(asked) if asked else None
    return found if found is not None and found.text else None


def unit(record: Record) -> str:
    """Who asked; empty if the request names nobody."""
    named = record.get("unit")
    return "" if named is None else str(named)


def output(record: Record, adapter: str) -> Output | None:
    """How the student did; None for what is not this student's."""
    served = record["role"] == "served"
    if served and not reader.by_student(record):
        return None
    if not served and (record["role"] != "shadow" or record["arm"] != STUDENT):
        return None
    if record["adapter"] not in (adapter, None):
        return None
    cause = reader.failure(record) if served else record["error"] or ""
    if cause in reader.NOBODYS or cause in reader.NOT_ASKED or record["client_disconnected"]:
        return None
    if cause:
        return Output(True, False, None)
    if record["arm"] != STUDENT:
        return None
    found = reader.answered(record)
    length = min(record["usage"]["completion_tokens"] / LONGEST_TOKENS, 1.0)
    return Output(False, found is not None and found.finish == "length", length)


def checked(record: Record, adapter: str) -> Checked | None:
    """The output checks' word on one answer; None if they had none, or it is another student's.

    A teacher who answers because the student failed was asked the harder questions: that is no fair comparison.
    """
    verdicts = record["verdicts"]
    student = record["arm"] == STUDENT
    if not verdicts or (student and record["adapter"] != adapter):
        return None
    if not student and record["reason"].startswith(("fallback:", "hybrid:")):
        return None
    return Checked(student, any(one["label"] != PASS for one in verdicts))
