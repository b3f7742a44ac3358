"""Builds the log record: one served request, or one answer that no client saw, as a line of the log.

`gateway.model.fields` declares what a record holds; here is where the values come from. `SCHEMA_VERSION` changes when the
meaning of a field does. `id` is a UUIDv7 (RFC 9562), so records sort by time. Payloads are whole and unaltered.
"""

import hashlib
import os
import time
from typing import Any, Final, cast

import orjson

from graduand.gateway.model.clients import Client
from graduand.gateway.model.fields import Attempt, LoggedVerdict, Record, Timings, Usage
from graduand.gateway.model.routing import STUDENT, Decision
from graduand.gateway.model.trace import Trace
from graduand.rollout.assignment import BUCKETS, DAY_S, bucket

SCHEMA_VERSION: Final = 3
# Why there is no answer though no model is to blame: the client left, the prompt was too long, a filter struck, or the
# model's API has no word for what was asked.
NOBODYS: Final = frozenset({"client_gone", "context_length", "content_filter", "untranslatable"})
# Endpoints that count or measure and answer nothing: no copies of their requests, and no rollout learns of them.
COUNT_TOKENS: Final = "/messages/count_tokens"
UNCOMPARED: Final = frozenset({COUNT_TOKENS})

# What ids are made of: drawn and written for so many at a time, for one by one they cost a request a microsecond.
DRAWN: Final = 64
_tails: list[str] = []
_millisecond = 0
_head = ""


def reseed() -> None:
    """Throw away what is drawn; called once in every worker, so that no two workers share it."""
    _tails.clear()


def new_id() -> str:
    """A UUIDv7: 48 bits of milliseconds, 74 random bits."""
    global _millisecond, _head
    now = time.time_ns() // 1_000_000
    if now != _millisecond:
        text = f"{now:012x}"
        _millisecond, _head = now, f"{text[:8]}-{text[8:]}-7"
    if not _tails:
        _draw()
    return _head + _tails.pop()


def _draw() -> None:
    """19 random digits an id, of which the fourth has only two free bits: RFC 9562's variant."""
    drawn = os.urandom(10 * DRAWN).hex()
    for start in range(0, 20 * DRAWN, 20):
        one = drawn[start : start + 19]
        _tails.append(f"{one[:3]}-{'89ab'[int(one[3], 16) & 3]}{one[4:7]}-{one[7:]}")


def prompt_sha256(request: dict[str, Any], body: bytes | None = None) -> str:
    """Identifies a prompt whatever model or parameters it was sent with."""
    prompt = request.get("messages", request.get("prompt", request.get("input")))
    system = request.get("system")
    if system is not None and isinstance(prompt, list):  # Anthropic's form of the same conversation
        prompt = [{"role": "system", "content": system}, *prompt]
    told = request.get("instructions")
    if told is not None:  # and that of OpenAI's responses
        prompt = [{"role": "system", "content": told}, prompt]
    try:
        encoded = orjson.dumps(prompt)
    except TypeError:  # orjson reads deeper nesting than it writes
        encoded = body or b""
    return hashlib.sha256(encoded).hexdigest()


def record(
    *, id: str, parent_id: str | None, role: str, route: str, endpoint: str, decision: Decision, arm: str, reason: str,
    adapter: str | None, base_model: str | None, teacher_model: str, served_model: str | None, status: int,
    request_body: bytes | None, request: dict[str, Any], response_json: str | None, stream: bool, completed: bool,
    client_disconnected: bool, bytes_released: int, timings: Timings, usage: Usage, attempts: list[Attempt],
    error: str | None, client: Client, verdicts: list[orjson.Fragment], record_bp: int = BUCKETS, cost: float | None = None,
    trace: Trace | None = None, upstream_request_id: str | None = None, upstream_ms: float | None = None,
    response_note: str | None = None, error_message: str | None = None,
) -> Record:  # fmt: skip
    """Assemble one record; times in `timings` are milliseconds, `cost` is dollars (None: unknown).

    Of `record_bp` of the requests the payloads are kept. A copy's payloads are kept if its request's are, and all of them
    while a rollout runs: they are its evidence.
    """
    at = time.time()
    if decision.rollout:
        record_bp = BUCKETS
    kept = record_bp >= BUCKETS or bucket("record", route, parent_id or id) < record_bp
    return {
        "schema_version": SCHEMA_VERSION,
        "id": id,
        "parent_id": parent_id,
        "role": role,
        "time": at,
        "route": route,
        "endpoint": endpoint,
        "arm": arm,
        "assigned_arm": decision.arm,
        "arm_probability": decision.probability,
        "unit_bucket": decision.bucket,
        "unit_hash": decision.unit_hash,
        "unit": decision.unit or None,
        "unit_missing": decision.unit_missing,
        "session": f"{decision.unit:x}.{int(at // DAY_S)}" if decision.unit else None,
        "sampled_p": decision.drawn_bp / BUCKETS,
        "path": "served" if decision.arm == STUDENT else "copies",
        "rollout": decision.rollout or None,
        "route_version": decision.route_version,
        "copy_wanted": decision.shadow,
        "reason": reason,
        "fallback_reason": reason[9:] if reason.startswith("fallback:") else None,
        "adapter": adapter,
        "adapter_digest": adapter.partition("@")[2] or None if adapter else None,
        "base_model": base_model,
        "teacher_model": teacher_model,
        "served_model": served_model,
        "status": status,
        "prompt_sha256": prompt_sha256(request, request_body),
        "request_json": request_body.decode("utf-8", "replace") if kept and request_body is not None else None,
        "response_json": response_json if kept else None,
        "stream": stream,
        "completed": completed,
        "client_disconnected": client_disconnected,
        "bytes_released_before_verdict": bytes_released,
        "timings": timings,
        "usage": usage,
        "cost": cost,
        "drift": None,
        "redaction": None,
        "attempts": attempts,
        "error": error,
        "verdicts": cast("list[LoggedVerdict]", verdicts),  # each is written once a verdict, not once a record
        "client": client.number,
        "sampling_prob": record_bp / BUCKETS,
        "trace_id": None if trace is None else trace.trace_id,
        "span_id": None if trace is None else trace.span_id or None,
        "parent_span_id": None if trace is None else trace.parent_id,
        "trace_sampled": trace is not None and trace.sampled,
        "client_key": client.key,
        "upstream_request_id": upstream_request_id,
        "upstream_ms": upstream_ms,
        "response_note": response_note,
        "error_message": error_message,
    }
