"""What a log record says, as plain facts: the one place where records are read. Pure.

A student's failure counts as the student's only if it had the question: a copy that was never sent (no connection, a
replica at rest, a full queue) teaches nothing, but an answer that broke off or was an error is a disagreement. Requests
that no model could have served (the client left, the prompt was too long, a filter struck) are nobody's failure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypedDict, cast, get_origin, is_typeddict

import orjson

from graduand.gateway.model import fields, lenient
from graduand.gateway.model.fields import Record
from graduand.gateway.model.forms import canonical
from graduand.gateway.model.record import NOBODYS as NOBODYS
from graduand.gateway.model.record import UNCOMPARED
from graduand.gateway.model.routing import DEFERRED, STUDENT
from graduand.monitoring.checks.answer import choices_of
from graduand.monitoring.checks.written import KNOWN as BUILT_IN

Json = dict[str, Any]

NOT_ASKED = frozenset({"unavailable", "rate_limited", "connect", "connect_timeout", "client_gone"})
# The student is not there at all: no statistics are needed.
ABSENT = frozenset({"model_missing", "upstream_auth"})
_DECLARED = fields.of(Record)
# What a record is known by: without these it is none.
_NEEDED = frozenset({"id", "role", "route"})
_values = itemgetter(*(one.name for one in _DECLARED))


class Payloads(TypedDict):
    """The part of a record that holds what was asked and answered, and in which API."""

    request_json: str | None
    response_json: str | None
    endpoint: str


def record_of(data: object) -> Record | None:
    """What was read from a log as a record; None for what is none. Fields that are younger than it are blank."""
    if not isinstance(data, dict) or not data.keys() >= _NEEDED:
        return None
    known: Json = data
    try:
        values = _values(known)
    except KeyError:
        known = orjson.loads(_BLANK) | known
        values = _values(known)
    return cast(Record, known) if _fit(tuple(map(type, values))) else None


def _blank(kind: Any) -> Any:
    """Null, nothing, or what holds nothing, whichever a field of this type may be."""
    if is_typeddict(kind):
        return {one.name: None if one.nullable else _blank(one.type) for one in fields.of(kind)}
    return (get_origin(kind) or kind)()


# As JSON: read anew for each record, so that none shares its lists with another.
_BLANK = orjson.dumps(_blank(Record))


@lru_cache(1024)
def _fit(found: tuple[type, ...]) -> bool:
    """Whether values of these types are a record's. There are few such lists, so most are found at once."""
    return all(kind in _kinds(one) for one, kind in zip(_DECLARED, found, strict=True))


def _kinds(declared: fields.Declared) -> set[Any]:
    kind = get_origin(declared.type) or declared.type
    kinds: set[Any] = {dict} if is_typeddict(kind) else {float, int} if kind is float else {kind}
    return kinds | {type(None)} if declared.nullable else kinds


def read(line: bytes) -> Record | None:
    """A line's record; None for what is none."""
    try:
        return record_of(orjson.loads(line))
    except orjson.JSONDecodeError:
        return None


def parsed(line: bytes) -> Record | None:
    """A line's record if some rollout may learn of it; None for others and for what is no record."""
    if b'"rollout":null' in line:
        return None
    record = read(line)
    return None if record is None or record["rollout"] is None or not asks(record) else record


def asks(record: Record) -> bool:
    """Whether it is a question to a model, and no count of its tokens."""
    return record["endpoint"] not in UNCOMPARED


def by_student(record: Record) -> bool:
    """Whether the student was to answer, and was not found unsure."""
    return bool(record["assigned_arm"] == STUDENT and record["reason"] != DEFERRED)


def failure(record: Record) -> str:
    """The cause for which the arm that was to answer failed; empty if it did not."""
    cause = record["fallback_reason"] or ""
    if not cause and record["role"] == "served" and not record["completed"]:
        held_back = (record["error"] or "").startswith("check:")
        broken = record["bytes_released_before_verdict"] > 0 or record["status"] >= 500 or held_back
        cause = (record["error"] or "unknown") if broken and not record["client_disconnected"] else ""
    return "" if cause in NOBODYS else cause


def comparable(record: Record) -> bool:
    """Whether a served request has an answer, or a failure that whoever was meant to answer is to blame for: then the
    gateway asks the other one as well."""
    blocked = (record["error"] or "").startswith("check:")
    broken = record["bytes_released_before_verdict"] > 0 or record["status"] >= 500 or blocked
    return bool(record["completed"] or (broken and not record["client_disconnected"] and not nobodys(record)))


def nobodys(record: Record) -> bool:
    """Whether no model could have answered it."""
    return record["error"] in NOBODYS


