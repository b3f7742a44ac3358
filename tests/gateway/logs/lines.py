"""Records for tests, as the gateway writes them."""

import json
import uuid
from pathlib import Path
from typing import Any

from graduand.gateway.model import record
from graduand.gateway.model.clients import ANYBODY
from graduand.gateway.model.routing import Decision

DECISION = Decision("teacher", "teacher", 1.0, 7, False, False)
MORNING = 1795305600.0  # 2026-11-22 00:00 UTC


def made(number: int, at: float | None = None, **changes: Any) -> dict[str, Any]:
    """A teacher's answer, `number` seconds after midnight of 2026-11-22."""
    body = {"model": "tickets", "messages": [{"role": "user", "content": f"question {number}"}]}
    answer = {"choices": [{"message": {"role": "assistant", "content": f"answer {number}"}, "finish_reason": "stop"}]}
    given: dict[str, Any] = {
        "id": str(uuid.UUID(int=number)), "parent_id": None, "role": "served", "route": "tickets", "endpoint": "/e",
        "decision": DECISION, "arm": "teacher", "reason": "teacher", "adapter": None, "base_model": None,
        "teacher_model": "gpt-4o", "served_model": "gpt-4o", "status": 200, "request_body": json.dumps(body).encode(),
        "request": body,
        "response_json": json.dumps(answer), "stream": False, "completed": True, "client_disconnected": False,
        "bytes_released": 10, "timings": {"queue_ms": None, "overhead_ms": 0.5, "ttft_ms": None, "total_ms": 12.0},
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "kind": "exact"},
        "attempts": [{"upstream": "u", "arm": "teacher", "replica": "http://h", "outcome": "ok", "ms": 1.5, "model": "gpt",
                      "span_id": None, "ended_at": 1.5, "said": None}],
        "error": None, "client": ANYBODY, "verdicts": [],
    }  # fmt: skip
    late = {key: changes.pop(key) for key in list(changes) if key not in given and key != "record_bp"}
    one = record.record(**{**given, **changes})
    return {**one, "time": MORNING + number if at is None else at, **late}


def write(folder: Path, name: str, records: list[dict[str, Any]], cut: bytes = b"") -> Path:
    """A closed segment."""
    path = folder / "segments" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in records) + cut)
    return path
