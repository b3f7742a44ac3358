"""Log records as OpenTelemetry spans: one for the gateway, one for each attempt at an upstream. Pure; no payload is in them.

Names follow OpenTelemetry's conventions for generative AI clients (`gen_ai.*`) and HTTP servers; what only Graduand knows is
`graduand.*`. A copy to the other arm is a span below the request that it copies, so all of it is one trace.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from graduand import __version__
from graduand.gateway.model.fields import Attempt, Record
from graduand.gateway.model.routes import Upstream

SCOPE = InstrumentationScope("graduand", __version__)
OPERATIONS = {
    "/chat/completions": "chat", "/completions": "text_completion", "/embeddings": "embeddings",
    "/generate": "text_completion", "/generate_stream": "text_completion", "/": "text_completion",
}  # fmt: skip
SECOND_NS = 1_000_000_000


def spans(record: Record, upstreams: Mapping[str, Upstream], resource: Resource) -> Iterator[ReadableSpan]:
    """All spans of one record; none of a record without a sampled span."""
    if not record["trace_id"] or not record["span_id"] or not record["trace_sampled"]:
        return
    trace_id, span_id = int(record["trace_id"], 16), int(record["span_id"], 16)
    parent = record["parent_span_id"]
    served = record["role"] == "served"
    ended_ns = int(record["time"] * SECOND_NS)
    yield _span(
        f"POST {_path(record)}" if served else f"{record['role']} {record['route']}",
        (trace_id, span_id), int(parent, 16) if parent else None, SpanKind.SERVER if served else SpanKind.INTERNAL,
        ended_ns - int((record["timings"]["total_ms"] or 0.0) * 1e6), ended_ns, _of_record(record), record["error"], resource,
        events=tuple(_verdicts(record, ended_ns)),
    )  # fmt: skip
    # An answer that the client never saw has a record of its own; its attempts are in the served record as well.
    attempts = [] if record["role"] in ("deferred", "held_back") else record["attempts"]
    for at, attempt in enumerate(attempts):
        own_id, ended_at = attempt.get("span_id"), attempt.get("ended_at")
        if own_id and ended_at is not None:
            ended_ns = int(ended_at * SECOND_NS)
            outcome = attempt["outcome"]
            attributes = _of_attempt(record, attempt, upstreams.get(attempt["upstream"]), last=at == len(attempts) - 1)
            yield _span(
                f"{attributes['gen_ai.operation.name']} {attributes['gen_ai.request.model']}",
                (trace_id, int(own_id, 16)), span_id, SpanKind.CLIENT,
                ended_ns - int(attempt["ms"] * 1e6), ended_ns, attributes, None if outcome == "ok" else outcome, resource,
            )  # fmt: skip


def _span(
    name: str, ids: tuple[int, int], parent_id: int | None, kind: SpanKind, began_ns: int, ended_ns: int,
    attributes: dict[str, Any], error: str | None, resource: Resource, events: tuple[Event, ...] = (),
) -> ReadableSpan:  # fmt: skip
    if error is not None:
        attributes["error.type"] = error
    return ReadableSpan(
        name=name,
        context=_context(*ids),
        parent=None if parent_id is None else _context(ids[0], parent_id),
        kind=kind,
        start_time=began_ns,
        end_time=max(began_ns, ended_ns),
        attributes={key: value for key, value in attributes.items() if value is not None},
        events=events,
        status=Status(StatusCode.UNSET if error is None else StatusCode.ERROR),
        resource=resource,
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _path(record: Record) -> str:
    path = str(record["endpoint"])
    return f"/v1{path}" if path in ("/chat/completions", "/completions", "/embeddings") else path


def _of_record(record: Record) -> dict[str, Any]:
    served = record["role"] == "served"
    return {
        **_usage(record),
        "http.request.method": "POST" if served else None,
        "url.path": _path(record) if served else None,
        "http.response.status_code": record["status"] if served else None,
        "gen_ai.operation.name": OPERATIONS.get(record["endpoint"], "chat"),
        "gen_ai.request.model": record["route"],
        "gen_ai.response.model": record["served_model"],
        "graduand.id": record["id"],
        "graduand.parent_id": record["parent_id"],
        "graduand.role": record["role"],
        "graduand.route": record["route"],
        "graduand.arm": record["arm"],
        "graduand.reason": record["reason"],
        "graduand.adapter": record["adapter"],
        "graduand.rollout": record["rollout"],
        "graduand.stream": record["stream"],
        "graduand.client_disconnected": record["client_disconnected"] or None,
        "graduand.cost_dollars": record["cost"],
        "graduand.time_to_first_token_ms": record["timings"]["ttft_ms"],
    }


def _of_attempt(record: Record, attempt: Attempt, upstream: Upstream | None, *, last: bool) -> dict[str, Any]:
    address = urlsplit(attempt["replica"])
    answered = _usage(record) if last and attempt["outcome"] == "ok" else {}
    return {
        **answered,
        "gen_ai.operation.name": OPERATIONS.get(record["endpoint"], "chat"),
        "gen_ai.provider.name": "graduand" if upstream is None else upstream.kind,
        "gen_ai.request.model": attempt.get("model"),
        "gen_ai.response.model": record["served_model"] if answered else None,
        "server.address": address.hostname,
        "server.port": address.port,
        "graduand.upstream": attempt["upstream"],
        "graduand.arm": attempt["arm"],
    }


def _usage(record: Record) -> dict[str, Any]:
    usage = record["usage"]
    return {
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
    }


def _verdicts(record: Record, at_ns: int) -> Iterator[Event]:
    for verdict in record["verdicts"]:
        attributes: dict[str, str | float | None] = {
            "gen_ai.evaluation.name": verdict["name"],
            "gen_ai.evaluation.score.value": verdict["score"],
            "gen_ai.evaluation.score.label": verdict["label"],
        }
        known = {key: value for key, value in attributes.items() if value is not None}
        yield Event("gen_ai.evaluation.result", known, at_ns)