def failed_first(record: Record) -> bool:
    """Whether an arm failed at its first attempt: one definition for both arms, for copies and served answers. A retry that
    went well does not undo it, and an answer that a check set aside, or flagged, is a failure whoever gave it. What a check
    of the user's own thinks is none: the teacher's answers are not put to it as they are served."""
    attempts = [one for one in record["attempts"] if one["arm"] == record["arm"]]
    if attempts and attempts[0]["outcome"] != "ok":
        return attempts[0]["outcome"] not in NOBODYS
    causes = (failure(record), "" if nobodys(record) else record["error"] or "")
    return any(cause and not by_own_check(cause) for cause in causes) or flagged(record)


def by_own_check(cause: str) -> bool:
    """Whether this is the cause of a failure that a check of the user's own found."""
    return cause.startswith("check:") and cause.removeprefix("check:") not in BUILT_IN


def flagged(record: Record) -> bool:
    """Whether a built-in check found something in the answer, whatever followed from that."""
    return any(verdict["action"] != "none" and verdict["name"] in BUILT_IN for verdict in record["verdicts"])


def passed(record: Record) -> dict[str, bool]:
    """Whether the answer passes each check that has seen it, by the check's name."""
    return {verdict["name"]: verdict["action"] == "none" for verdict in record["verdicts"]}


def held_back(record: Record) -> bool:
    """Whether the teacher answered because a check set the student's answer aside."""
    return str(record["reason"]).startswith("fallback:check:")


def times_s(record: Record) -> dict[str, float]:
    """What latency checks are fed with; an answer that never came took for ever."""
    if failure(record):
        return dict.fromkeys(("first_token", "total", "per_token"), float("inf"))
    timings = record["timings"]
    first, total = timings.get("ttft_ms"), timings.get("total_ms")
    if not record["completed"] or first is None or total is None:
        return {}
    times = {"first_token": first / 1000, "total": total / 1000}
    tokens = record["usage"]["completion_tokens"]
    if record["stream"] and tokens > 1:
        times["per_token"] = (total - first) / 1000 / (tokens - 1)
    return times


@dataclass(frozen=True, slots=True)
class Answer:
    """The first choice of a logged answer. `text` is what a person reads, as the output checks see it; `calls` are the tools'
    calls as they were given; `chat`: whether it is a message, and no text completion."""

    text: str
    finish: str
    calls: tuple[Json, ...]
    chat: bool

    @property
    def said(self) -> str:
        """The text; calls of tools as JSON where there is none, since they are the answer then."""
        if self.text or not self.calls:
            return self.text
        return json.dumps({"tool_calls": [_call(call) for call in self.calls]}, sort_keys=True)

    @property
    def message(self) -> Json:
        """As a message of a chat."""
        said: Json = {"role": "assistant", **({"content": self.text} if self.text or not self.calls else {})}
        return {**said, "tool_calls": list(self.calls)} if self.calls else said


def answered(record: Payloads) -> Answer | None:
    """The answer; None if it was not kept, or is no chat or text completion (an error, an embedding)."""
    given = response(record)
    choices = given.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    first = choices_of({"choices": choices[:1]}, _echoed(record))[0]
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return Answer(first.text, first.finish, (), False) if isinstance(choices[0].get("text"), str) else None
    calls = message.get("tool_calls")
    listed = calls if isinstance(calls, list) else []
    return Answer(first.text, first.finish, tuple(one for one in listed if isinstance(one, dict)), True)


def answer(record: Payloads) -> str:
    """The text of an answer, or its calls of tools as JSON; empty if there is none."""
    found = answered(record)
    return "" if found is None else found.said


def response(record: Payloads) -> Json:
    """The answer in the form of OpenAI's APIs; empty if it was not kept."""
    return canonical.answer(_object(record["response_json"]))


def request(record: Payloads) -> Json:
    """The client's request, as a chat where its API has another form for it; empty if it was not kept."""
    return canonical.request(_object(record["request_json"]), record.get("endpoint"))


def _object(text: str | None) -> Json:
    try:
        data = lenient.read(text or "{}")
    except lenient.Unreadable:
        return {}
    return data if isinstance(data, dict) else {}


def _echoed(record: Payloads) -> str:
    """The prompt, where a completion was to repeat it before its text."""
    if '"echo"' not in (record.get("request_json") or ""):
        return ""
    asked = request(record)
    prompt = asked.get("prompt")
    return prompt if asked.get("echo") is True and isinstance(prompt, str) else ""


def _call(call: Json) -> Json:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    try:
        read = lenient.read(arguments or "{}") if isinstance(arguments, str | None) else arguments
        return {"name": function.get("name"), "arguments": read}
    except lenient.Unreadable:
        return {"name": function.get("name"), "arguments": arguments}


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


def system(asked: Mapping[str, Any]) -> str:
    """What the application said before anybody else: the system's messages, or the developer's."""
    messages = asked.get("messages")
    if not isinstance(messages, list):
        return ""
    said = [
        one.get("content") for one in messages if isinstance(one, dict) and one.get("role") in ("system", "developer")
    ]
    return "\n".join(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in said)


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
