"""Engines' pages as they are: vLLM's packed labels, LoRAX's names, restarts, and rubbish."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.monitoring.engines import FIRST_TOKEN_BUCKETS_S, EngineReading, Histogram, NotMetrics, read

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 3.0
vllm:num_requests_running{engine="1",model_name="base"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="base"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="base"} 0.75
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters=""} 1.7e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a@1,b@2",waiting_lora_adapters="c@3"} 1.8e+09
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{engine="0",model_name="base"} 100.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="base"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.05",model_name="base"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="640.0",model_name="base"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="base"} 4.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="base"} 4.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="base"} 12.5
"""
LORAX = """\
# TYPE lorax_batch_current_size gauge
lorax_batch_current_size 5
# TYPE lorax_queue_length gauge
lorax_queue_length 2
# TYPE lorax_request_generated_tokens histogram
lorax_request_generated_tokens_bucket{le="10.24"} 3
lorax_request_generated_tokens_bucket{le="+Inf"} 3
lorax_request_generated_tokens_sum 21
lorax_request_generated_tokens_count 3
# TYPE lorax_request_mean_time_per_token_duration histogram
lorax_request_mean_time_per_token_duration_bucket{le="0.02"} 3
lorax_request_mean_time_per_token_duration_bucket{le="+Inf"} 3
lorax_request_mean_time_per_token_duration_sum 0.03
lorax_request_mean_time_per_token_duration_count 3
"""


def test_vllm() -> None:
    reading = read(VLLM)
    assert (reading.running, reading.waiting, reading.cache_usage, reading.tokens) == (5, 7, 0.75, 100)
    assert (reading.busy_adapters, reading.adapter_slots) == ({"a@1", "b@2", "c@3"}, 4)
    assert reading.first_token is not None
    counts = dict(zip((*FIRST_TOKEN_BUCKETS_S, "inf"), reading.first_token.counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.001: 1, 0.06: 2, "inf": 1}
    assert reading.first_token.total_s == 12.5
    assert reading.per_token is None


def test_a_page_of_a_real_vllm() -> None:
    """Taken from vLLM 0.32.0 after some requests, one of them broken off (tests/vllm)."""
    reading = read((Path(__file__).parent / "vllm-0.32.0.prom").read_text())
    assert (reading.running, reading.waiting, reading.cache_usage, reading.tokens) == (0, 0, 0, 202)
    # The adapter stays on the page as running and as waiting, under an older time than the set that is empty.
    assert (reading.busy_adapters, reading.adapter_slots) == (set(), 2)
    assert reading.first_token is not None
    assert reading.per_token is not None
    assert (sum(reading.first_token.counts), sum(reading.per_token.counts)) == (74, 128)


def test_lorax() -> None:
    reading = read(LORAX)
    assert (reading.running, reading.waiting, reading.tokens) == (5, 2, 21)
    assert reading.per_token is not None
    assert (sum(reading.per_token.counts), reading.per_token.total_s) == (3, 0.03)
    assert (reading.cache_usage, reading.adapter_slots, reading.first_token) == (None, None, None)


def test_the_embedded_engine() -> None:
    from graduand.gateway.engine.metrics import Metrics

    metrics = Metrics("base", max_sequences=4, context=100)
    metrics.load(running=1, waiting=2, running_adapters=["a@1"], waiting_adapters=["b@2"], cached_tokens=100)
    metrics.prompt_read(5, 0.02)
    metrics.generated(3, 0.004)
    reading = read(metrics.text().decode())
    assert (reading.running, reading.waiting, reading.cache_usage, reading.tokens) == (1, 2, 0.25, 3)
    assert (reading.busy_adapters, reading.adapter_slots) == ({"a@1", "b@2"}, 4)
    assert reading.first_token is not None
    assert reading.per_token is not None
    assert (sum(reading.first_token.counts), sum(reading.per_token.counts)) == (1, 1)


@pytest.mark.parametrize(
    "page", ["", "<html>not found</html>", "{}", 'vllm:num_requests_running{a="b} 1', "# TYPE x gauge\nx 1\n", "\0\0"]
)
def test_rubbish_is_not_metrics(page: str) -> None:
    with pytest.raises(NotMetrics):
        read(page)


def test_strange_values_are_left_out() -> None:
    reading = read(
        'vllm:num_requests_running NaN\nvllm:num_requests_waiting 1\nvllm:lora_requests_info{max_lora="many"} 1\n'
    )
    assert reading == EngineReading(waiting=1)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(page: str) -> None:
    try:
        read(page)
    except NotMetrics as error:
        assert str(error)


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=1, max_size=8))
def test_differences_add_up_to_what_was_counted_over_restarts(lives: list[list[int]]) -> None:
    """Each life of an engine counts from zero and is looked at twice."""
    before, seen, true = Histogram((0.0, 0.0, 0.0), 0.0), [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for life in lives:
        half = Histogram(tuple(float(count // 2) for count in life), 1.0)
        for now in (half, Histogram(tuple(float(count) for count in life), 2.0)):
            if now is half and sum(half.counts) >= sum(before.counts) > 0:
                now = Histogram(
                    (0.0, 0.0, 0.0), 0.0
                )  # a restart that no look could tell: looked at before its first count
            seen = [old + new for old, new in zip(seen, now.since(before).counts, strict=True)]
            before = now
        true = [old + new for old, new in zip(true, life, strict=True)]
    assert seen == true
