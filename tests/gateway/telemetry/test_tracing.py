"""One trace over client, gateway, upstreams and copies: the real SDK and exporter, against a real receiver."""

import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan

from graduand.gateway.config import consistency
from graduand.gateway.config.read import parse
from graduand.gateway.errors import ConfigError
from graduand.gateway.processes import tracer
from graduand.gateway.processes.tracer import Tracer
from graduand.monitoring.metrics import Metrics, Totals
from graduand.monitoring.series import SeriesFile
from tests.gateway.conftest import Start
from tests.gateway.faults import refuses
from tests.gateway.running import Gateway, route, until
from tests.gateway.running import upstream as configured
from tests.gateway.speaking import Client, chat
from tests.gateway.telemetry.receiver import Receiver, attributes
from tests.gateway.upstream import Place, Upstream

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = f"traceparent: 00-{TRACE}-{PARENT}-01"
HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(scope="module")
def places(upstream: Upstream) -> dict[str, Place]:
    return {name: upstream.place(name, refuses(500, "down") if name == "broken" else None)
            for name in ("teacher", "student", "broken")}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(start: Start, places: dict[str, Place], receiver: Receiver) -> Gateway:
    upstreams = {name: configured(place.url) for name, place in places.items()}
    routes: Json = {
        "plain": route("teacher"),
        "shadow": route("teacher", "student", mode="shadow"),
        "fallback": {**route("teacher", "broken", mode="student"), "retries": 1},
    }
    return start(upstreams, routes, tracing={"endpoint": receiver.url}, workers=2)


def ask(gateway: Gateway, model: str, *headers: str) -> Json:
    with Client(gateway.port) as client:
        answer = client.ask(chat(model), headers=headers)
    assert answer.status == 200
    return gateway.record(answer.headers["x-graduand-id"])


def arrived(receiver: Receiver, trace_id: str, count: int) -> dict[str, Span]:
    """The spans of a trace by their id, once so many are there."""
    until(lambda: len(receiver.of(trace_id)) >= count, f"{count} spans of {trace_id} arrive")
    return {span.span_id.hex(): span for span in receiver.of(trace_id)}


def test_one_trace_from_the_client_to_the_upstream(
    gateway: Gateway, places: dict[str, Place], receiver: Receiver
) -> None:
    places["teacher"].forget()
    record = ask(gateway, "plain", CONTEXT)
    assert (record["trace_id"], record["parent_span_id"], record["trace_sampled"]) == (TRACE, PARENT, True)
    spans = arrived(receiver, TRACE, 2)
    server = spans[record["span_id"]]
    assert (server.name, server.kind, server.parent_span_id.hex()) == (
        "POST /v1/chat/completions", Span.SpanKind.SPAN_KIND_SERVER, PARENT
    )  # fmt: skip
    [client] = [span for span in spans.values() if span.kind == Span.SpanKind.SPAN_KIND_CLIENT]
    assert (client.name, client.parent_span_id.hex()) == ("chat gpt-4o", record["span_id"])
    found = HEADER.fullmatch(places["teacher"].seen[0].header("traceparent") or "")
    assert found is not None
    assert found.groups() == (TRACE, client.span_id.hex(), "01")
    assert attributes(client) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1", "server.port": int(places["teacher"].url.split(":")[2].split("/")[0]),
        "graduand.upstream": "teacher", "graduand.arm": "teacher",
    }  # fmt: skip
    said = attributes(server)
    assert said["graduand.id"] == record["id"]
    assert (said["graduand.arm"], said["http.response.status_code"]) == ("teacher", 200)
    assert server.start_time_unix_nano <= client.start_time_unix_nano + 2_000_000
    assert client.end_time_unix_nano <= server.end_time_unix_nano + 2_000_000
    assert abs(server.end_time_unix_nano / 1e9 - time.time()) < 60
    assert receiver.paths == {"/v1/traces"}
    assert receiver.resources[-1]["service.name"] == "graduand"


def test_no_payload_is_in_a_span(receiver: Receiver) -> None:
    assert receiver.spans
    assert not [span for span in receiver.spans if b"hello" in span.SerializeToString()]


def test_a_shadow_copy_is_in_the_same_trace(gateway: Gateway, places: dict[str, Place], receiver: Receiver) -> None:
    places["student"].forget()
    record = ask(gateway, "shadow")
    assert record["parent_span_id"] is None  # nobody sent a context: a new trace begins
    spans = arrived(receiver, record["trace_id"], 4)
    [copy] = [span for span in spans.values() if span.name == "shadow shadow"]
    [asked] = [span for span in spans.values() if span.name == "chat small@3f9c1a0b22de"]
    assert copy.parent_span_id.hex() == record["span_id"]
    assert asked.parent_span_id == copy.span_id
    assert (places["student"].seen[0].header("traceparent") or "").split("-")[1:3] == [
        record["trace_id"], asked.span_id.hex()
    ]  # fmt: skip


