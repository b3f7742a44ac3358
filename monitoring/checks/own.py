"""A check of the user's own: an HTTP endpoint or a command that is given a request and its answer, and says what it thinks.

Pure: what is asked, and how what it said is read. It is asked on the data plane by `gateway.dataplane.own_checks`.
"""

from typing import Any, Final

import orjson

from graduand.monitoring.checks.check import Finding

Json = dict[str, Any]

VERSION: Final = "own"
LIMIT_S: Final = 2.0
LEAST: Final = 0.5
LONGEST_REASON: Final = 300
PASSED: Final = "pass"
FAILED: Final = "failed"


class OwnCheck:
    """Where to ask: at `url`, or else the `command`. A score below `least` fails. `action` and `limit_s` as of every check."""

    __slots__ = ("action", "command", "least", "limit_s", "name", "url")

    def __init__(
        self, name: str, action: str, *, url: str = "", command: tuple[str, ...] = (), least: float = LEAST,
        limit_s: float = LIMIT_S,
    ) -> None:  # fmt: skip
        self.name = name
        self.url = url
        self.command = command
        self.least = least
        self.action = action
        self.limit_s = limit_s


class Unclear(Exception):
    """A check said what nobody can read; `cause` in one word."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def question(route: str, request: Json, answer: Json) -> bytes:
    """What a check is given, as JSON: `route`, the client's `request`, the `response` in OpenAI's form, and its `text`."""
    return orjson.dumps({"route": route, "request": request, "response": answer, "text": _text(answer)})


def finding(said: bytes, least: float) -> Finding:
    """What `said` means: `{"pass": true}` or `{"score": 0.7}`, each with or without a `reason`; raise Unclear otherwise."""
    try:
        data = orjson.loads(said)
    except orjson.JSONDecodeError as error:
        raise Unclear("not_json") from error
    if type(data) is not dict:
        raise Unclear("not_json")
    passed, score, reason = data.get("pass"), data.get("score"), data.get("reason")
    if type(passed) is bool and score is None:
        return told(passed, float(passed), reason)
    if passed is not None or isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise Unclear("no_verdict")
    return told(score >= least, float(score), reason)


def told(passed: bool, score: float, reason: object = None) -> Finding:
    """The finding with the check's own reason."""
    word: str = PASSED if passed else FAILED
    label: str = reason[:LONGEST_REASON] if type(reason) is str and reason else word
    return Finding(not passed, label, score)


def _text(answer: Json) -> str:
    """The first choice's text."""
    choices = answer.get("choices")
    first = choices[0] if type(choices) is list and choices else None
    if type(first) is not dict:
        return ""
    message = first.get("message")
    text = message.get("content") if type(message) is dict else first.get("text")
    return text if type(text) is str else ""
