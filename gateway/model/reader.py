"""What a log record says that a rollout wants to know. Pure: from a parsed record to plain facts.

A student's failure counts as the student's only if it had the question: a copy that was never sent (no connection, a
replica at rest, a full queue) teaches nothing, but an answer that broke off or was an error is a disagreement. Requests
that no model could have served (the client left, the prompt was too long, a filter struck) are nobody's failure.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from graduand.gateway.model.routing import DEFERRED, STUDENT

Json = dict[str, Any]

NOT_ASKED = frozenset({"unavailable", "rate_limited", "connect", "connect_timeout", "client_gone"})
NOBODYS = frozenset({"client_gone", "context_length", "content_filter"})
# The student is not there at all: no statistics are needed.
ABSENT = frozenset({"model_missing", "upstream_auth"})


def parsed(line: bytes) -> Json | None:
    """A line's record if it belongs to some rollout; None for others and for what is no record."""
    if b'"rollout":null' in line:
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("rollout"), str):
        return None
    return record if isinstance(record.get("id"), str) else None


def by_student(record: Mapping[str, Any]) -> bool:
    """Whether the student was to answer, and was not found unsure."""
    return bool(record["assigned_arm"] == STUDENT and record["reason"] != DEFERRED)


def failure(record: Mapping[str, Any]) -> str:
    """The cause for which the arm that was to answer failed; empty if it did not."""
    cause = record["fallback_reason"] or ""
    if not cause and record["role"] == "served" and not record["completed"]:
        held_back = (record["error"] or "").startswith("gate:")
        broken = record["bytes_released_before_verdict"] > 0 or record["status"] >= 500 or held_back
        cause = (record["error"] or "unknown") if broken and not record["client_disconnected"] else ""
    return "" if cause in NOBODYS else cause


def comparable(record: Mapping[str, Any]) -> bool:
    """Whether a served request has an answer, or a failure that whoever was meant to answer is to blame for: then the
    gateway asks the other one as well."""
    broken = record["bytes_released_before_verdict"] > 0 or record["status"] >= 500
    return bool(record["completed"] or (broken and not record["client_disconnected"] and not nobodys(record)))


def nobodys(record: Mapping[str, Any]) -> bool:
    """Whether no model could have answered it."""
    return record["error"] in NOBODYS


def failed_first(record: Mapping[str, Any]) -> bool:
    """Whether an arm failed at its first attempt: one definition for both arms, for copies and served answers. A retry that
    went well does not undo it, and an answer that a check set aside, or flagged, is a failure whoever gave it."""
    attempts = [one for one in record.get("attempts") or () if one["arm"] == record["arm"]]
    if attempts and attempts[0]["outcome"] != "ok":
        return attempts[0]["outcome"] not in NOBODYS
    return bool(failure(record)) or (bool(record["error"]) and not nobodys(record)) or flagged(record)


def flagged(record: Mapping[str, Any]) -> bool:
    """Whether a check found something in the answer, whatever followed from that."""
    return any(verdict["action"] != "none" for verdict in record.get("verdicts") or ())


def held_back(record: Mapping[str, Any]) -> bool:
    """Whether the teacher answered because a gate set the student's answer aside."""
    return str(record["reason"]).startswith("fallback:gate:")


def times_s(record: Mapping[str, Any]) -> dict[str, float]:
    """What latency gates are fed with; an answer that never came took for ever."""
    if failure(record):
        return dict.fromkeys(("first_token", "total", "per_token"), float("inf"))
    timings = record["timings"]
    first, total = timings.get("ttft_ms"), timings.get("total_ms")
    if not record["completed"] or first is None or total is None:
        return {}
    times = {"first_token": first / 1000, "total": total / 1000}
    tokens = (record["usage"] or {}).get("completion_tokens") or 0
    if record["stream"] and tokens > 1:
        times["per_token"] = (total - first) / 1000 / (tokens - 1)
    return times


def answer(record: Mapping[str, Any]) -> str:
    """The text of an answer; calls of tools as JSON, since they are the answer then."""
    try:
        choice = orjson.loads(record["response_json"] or "null")["choices"][0]
        message = choice.get("message") or {}
        text = message.get("content") if message else choice.get("text")
        calls = message.get("tool_calls")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return ""
    if calls and not text:
        return json.dumps({"tool_calls": [_call(call) for call in calls]}, sort_keys=True)
    return text if isinstance(text, str) else ""


def _call(call: Any) -> Json:
    function = call.get("function", {}) if isinstance(call, dict) else {}
    arguments = function.get("arguments")
    try:
        return {"name": function.get("name"), "arguments": orjson.loads(arguments or "{}")}
    except (orjson.JSONDecodeError, TypeError):
        return {"name": function.get("name"), "arguments": arguments}


def request(record: Mapping[str, Any]) -> Json:
    """The client's request; empty if it was not kept."""
    try:
        data = orjson.loads(record["request_json"] or "{}")
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def prompt(asked: Mapping[str, Any]) -> str:
    """What the last user said."""
    messages = asked.get("messages")
    if not isinstance(messages, list):
        other = asked.get("prompt") or asked.get("inputs") or ""
        return other if isinstance(other, str) else json.dumps(other)
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return ""


def conversation(asked: Mapping[str, Any]) -> str:
    """Everything that was said before the answer, as one text; a single message stands alone."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        return prompt(asked)
    return "\n\n".join(_turn(one) for one in messages if isinstance(one, dict))


def _turn(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return f"[{message.get('role')}]\n{said}"


def metadata(asked: Mapping[str, Any]) -> Json:
    """What the request says of itself."""
    own = asked.get("metadata")
    return own if isinstance(own, dict) else {}
