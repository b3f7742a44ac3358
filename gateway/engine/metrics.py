"""The engine's Prometheus series, under vLLM's names so that one dashboard reads both."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts of one engine; the registry is its own, so that several engines can live in one process."""

    def __init__(self, model_name: str, *, max_sequences: int, context: int) -> None:
        self._registry = CollectorRegistry()
        self._cache_tokens = max_sequences * context
        self._max_sequences = max_sequences
        self._labels = {"model_name": model_name, "engine": "0"}
        self._running = self._gauge("vllm:num_requests_running", "Requests that are being answered.")
        self._waiting = self._gauge("vllm:num_requests_waiting", "Requests that wait for a free sequence.")
        self._cache = self._gauge("vllm:kv_cache_usage_perc", "Cached tokens over the most there can be, 0 to 1.")
        self._prompt = self._counter("vllm:prompt_tokens", "Prompt tokens read.")
        self._generation = self._counter("vllm:generation_tokens", "Tokens generated.")
        self._success = Counter(
            "vllm:request_success",
            "Choices ended, by reason.",
            [*self._labels, "finished_reason"],
            registry=self._registry,
        )
        self._first = self._histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.")
        self._between = self._histogram("vllm:inter_token_latency_seconds", "Between two tokens of a request.")
        self._loras = Gauge(
            "vllm:lora_requests_info",
            "Time of the last change, as vLLM reports it, with the adapters packed into labels.",
            ["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
            registry=self._registry,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, list(self._labels), registry=self._registry).labels(**self._labels)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, list(self._labels), registry=self._registry).labels(**self._labels)

    def _histogram(self, name: str, text: str) -> Histogram:
        histogram = Histogram(name, text, list(self._labels), buckets=SECONDS, registry=self._registry)
        return histogram.labels(**self._labels)

    def load(
        self,
        *,
        running: int,
        waiting: int,
        running_adapters: Sequence[str],
        waiting_adapters: Sequence[str],
        cached_tokens: int,
    ) -> None:
        """Report what the scheduler has in hand."""
        self._running.set(running)
        self._waiting.set(waiting)
        self._cache.set(cached_tokens / self._cache_tokens)
        self._loras.clear()
        self._loras.labels(str(self._max_sequences), ",".join(running_adapters), ",".join(waiting_adapters)).set(
            time.time()
        )

    def prompt_read(self, tokens: int, seconds_since_arrival: float) -> None:
        """A prompt has been read to its end, and its first token is due."""
        self._prompt.inc(tokens)
        self._first.observe(seconds_since_arrival)

    def generated(self, tokens: int, seconds_since_last: float | None) -> None:
        """A request got `tokens` more tokens."""
        self._generation.inc(tokens)
        if seconds_since_last is not None:
            self._between.observe(seconds_since_last)

    def finished(self, reason: str, count: int = 1) -> None:
        """Choices (requests, for `abort` and `error`) ended."""
        self._success.labels(**self._labels, finished_reason=reason).inc(count)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
