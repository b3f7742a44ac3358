"""The output checks on the data plane: who judges an answer, what is counted, and what the client is told.

The student's answers are acted on; those of the teacher, and copies that nobody gets, are only counted, so that the rates
can be compared. Must never hold up the event loop: long answers are judged in turns.
"""

from typing import Any

from graduand.gateway.dataplane.http.failures import Failure
from graduand.gateway.dataplane.http.fiber import sleep
from graduand.gateway.model.openai import error_body
from graduand.monitoring.checks import own
from graduand.monitoring.checks.answer import Choice, choices_of
from graduand.monitoring.checks.judging import BLOCK, TURN, Checks, Verdict, length

CHECK = "check:"


def choices(answer: dict[str, Any], request: dict[str, Any]) -> list[Choice]:
    """What the checks see of an answer: not the prompt, where a completion was asked to repeat it."""
    prompt = request.get("prompt")
    return choices_of(answer, prompt if request.get("echo") is True and type(prompt) is str else "")


def at_once(checks: Checks, seen: list[Choice], *, acting: bool) -> list[Verdict] | None:
    """The verdicts over a whole answer; None if it is so long that others are to have their turn in between."""
    return checks.judge(seen, acting=acting) if length(seen) <= TURN else None


async def in_turns(checks: Checks, loop: Any, seen: list[Choice], *, acting: bool) -> list[Verdict]:
    """The same for an answer of any length."""
    verdicts: list[Verdict] = []
    for _ in checks.in_turns(seen, verdicts, acting=acting):
        await sleep(loop, 0)
    return verdicts


def failure(verdict: Verdict, route: str) -> Failure:
    """What an answer that must not be released comes to: `block` is final, otherwise another model may answer."""
    cause = CHECK + verdict.name
    # The reason that a check of the user's own gives is for the log: it may quote the answer.
    why = "" if verdict.version == own.VERSION else f" ({verdict.label})"
    said = f"the student's answer failed the check {verdict.name!r}{why}"
    if verdict.action != BLOCK:
        return Failure(cause, said, retry=False, sick=False)
    body = error_body(f"{said} of route {route} and was held back", "invalid_request_error", code="content_filter")
    return Failure(cause, said, 400, retry=False, fall_back=False, sick=False, body=body)
