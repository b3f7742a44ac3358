"""One base for every error that Graduand raises on purpose.

Each message says what is wrong, where, and what to do next. Each error is also the standard library's kind, so callers
that know nothing of Graduand can catch it.
"""

import difflib
from collections.abc import Iterable


class GraduandError(Exception):
    """Base of all errors raised on purpose; the command line prints its message and exits with `exit_code`."""

    exit_code = 1


class ConfigError(GraduandError, ValueError):
    """The configuration or the command line is wrong; nothing was started or changed."""

    exit_code = 2


class AdapterError(GraduandError, ValueError):
    """An adapter is malformed, does not fit its base model, or is not what its name says."""


class RequestError(GraduandError, ValueError):
    """A client's request cannot be served; carries what OpenAI's error shape needs.

    `status` is the HTTP status; `kind` is OpenAI's `type`; `param` names the offending field; `code` is OpenAI's code;
    `retry_after_s` becomes a Retry-After header.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known words closest to `word`, best first; empty when none is close."""
    return difflib.get_close_matches(word, list(known), n=most, cutoff=0.5)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest known words, or an empty string."""
    close = nearest(word, known)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
