"""The log record: ids in order and unique, usage as it is known."""

import time
import uuid
from typing import Any

import orjson
import pytest

from graduand.gateway.model import record
from graduand.gateway.model.clients import ANYBODY
from graduand.gateway.model.routing import Decision

DECISION = Decision("student", "canary", 0.1, 7, False, False)


def test_ids_are_version_7_and_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    numbers = []
    for _ in range(5):
        numbers += [record.new_id() for _ in range(200)]
        time.sleep(0.002)
    after = time.time_ns() // 1_000_000
    parsed = [uuid.UUID(one) for one in numbers]
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in parsed)
    assert [str(one) for one in parsed] == numbers
    assert len(set(numbers)) == len(numbers)
    times = [one.int >> 80 for one in parsed]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after


def test_workers_do_not_share_a_sequence() -> None:
    bits = set()
    for _ in range(20):
        record.reseed()
        bits.add(record.new_id()[19:])
    assert len(bits) == 20


def made(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "id": "1", "parent_id": None, "role": "served", "route": "r", "endpoint": "/e", "decision": DECISION,
        "arm": "teacher", "reason": "fallback:http_503", "adapter": "a@3f9c1a", "base_model": "b",
        "teacher_model": "t", "served_model": "m", "status": 200, "request_body": b"{}", "request": {},
        "response_json": None, "stream": False,
        "completed": True, "client_disconnected": False, "bytes_released": 0, "timings": {}, "usage": {}, "attempts": [],
        "error": None, "client": ANYBODY, "verdicts": [],
    }  # fmt: skip
    return record.record(**{**given, **changes})


def test_derived_fields() -> None:
    one = made()
    assert (one["arm"], one["assigned_arm"], one["arm_probability"], one["unit_bucket"]) == (
        "teacher",
        "student",
        0.1,
        7,
    )
    assert (one["fallback_reason"], one["adapter_digest"], one["base_model"]) == ("http_503", "3f9c1a", "b")
    two = made(reason="canary", adapter="plain")
    assert (two["fallback_reason"], two["adapter_digest"]) == (None, None)
    assert made(adapter=None)["adapter_digest"] is None


def test_the_prompt_is_known_again_under_other_parameters() -> None:
    messages = [{"role": "user", "content": "hi"}]
    one = record.prompt_sha256({"model": "a", "messages": messages, "temperature": 1})
    assert one == record.prompt_sha256({"model": "b", "messages": messages, "user": "ann"})
    assert one != record.prompt_sha256({"messages": [{"role": "user", "content": "ho"}]})
    assert len({record.prompt_sha256(one) for one in ({"prompt": "a"}, {"input": "b"}, {})}) == 3


@pytest.mark.parametrize("depth", [10, 300, 1000])
def test_any_request_that_was_parsed_has_a_record(depth: int) -> None:
    """orjson reads deeper nesting than it writes."""
    body = b'{"messages":' + b"[" * depth + b"]" * depth + b"}"
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    assert orjson.dumps(made(request_body=body, request=request))