def test_each_attempt_is_a_span_with_its_cause(gateway: Gateway, receiver: Receiver) -> None:
    record = ask(gateway, "fallback")
    spans = arrived(receiver, record["trace_id"], 4)
    attempts = [span for span in spans.values() if span.kind == Span.SpanKind.SPAN_KIND_CLIENT]
    causes = sorted((span.name, str(attributes(span).get("error.type"))) for span in attempts)
    assert causes == [("chat gpt-4o", "None"), *[("chat small@3f9c1a0b22de", "http_500")] * 2]
    assert len({span.span_id for span in attempts}) == 3
    assert {span.status.code for span in attempts} == {0, 2}


@pytest.mark.parametrize(
    "header",
    [f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}",
     f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more", "rubbish", "\xff" * 9],
)  # fmt: skip
def test_a_context_that_is_none_begins_a_new_trace(gateway: Gateway, header: str) -> None:
    record = ask(gateway, "plain", f"traceparent: {header}")
    assert record["trace_id"] != TRACE
    assert record["parent_span_id"] is None


def test_what_the_client_does_not_sample_is_not_exported(
    gateway: Gateway, places: dict[str, Place], receiver: Receiver
) -> None:
    places["teacher"].forget()
    other = "1" * 32
    record = ask(gateway, "plain", f"traceparent: 00-{other}-{PARENT}-00")
    assert (record["trace_id"], record["trace_sampled"]) == (other, False)
    assert (places["teacher"].seen[0].header("traceparent") or "").endswith("-00")
    arrived(receiver, ask(gateway, "plain")["trace_id"], 2)
    assert not receiver.of(other)


def test_a_receiver_that_is_away_delays_nothing(gateway: Gateway, receiver: Receiver) -> None:
    receiver.status = 400
    took_ms = [ask(gateway, "plain")["timings"]["total_ms"] for _ in range(20)]
    assert statistics.median(took_ms) < 500
    until(lambda: gateway.total("graduand_traces_total", "failed") >= 20, "failures are counted")
    receiver.status = 200
    arrived(receiver, ask(gateway, "plain")["trace_id"], 2)


def test_every_sampled_record_is_counted(gateway: Gateway) -> None:
    def settled() -> bool:
        sampled = sum(one["trace_sampled"] for one in gateway.records())
        return gateway.total("graduand_traces_total") == sampled

    until(settled, "each sampled record was exported or counted as failed")


def test_without_tracing_a_context_is_passed_on_and_logged(start: Start, upstream: Upstream) -> None:
    place = upstream.place("untraced")
    gateway = start({"openai": configured(place.url)}, {"plain": route("openai")})
    record = ask(gateway, "plain", CONTEXT)
    assert place.seen[0].header("traceparent") == CONTEXT.partition(" ")[2]
    assert (record["trace_id"], record["span_id"], record["attempts"][0].keys() & {"span_id"}) == (TRACE, None, set())
    assert not gateway.process_ids("graduand.gateway.processes.tracer")
    assert ask(gateway, "plain")["trace_id"] is None


# The tracer alone.


class Sent:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, batch: Any) -> bool:
        assert all(isinstance(span, ReadableSpan) for span in batch)
        self.batches.append(len(batch))
        return True


def settings(folder: Path) -> Any:
    file = {
        "upstreams": {"o": {"kind": "openai", "base_urls": ["http://127.0.0.1:9/v1"]}},
        "routes": {"r": {"teacher": {"upstream": "o", "model": "m"}}}, "logs": f"file://{folder}",
        "tracing": {"endpoint": "http://127.0.0.1:9", "sample": 25},
    }  # fmt: skip
    return parse(file, where="test", environ={})


def test_what_is_too_far_behind_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracer, "MOST_BEHIND_BYTES", 1000)
    folder = tmp_path / "logs" / "segments"
    folder.mkdir(parents=True)
    sent = Sent()
    one = Tracer(settings(tmp_path / "logs"), Metrics(SeriesFile(tmp_path / "t.series")), sent, 0.0)
    (folder / "a.jsonl").write_bytes(b'{"trace_sampled":true}\n' * 100 + b'{"half')
    one.look()
    assert not sent.batches
    assert Totals(tmp_path).sums()["graduand_traces", ("dropped",)] == [100]
    (folder / "a.jsonl").open("ab").write(b'"}\n[1]\n{"trace_sampled":true}\nrubbish "trace_sampled":true\n')
    one.look()
    assert Totals(tmp_path).sums()["graduand_traces", ("failed",)] == [2]  # neither is a record


def test_sampling_is_by_the_traces_id() -> None:
    from graduand.gateway.model import trace

    kept = sum(trace.begin(None, 0.25).sampled for _ in range(4000))
    assert 800 < kept < 1200
    assert all(trace.begin(None, 1.0).sampled for _ in range(100))
    assert trace.begin(CONTEXT.partition(" ")[2].encode(), 0.000001).sampled  # the client's decision stands


def test_the_configuration_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(tmp_path).tracing
    assert (found.url, found.share) == ("http://127.0.0.1:9/v1/traces", 0.25)
    monkeypatch.setattr(consistency, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'graduand\[otel\]'"):
        settings(tmp_path)
