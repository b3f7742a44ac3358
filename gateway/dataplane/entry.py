"""The log's record of an answer: the one place where the data plane makes one, whoever the answer was for."""

from typing import Final

from graduand.gateway.dataplane import vendor
from graduand.gateway.dataplane.answer import Answer
from graduand.gateway.dataplane.asked import Asked
from graduand.gateway.dataplane.dispatch import Dispatch, milliseconds
from graduand.gateway.model import record
from graduand.gateway.model.fields import Record, Timings
from graduand.gateway.model.routing import STUDENT
from graduand.gateway.model.trace import Trace
from graduand.gateway.model.usage import Tokens
from graduand.monitoring.checks import judging
from graduand.rollout.assignment import BUCKETS

SERVED, DEFERRED, GATED, SHADOW, AUDIT = "served", "deferred", "held_back", "shadow", "audit"
# Bodies of requests without a right to be served are not kept: nobody may fill the disk for free.
UNLOGGED: Final = (401, 429)
MENDED: Final = "mended"


def entry(
    asked: Asked, answer: Answer, sent: list[Dispatch], *, id: str, parent_id: str | None, role: str, arm: str, reason: str,
    status: int, error: str | None, used: Tokens, cost: float | None, trace: Trace | None,
    timings: Timings, released: int = 0, gone: bool = False, error_message: str | None = None,
) -> Record:  # fmt: skip
    """The record of `answer`, for which `sent` was sent; `arm` is whose it is. `released` are the bytes a client got of it.

    `used` are its tokens, `cost` its dollars, `timings` its milliseconds (`timings` below); `gone`: the client had left.
    """
    targets = asked.targets
    last = sent[-1] if sent else None
    target = last.target if arm == STUDENT and last is not None else None
    return record.record(
        id=id, parent_id=parent_id, role=role, route=asked.route, endpoint=asked.dialect.endpoint,
        decision=asked.decision, arm=arm, reason=reason,
        adapter=None if target is None else target.model, base_model=None if target is None else target.base,
        teacher_model=targets.route.teacher.model if targets is not None else "", served_model=answer.model,
        status=status, request_body=None if status in UNLOGGED else asked.body, request=asked.data,
        response_json=answer.text, stream=asked.stream, completed=answer.whole, client_disconnected=gone,
        bytes_released=released if answer.unchecked is None else answer.unchecked, timings=timings, usage=used.logged,
        attempts=[one for dispatch in sent for one in dispatch.attempts], error=error, client=asked.client, cost=cost,
        trace=trace, verdicts=judging.logged(answer.verdicts),
        upstream_request_id=last.vendors_id.decode() if last is not None and last.vendors_id else None,
        upstream_ms=None if last is None else vendor.processing_ms(last.said),
        record_bp=BUCKETS if targets is None else targets.route.record_bp, response_note=MENDED if answer.mended else None,
        error_message=error_message,
    )  # fmt: skip


def timings(
    began: float, now: float, *, queue_ms: float | None, sent_at: float | None = None, first_at: float | None = None
) -> Timings:
    """A record's times out of the event loop's: until it was sent, until its first token, and until it ended."""
    return {
        "queue_ms": queue_ms,
        "overhead_ms": _since(began, sent_at),
        "ttft_ms": _since(began, first_at),
        "total_ms": milliseconds(began, now),
    }


def _since(began: float, at: float | None) -> float | None:
    """None if the later one never came."""
    return None if at is None else milliseconds(began, at)
