"""An engine's own metrics under one set of names: vLLM's (the embedded engine shares them) and LoRAX's metrics.

Pure: from a page in Prometheus' text format to a `EngineReading`, and from two readings to what was added in between. vLLM packs
lists of adapters into labels (`vllm:lora_requests_info`): they are parsed here and never stored as they come. LoRAX names
no adapter and no time to the first token; what an engine does not report is None.
Sources: vLLM's and LoRAX's own code, see the tables below.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from graduand.monitoring.metrics import FIRST_TOKEN_BUCKETS_S, PER_TOKEN_BUCKETS_S

RUNNING = ("vllm:num_requests_running", "lorax_batch_current_size")
WAITING = ("vllm:num_requests_waiting", "lorax_queue_length")
CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")  # the second until vLLM 0.10
TOKENS = ("vllm:generation_tokens_total", "lorax_request_generated_tokens_sum")
FIRST_TOKEN = ("vllm:time_to_first_token_seconds",)
PER_TOKEN = (
    "vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds",
    "lorax_request_mean_time_per_token_duration",
)  # fmt: skip
ADAPTERS = "vllm:lora_requests_info"


class NotMetrics(ValueError):
    """A page that is not in Prometheus' text format, or holds nothing that an engine says."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts for each of our own buckets and one for +Inf (not cumulated), and the sum in seconds."""

    counts: tuple[float, ...]
    total_s: float

    def since(self, before: "Histogram | None") -> "Histogram":
        """What was added; everything, if the engine has begun anew."""
        if before is None or sum(self.counts) < sum(before.counts):
            return self
        added = (max(0.0, now - then) for now, then in zip(self.counts, before.counts, strict=True))
        return Histogram(tuple(added), max(0.0, self.total_s - before.total_s))


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One engine at one moment."""

    running: float | None = None
    waiting: float | None = None
    cache_usage: float | None = None
    busy_adapters: frozenset[str] = frozenset()
    adapter_slots: float | None = None
    tokens: float | None = None
    first_token: Histogram | None = None
    per_token: Histogram | None = None


def read(page: str) -> EngineReading:
    """Parse a page; raise NotMetrics if it is none."""
    try:
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    except (ValueError, KeyError, IndexError) as error:
        raise NotMetrics(f"not Prometheus' text format: {error}") from error
    reading = EngineReading(
        running=_sum(samples, RUNNING),
        waiting=_sum(samples, WAITING),
        cache_usage=_most(samples, CACHE),
        busy_adapters=_busy(samples),
        adapter_slots=_slots(samples),
        tokens=_sum(samples, TOKENS),
        first_token=_histogram(samples, FIRST_TOKEN, FIRST_TOKEN_BUCKETS_S),
        per_token=_histogram(samples, PER_TOKEN, PER_TOKEN_BUCKETS_S),
    )
    if reading == EngineReading():
        raise NotMetrics("it holds none of vLLM's or LoRAX's metrics")
    return reading


def _named(samples: Iterable[Sample], names: Sequence[str], ending: str = "") -> list[Sample]:
    """The samples of the first name that there is."""
    for name in names:
        found = [sample for sample in samples if sample.name == name + ending and sample.value == sample.value]
        if found:
            return found
    return []


def _sum(samples: Sequence[Sample], names: Sequence[str]) -> float | None:
    found = _named(samples, names)
    return sum(sample.value for sample in found) if found else None


def _most(samples: Sequence[Sample], names: Sequence[str]) -> float | None:
    return max((sample.value for sample in _named(samples, names)), default=None)


def _newest(samples: Sequence[Sample]) -> Sample | None:
    """The newest sample: older sets of labels stay on vLLM's page, and the value is the time of the change."""
    return max(_named(samples, (ADAPTERS,)), key=lambda sample: sample.value, default=None)


def _busy(samples: Sequence[Sample]) -> frozenset[str]:
    newest = _newest(samples)
    if newest is None:
        return frozenset()
    packed = (newest.labels.get(label, "") for label in ("running_lora_adapters", "waiting_lora_adapters"))
    return frozenset(name.strip() for names in packed for name in names.split(",") if name.strip())


def _slots(samples: Sequence[Sample]) -> float | None:
    newest = _newest(samples)
    try:
        return None if newest is None else float(newest.labels.get("max_lora", ""))
    except ValueError:
        return None


def _histogram(samples: Sequence[Sample], names: Sequence[str], buckets: tuple[float, ...]) -> Histogram | None:
    """An engine's histogram in our buckets: what lies between two of ours is counted at the upper one."""
    found = _named(samples, names, "_bucket")
    if not found:
        return None
    name = found[0].name.removesuffix("_bucket")
    at_most: dict[float, float] = {}
    for sample in found:
        bound = float(sample.labels.get("le", "inf"))
        at_most[bound] = at_most.get(bound, 0.0) + sample.value
    counts, before = [0.0] * (len(buckets) + 1), 0.0
    for bound, count in sorted(at_most.items()):
        counts[bisect_left(buckets, bound)] += max(0.0, count - before)
        before = count
    return Histogram(tuple(counts), _sum(samples, (name + "_sum",)) or 0.0)
