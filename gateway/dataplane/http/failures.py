"""What can go wrong with an upstream, and what follows from it: retry, fall back, or tell the client.

Pure: from a status, headers and a body to a `Failure`. The upstream's own words reach a client only where they are about
the client's request; what they say about keys or addresses never does.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from graduand.gateway.dataplane.http import reasons
from graduand.gateway.dataplane.http.reasons import Reason
from graduand.gateway.errors import GraduandError
from graduand.gateway.model import retry_after
from graduand.gateway.model.openai import error_body

MOST_SAID_BYTES = 16 << 10
QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "RESOURCE_EXHAUSTED_QUOTA")
MODEL_CODES = ("model_not_found", "ModelNotFound", "DeploymentNotFound", "model_missing", "unknown_model")
# In words, where the code says nothing of it.
QUOTA_WORDS = re.compile(
    r"insufficient[_ ](quota|credit|balance|fund)|credit balance|exceeded your current quota|used all available credits|"
    r"(spending|billing) (hard )?limit|quota exhausted",
    re.I,
)
# Own matters that vendors tell with a status that is meant for the request.
ACCOUNT_WORDS = re.compile(r"^your credit balance is too low", re.I)
KEY_CODES = ("API_KEY_INVALID", "invalid_api_key", "authentication_error")
# "Not found", said of a model; "not supported for this model" is about the request.
NO_MODEL = re.compile(
    r"\b(models?|deployment|adapter|lora)\b.{0,200}?\b(not found|(does not|doesn't|not) exist|unknown|missing|"
    r"(is not|isn't|not) (available|loaded|served|registered|known|deployed|recognized))|"
    r"\b(no|no such|unknown|invalid|(not|cannot|can't|couldn't) find) (the |a |any )?(model|deployment|adapter|lora)\b|^model: ",
    re.I | re.S,
)
KINDS_OF_ERROR = {404: "not_found_error", 409: "conflict_error"}
NO_PATH = ("not found", "404 page not found", "no such path", "404 not found")
# Errors within a 200 that say so by a word or by the status that they would have had.
OWN_CODES = frozenset(
    (
        *QUOTA_CODES, "invalid_api_key", "authentication_error", "permission_error", "permission_denied", "billing_error",
        "rate_limit_error", "rate_limit_exceeded", "tokens", "requests", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED",
        "PERMISSION_DENIED", "insufficient_credits", "payment_required", "access_terminated", "server_error",
        "internal_error", "api_error", "overloaded_error",
    )
)  # fmt: skip
SHORT_ESCAPES = {"\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}
OWN_STATUS = re.compile(r"401|402|403|407|429|5\d\d")
MOST_EVENT_CHARACTERS = 500
CONTEXT_WORDS = ("context length", "maximum model length", "prompt is too long", "exceed context limit")
# How validators call a field that they do not know, where they do not name it.
FIELD_CAUSES = ("bad_request", "http_501")
STRANGE_FIELD = re.compile(
    r"\b(unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional|invalid|not (permitted|allowed|supported))\b.{0,80}?"
    r"\b(fields?|parameters?|params?|arguments?|inputs?|propert(y|ies)|keys?|names?|options?|attributes?)\b|"
    r"\b(fields?|parameters?|params?|arguments?|inputs?|propert(y|ies)|keys?|options?)\b.{0,80}?"
    r"\b(unknown|unrecogni[sz]ed|unexpected|unsupported|not (permitted|allowed|supported|recogni[sz]ed))\b",
    re.I | re.S,
)
CONTEXT_CODES = ("context_length_exceeded", "context_length")
FILTER_CODES = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
MAX_RETRY_AFTER_S = 600.0
UNTRANSLATABLE = "untranslatable"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt.

    `cause` is a short fixed word for logs, metrics and `fallback:CAUSE`. `retry`: the same upstream may be asked again.
    `fall_back`: another model may answer instead. `sick`: counts against the replica's health. `body` is the client's to
    see as it is (None: Graduand writes its own message). `retry_after_s` is what the upstream asked for. `said` is what the
    upstream answered, for the log alone (`logged`).
    """

    cause: str
    message: str
    status: int = 502
    retry: bool = True
    fall_back: bool = True
    sick: bool = True
    body: bytes | None = None
    retry_after_s: float | None = None
    said: bytes = b""

    @property
    def kind(self) -> str:
        """The type of the error that a client is told, by its status: whose fault it is."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 or self.status == 408 else "invalid_request_error"


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
# What one answer holds that cannot be read says nothing of the replica: one client's requests must not close it to others.
UNREADABLE = Failure("malformed", "the upstream's answer cannot be read", sick=False)
# Nor does JSON that is no answer, or no stream where one was asked for: a vendor's filter leaves no choice, say.
NO_ANSWER = replace(MALFORMED, sick=False)
FIRST_TOKEN_TIMEOUT = Failure("first_token_timeout", "the upstream did not begin to answer in time", 504)
IDLE_TIMEOUT = Failure("idle_timeout", "the upstream fell silent in the middle of its answer", 504)
TOTAL_TIMEOUT = Failure(
    "total_timeout", "the request took longer than the route allows", 504, retry=False, fall_back=False
)
# The same, of an upstream that was not silent: the answer was too long, or its reader too slow.
OVERTIME = replace(TOTAL_TIMEOUT, sick=False)
# The same, as long as another model may answer: early enough to leave that one its time.
OVERDUE = Failure(
    "overdue", "the answer was not there early enough to leave another model its time", 504, retry=False, sick=False
)
BREAKER_OPEN = Failure(
    "unavailable", "the upstream has been failing and is given a rest; try again shortly", 503, retry=False, sick=False,
    retry_after_s=1.0,
)  # fmt: skip
NOT_LOADED = Failure(
    "not_loaded", "no replica has the adapter ready yet; try again shortly", 503, retry=False, sick=False,
    retry_after_s=1.0,
)  # fmt: skip


def untranslatable(field: str, message: str) -> Failure:
    """What a request says in `field` has no counterpart in the API of who is asked: the client is told by name, unless another
    model may answer. Nothing was sent."""
    body = error_body(message, "invalid_request_error", param=field, code="unsupported_parameter")
    return Failure(UNTRANSLATABLE, message, 400, retry=False, sick=False, body=body)


def from_answer(status: int, headers: dict[bytes, bytes], body: bytes, now: float) -> Failure:
    """Classify an answer whose status is not 2xx. `now` is the wall clock in seconds, for a dated Retry-After.

    The client sees the upstream's status if it is one that HTTP has for errors (400 to 599), else 502 with the upstream's in
    the message.
    """
    return told(_classified(status, headers, reasons.of(body), now), body)


def told(failure: Failure, body: bytes) -> Failure:
    """The failure with what the upstream answered, for the log. JSON is written anew: whoever looks for keys and for personal
    data in it finds them however they were escaped."""
    with suppress(orjson.JSONDecodeError, TypeError):
        body = orjson.dumps(orjson.loads(body))
    # Twice what is kept, so that a key is found whole before the rest is cut off.
    return replace(failure, said=body[: 2 * MOST_SAID_BYTES])


def logged(failure: Failure) -> str:
    """What the upstream answered, as the log keeps it; empty if it answered nothing."""
    return failure.said[:MOST_SAID_BYTES].decode("utf-8", "replace")


def _classified(status: int, headers: dict[bytes, bytes], reason: Reason, now: float) -> Failure:
    wait_s = _wait_s(headers, now)
    message = reason.message
    if status == 429:
        return _rate_limited(reason, wait_s)
    if status >= 600 or status < 400:
        text = f"the upstream answered with status {status}, which this API does not use"
        return Failure(f"http_{status}", text, 502, retry=status >= 600)
    if status >= 500 or status == 408:
        return Failure(f"http_{status}", f"the upstream answered {status}", status, retry_after_s=wait_s)
    if status == 402 or ACCOUNT_WORDS.search(message) is not None:
        text = "the gateway's own account with the upstream has no credit; whoever runs this gateway must pay it"
        return Failure("upstream_account", text, 502, retry=False, sick=False)
    if status in (401, 403) or _names_key(reason):
        text = "the upstream refused the gateway's own key; whoever runs this gateway must correct api_key"
        return Failure("upstream_auth", text, 502, retry=False, sick=False)
    if _is_one_of(reason, FILTER_CODES):
        body = _shown(reason, status)
        return Failure("content_filter", message, status, retry=False, fall_back=False, sick=False, body=body)
    if _is_one_of(reason, CONTEXT_CODES) or any(words in message for words in CONTEXT_WORDS):
        return Failure("context_length", message, status, retry=False, sick=False, body=_shown(reason, status))
    if status == 404:
        return _missing(reason)
    cause = "bad_request" if status in (400, 413, 415, 422) else f"http_{status}"
    text = message or f"the upstream refused the request with status {status} and gave no reason"
    return Failure(cause, text, status, retry=False, sick=False, body=_shown(reason, status))


def _rate_limited(reason: Reason, wait_s: float | None) -> Failure:
    """Too many requests; or no quota left, which waiting does not mend."""
    coded = reason.code in QUOTA_CODES or str(reason.error.get("type")) in QUOTA_CODES
    quota = coded or QUOTA_WORDS.search(f"{reason.code} {reason.message}") is not None
    # OpenAI's rate limit messages name the organisation; the client is told what matters to it and no more.
    text = f"the model is overloaded{' (quota)' if quota else ''}; try again later"
    return Failure(
        "rate_limited", text, 429, retry=not quota, sick=False,
        body=error_body(text, "rate_limit_error", code=reason.code or None), retry_after_s=wait_s,
    )  # fmt: skip


def _names_key(reason: Reason) -> bool:
    """Whether a refusal with another status is one of the gateway's own key: Gemini says 400, with the word in a detail."""
    details = reason.error.get("details")
    listed = [one.get("reason") for one in details if type(one) is dict] if type(details) is list else []
    return _is_one_of(reason, KEY_CODES) or any(one in KEY_CODES for one in listed)


