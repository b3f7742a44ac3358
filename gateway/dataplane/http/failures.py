"""What can go wrong with an upstream, and what follows from it: retry, fall back, or tell the client.

Pure: from a status, headers and a body to a `Failure`. The upstream's own words reach a client only where they are about
the client's request; what they say about keys or addresses never does.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from graduand.gateway.errors import GraduandError
from graduand.gateway.model import retry_after
from graduand.gateway.model.openai import error_body

CONTEXT_CODES = ("context_length_exceeded", "context_length")
FILTER_CODES = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
MAX_RETRY_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt.

    `cause` is a short fixed word for logs, metrics and `fallback:CAUSE`. `retry`: the same upstream may be asked again.
    `fall_back`: another model may answer instead. `sick`: counts against the replica's health. `body` is the client's to
    see as it is (None: Graduand writes its own message). `retry_after_s` is what the upstream asked for.
    """

    cause: str
    message: str
    status: int = 502
    retry: bool = True
    fall_back: bool = True
    sick: bool = True
    body: bytes | None = None
    retry_after_s: float | None = None


class UpstreamFailed(GraduandError):
    """Raised where an attempt fails; carries the Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


CONNECT = Failure("connect", "the upstream cannot be reached")
CONNECT_TIMEOUT = Failure("connect_timeout", "the connection to the upstream timed out", 504)
RESET = Failure("reset", "the upstream closed the connection before it answered")
TRUNCATED = Failure("truncated", "the upstream's answer broke off")
MALFORMED = Failure("malformed", "the upstream's answer is not what its protocol promises")
FIRST_TOKEN_TIMEOUT = Failure("first_token_timeout", "the upstream did not begin to answer in time", 504)
IDLE_TIMEOUT = Failure("idle_timeout", "the upstream fell silent in the middle of its answer", 504)
TOTAL_TIMEOUT = Failure(
    "total_timeout", "the request took longer than the route allows", 504, retry=False, fall_back=False
)
# The same, of an upstream that was not silent: the answer was too long, or its reader too slow.
OVERTIME = replace(TOTAL_TIMEOUT, sick=False)
BREAKER_OPEN = Failure(
    "unavailable", "the upstream has been failing and is given a rest; try again shortly", 503, retry=False, sick=False,
    retry_after_s=1.0,
)  # fmt: skip
NOT_LOADED = Failure(
    "not_loaded", "no replica has the adapter ready yet; try again shortly", 503, retry=False, sick=False,
    retry_after_s=1.0,
)  # fmt: skip


def from_answer(status: int, headers: dict[bytes, bytes], body: bytes, now: float) -> Failure:
    """Classify an answer whose status is not 2xx. `now` is the wall clock in seconds, for a dated Retry-After."""
    message, code = _error_of(body)
    if status == 429:
        return Failure(
            "rate_limited", message or "the upstream is overloaded", 429, sick=False, body=_own_words(message, code),
            retry_after_s=_wait_s(headers, now),
        )  # fmt: skip
    if status >= 500 or status == 408:
        after = _wait_s(headers, now)
        return Failure(f"http_{status}", f"the upstream answered {status}", max(status, 500), retry_after_s=after)
    if status in (401, 403):
        text = "the upstream refused the gateway's own key; whoever runs this gateway must correct api_key"
        return Failure("upstream_auth", text, 502, retry=False, sick=False)
    if code in FILTER_CODES:
        return Failure("content_filter", message, status, retry=False, fall_back=False, sick=False, body=body)
    if code in CONTEXT_CODES or "context length" in message or "maximum model length" in message:
        return Failure("context_length", message, status, retry=False, sick=False, body=_shaped(body, message, code))
    if status == 404:
        return Failure("model_missing", message or "the upstream does not know the model", 502, retry=False, sick=False)
    if status < 400:
        return Failure("malformed", f"the upstream answered {status}, which this API does not use", retry=False)
    cause = "bad_request" if status in (400, 413, 415, 422) else f"http_{status}"
    return Failure(cause, message, status, retry=False, sick=False, body=_shaped(body, message, code))


def from_error_event(data: Any) -> Failure | None:
    """The failure that an event or answer inside a 200 reports, or None if it reports none.

    vLLM and OpenAI send `{"error": {...}}`, older vLLM builds `{"object": "error", ...}`, LoRAX `{"error": "...",
    "error_type": "..."}`.
    """
    if not isinstance(data, dict):
        return MALFORMED
    error = data.get("error")
    if error is None and data.get("object") != "error":
        return None
    if isinstance(error, dict):
        message, code = error.get("message"), error.get("code") or error.get("type")
    else:
        message, code = error if isinstance(error, str) else data.get("message"), data.get("error_type")
    text = f"the upstream reported an error in its answer: {str(message)[:500]}"
    if code in FILTER_CODES:
        return Failure("content_filter", text, 400, retry=False, fall_back=False, sick=False)
    return Failure("error_event", text)


def without_key(failure: Failure, key: str | None) -> Failure:
    """The failure without the upstream's `key`, should the upstream have repeated it in its words."""
    if not key:
        return failure
    body = None if failure.body is None else failure.body.replace(key.encode(), b"[key]")
    return replace(failure, message=failure.message.replace(key, "[key]"), body=body)


def _wait_s(headers: dict[bytes, bytes], now: float) -> float | None:
    value = headers.get(b"retry-after")
    wait_s = None if value is None else retry_after.seconds(value.decode("latin-1"), now)
    return None if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S)


def _error_of(body: bytes) -> tuple[str, str]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    error = data.get("error", data) if isinstance(data, dict) else None
    if isinstance(error, str):
        return error, str(data.get("error_type", ""))
    if not isinstance(error, dict):
        return "", ""
    inner = error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    known = [
        code for code in (error.get("code"), inner_code, error.get("type")) if code in CONTEXT_CODES + FILTER_CODES
    ]
    return str(error.get("message") or ""), str(known[0] if known else error.get("code") or "")


def _shaped(body: bytes, message: str, code: str) -> bytes | None:
    """The upstream's own error for the client: as it came if it has OpenAI's shape; LoRAX's and older vLLM's are given it."""
    if not message:
        return None
    if type(orjson.loads(body).get("error")) is dict:
        return body
    return error_body(message, "invalid_request_error", code=code or None)


def _own_words(message: str, code: str) -> bytes:
    # OpenAI's rate limit messages name the organisation; the client is told what matters to it and no more.
    quota = " (quota)" if code == "insufficient_quota" else ""
    text = f"the model is overloaded{quota}; try again later"
    return orjson.dumps({"error": {"message": text, "type": "rate_limit_error", "param": None, "code": code or None}})