def _missing(reason: Reason) -> Failure:
    """A 404: the upstream does not know the model, does not serve this path, or does not find what the request names."""
    message = reason.message
    if not message or reason.code in MODEL_CODES or NO_MODEL.search(message) is not None:
        return Failure("model_missing", message or "the upstream does not know the model", 502, retry=False, sick=False)
    if message.strip(" .").lower() in NO_PATH:
        text = (
            "the upstream has nothing at this address; whoever runs this gateway must correct base_urls, or say responses: false "
            "of an upstream that serves no /responses"
        )
        return Failure("not_served", text, 502, retry=False, sick=False)
    return Failure("http_404", message, 404, retry=False, sick=False, body=_shown(reason, 404))


def _is_one_of(reason: Reason, codes: tuple[str, ...]) -> bool:
    inner = reason.error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    return any(code in codes for code in (reason.code, inner_code, reason.error.get("type"), reason.error.get("code")))


def _shown(reason: Reason, status: int) -> bytes | None:
    """The upstream's reason for the client, in OpenAI's shape and with whatever else its error object holds; None without one.

    Encoded anew: what is written with escapes is then found by who looks for keys in it.
    """
    if not reason.message:
        return None
    error = reason.error
    kind = error.get("type")
    if (
        type(kind) is not str or not kind or kind in OWN_CODES
    ):  # some call a refusal of the request an error of the server
        kind = KINDS_OF_ERROR.get(status, "invalid_request_error")
    named = {"param": None, "code": reason.code or None, **error, "type": kind, "message": reason.message}
    try:
        whole = orjson.dumps({"error": named})
    except (orjson.JSONEncodeError, TypeError):  # deeper than orjson writes
        whole = b""
    if whole and len(whole) <= reasons.MOST_BYTES:
        return whole
    return error_body(reason.message, kind, code=reason.code or None)


def from_error_event(data: Any) -> Failure | None:
    """The failure that an event or answer inside a 200 reports, or None if it reports none.

    vLLM and OpenAI send `{"error": {...}}`, older vLLM builds `{"object": "error", ...}`, LoRAX `{"error": "...",
    "error_type": "..."}`.
    """
    if not isinstance(data, dict):
        return NO_ANSWER
    if data.get("error") is None and data.get("object") != "error":
        return None
    reason = reasons.of_json(data)
    if _is_one_of(reason, FILTER_CODES):
        text = reason.message or "the upstream's filter struck"
        body = _shown(reason, 400)
        return Failure("content_filter", text, 400, retry=False, fall_back=False, sick=False, body=body)
    text = "the upstream reported an error in its answer"
    if reason.message and not _of_the_gateway(reason):
        text += f": {reasons.cut(reason.message, MOST_EVENT_CHARACTERS)}"
    return Failure("error_event", text)


def _of_the_gateway(reason: Reason) -> bool:
    """Whether an error within a 200 is about the gateway's own key or account, or about the upstream itself."""
    words = {
        str(word) for word in (reason.code, reason.error.get("type"), reason.error.get("code")) if word is not None
    }
    return any(word in OWN_CODES or (OWN_STATUS.fullmatch(word) is not None) for word in words)


def is_about(failure: Failure, field: str) -> bool:
    """Whether the upstream's words name a request's `field`."""
    return field in failure.message or field.encode() in failure.said


def may_be_about_a_field(failure: Failure) -> bool:
    """Whether the upstream may have refused a field of the request that it does not know: it says so, or gives no reason."""
    return failure.cause in FIELD_CAUSES and (failure.body is None or STRANGE_FIELD.search(failure.message) is not None)


def without_secrets(failure: Failure, secrets: tuple[str, ...]) -> Failure:
    """The failure without what is secret about the upstream, should it have repeated it in its words, as it is or escaped."""
    for secret in sorted(secrets, key=len, reverse=True):  # a short one may be a part of a long one
        failure = _without(failure, secret)
    return failure


def _without(failure: Failure, secret: str) -> Failure:
    form = _any_form(secret)
    body = None if failure.body is None else form.sub(b"[key]", failure.body)
    if body != failure.body and body is not None:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:  # a key that ends in a backslash has taken half of what it escaped
            body = None
    message = form.sub(b"[key]", failure.message.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    return replace(failure, message=message, body=body, said=form.sub(b"[key]", failure.said))


@lru_cache(1024)
def _any_form(secret: str) -> re.Pattern[bytes]:
    r"""Finds a secret as it is, and however often it was escaped for JSON (`\/`, `\u002f`, `\\u002f`) or for a URL (`%2F`).

    How many backslashes are read before one character is bounded, or a row of them would be read once from each.
    """
    return re.compile(b"".join(map(_any_character, secret)))


def _any_character(one: str) -> bytes:
    """One character in any of these forms; each begins with a certain byte, which is what makes the search quick."""
    bare, units = one.encode("utf-8", "surrogatepass"), one.encode("utf-16-be", "surrogatepass")
    codes = [b"u(?i:%04x)" % int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    escaped = [re.escape(bare), rb"\\{1,8}".join(codes), *([SHORT_ESCAPES[one]] if one in SHORT_ESCAPES else [])]
    percent = b"".join(b"%%(?i:%02x)" % byte for byte in bare)
    return rb"(?:%b|\\\\{0,7}(?:%b)|%b)" % (re.escape(bare), b"|".join(escaped), percent)


def _wait_s(headers: dict[bytes, bytes], now: float) -> float | None:
    value = headers.get(b"retry-after")
    wait_s = None if value is None else retry_after.seconds(value.decode("latin-1"), now)
    return None if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S)
