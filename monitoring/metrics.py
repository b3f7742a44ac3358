"""The gateway's metrics: what is counted, under which names and labels, and how the workers' counts become one page.

Names and buckets follow Prometheus and OpenTelemetry's GenAI conventions. `LABELS` has all labels and what each holds,
always from a bounded set: ids belong into the log. The page (`exposition`) sums the workers' files.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from graduand.monitoring import series
from graduand.monitoring.series import Key, SeriesFile

MAX_SERIES_PER_FAMILY = 2_000
OTHER = "other"
# Every label, and what it holds.
LABELS = {
    "route": "a route's name",
    "arm": "`teacher` or `student`: who answered, or who was asked; `judge` for what judging costs",
    "adapter": "a student's adapter, `NAME@DIGEST`; empty for a teacher",
    "upstream": "an upstream's name",
    "outcome": "how something ended",
    "cause": "why a request failed, was refused, or went to the teacher",
    "check": "an output check's name",
    "action": "what was done about a check's or a detector's finding",
    "monitor": "a drift detector's name",
    "gate": "the name of a rollout's statistical test",
    "phase": "a rollout's phase",
    "state": "how an adapter stands on a replica",
    "purpose": "what dollars were spent on",
}
# The value of a gauge about which nothing is known, or no longer; it is not exported.
ABSENT = math.nan

DURATION_BUCKETS_S = tuple(0.01 * 2**k for k in range(14))
FIRST_TOKEN_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
CHECK_BUCKETS_S = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 2.5e-4, 0.001, 0.0025, 0.01, 0.05, 0.25)
OVERHEAD_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric: its kind is counter, gauge or histogram (then with `buckets`). Compared by identity: there is one each."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


REQUESTS = Family(
    "graduand_requests", "counter", "Requests answered, by the arm that answered and how they ended.",
    ("route", "arm", "outcome"),
)  # fmt: skip
DURATION = Family(
    "graduand_request_duration_seconds", "histogram", "From a request's arrival to the end of its answer.",
    ("route", "arm"), DURATION_BUCKETS_S,
)  # fmt: skip
FIRST_TOKEN = Family(
    "graduand_time_to_first_token_seconds", "histogram", "From a request's arrival to the first byte of its answer.",
    ("route", "arm"), FIRST_TOKEN_BUCKETS_S,
)  # fmt: skip
OVERHEAD = Family(
    "graduand_overhead_seconds", "histogram", "Time the gateway itself added before it asked the upstream.",
    ("route",), OVERHEAD_BUCKETS_S,
)  # fmt: skip
INPUT_TOKENS = Family("graduand_input_tokens", "counter", "Prompt tokens by usage.", ("route", "arm", "adapter"))
OUTPUT_TOKENS = Family("graduand_output_tokens", "counter", "Completion tokens by usage.", ("route", "arm", "adapter"))
FALLBACKS = Family(
    "graduand_fallbacks", "counter", "Requests that the teacher answered because the student failed, by cause.",
    ("route", "cause"),
)  # fmt: skip
ATTEMPTS = Family(
    "graduand_upstream_attempts", "counter", "Attempts at an upstream, by how they ended.", ("upstream", "outcome")
)
SHADOWS = Family(
    "graduand_shadow_requests",
    "counter",
    "Copies to the other arm, by how they ended; over_budget and dropped were not sent.",
    ("route", "outcome"),
)
UNIT_MISSING = Family(
    "graduand_unit_missing",
    "counter",
    "Requests that did not name the unit by which the route assigns arms.",
    ("route",),
)
UNIT_HEAVY = Family(
    "graduand_unit_heavy",
    "counter",
    "Requests of a unit that has more than 20% of its worker's traffic on the route: it decides a comparison alone.",
    ("route",),
)
REJECTED = Family(
    "graduand_rejected_requests", "counter", "Requests refused before any upstream was asked, by cause.", ("cause",)
)
LOG_RECORDS = Family(
    "graduand_log_records", "counter", "Log records by outcome; every outcome but written is a loss.", ("outcome",)
)
CHECK_VERDICTS = Family(
    "graduand_check_verdicts", "counter", "Verdicts of the output checks over served answers and copies.",
    ("route", "arm", "adapter", "check", "outcome"),
)  # fmt: skip
CHECK_ACTIONS = Family(
    "graduand_check_actions", "counter", "Actions that followed from output checks that triggered.",
    ("route", "arm", "check", "action"),
)  # fmt: skip
CHECK_TIMED = 8  # one answer in so many
CHECK_SECONDS = Family(
    "graduand_check_seconds", "histogram", f"Time that an output check took, measured on one answer in {CHECK_TIMED}.",
    ("check",),
    CHECK_BUCKETS_S,
)  # fmt: skip
IN_FLIGHT = Family("graduand_in_flight_requests", "gauge", "Requests being answered now.", ())
SHADOW_QUEUE = Family("graduand_shadow_queue", "gauge", "Shadow copies waiting or in flight.", ())
BREAKER_OPEN = Family(
    "graduand_breaker_open",
    "gauge",
    "Replicas out of rotation because their circuit breaker is open, summed over workers.",
    ("upstream",),
)
STATE_UP = Family(
    "graduand_state_up",
    "gauge",
    "1 while the state store can be read; at 0 workers go on with the last route table.",
    (),
)
STATE_AGE = Family("graduand_state_age_seconds", "gauge", "Time since the state store was last read.", ())
LOG_PENDING = Family("graduand_log_pending_bytes", "gauge", "Log bytes not yet handed to the file system.", ())
LOG_LAG = Family("graduand_log_lag_seconds", "gauge", "Age of the oldest log record that is not yet at its target.", ())
LOG_PARTS = Family("graduand_log_parts", "counter", "Parquet parts of the log, by outcome.", ("outcome",))
LOG_WAITING = Family(
    "graduand_log_waiting_bytes", "gauge", "Bytes of the log's segments that wait for their upload.", ()
)
REDACTIONS = Family(
    "graduand_redactions", "counter", "Spans taken out of records before they were written.", ("route",)
)
FEEDBACK = Family("graduand_feedback", "counter", "Feedback received, by outcome.", ("route", "outcome"))
DRIFT = ("route", "adapter", "monitor")
DRIFT_VALUE = Family("graduand_drift_value", "gauge", "Current value of a drift detector.", DRIFT)
DRIFT_THRESHOLD = Family("graduand_drift_threshold", "gauge", "Value at which a drift detector raises an alarm.", DRIFT)
DRIFT_ACTIVE = Family("graduand_drift_alarm_active", "gauge", "1 while the verdict on a drift alarm is active.", DRIFT)
DRIFT_ALARMS = Family("graduand_drift_alarms", "counter", "Alarms raised.", DRIFT)
DRIFT_EVALUATED = Family("graduand_drift_evaluated", "counter", "Observations that a detector evaluated.", DRIFT)
DRIFT_MISSING = Family(
    "graduand_drift_reference_missing",
    "gauge",
    "1 if inputs are not watched because there is no reference set.",
    ("route",),
)
MONITOR_LAG = Family(
    "graduand_monitor_lag_seconds", "gauge", "Age of the record that the monitor read last, while it is behind.", ()
)
MONITOR_SHED = Family(
    "graduand_monitor_shed", "counter", "Records that detectors did not see because the monitor was behind.", ("route",)
)
DRIFT_RECORDS = Family(
    "graduand_drift_records", "counter", "Results of the novelty detector for the log's table drift: written, lost.",
    ("outcome",),
)  # fmt: skip
VERDICT_ACTIONS = Family(
    "graduand_verdict_actions", "counter", "Actions taken because of drift alarms.", ("route", "monitor", "action")
)

JUDGED = Family(
    "graduand_judge_requests", "counter", "Pairs of free text judged, by the verdict on the student, and questions that failed.",
    ("route", "outcome"),
)  # fmt: skip

# What one request costs, and why it failed.
ERRORS = Family(
    "graduand_request_errors", "counter", "Requests without a whole answer, by cause.", ("route", "arm", "cause")
)
PER_TOKEN = Family(
    "graduand_time_per_output_token_seconds", "histogram", "Between two tokens of a streamed answer, on average.",
    ("route", "arm"), PER_TOKEN_BUCKETS_S,
)  # fmt: skip
COST = Family(
    "graduand_cost_dollars", "counter",
    "Dollars by the declared prices and by purpose: served, deferred, shadow, audit or judge.",
    ("route", "arm", "adapter", "purpose"),
)  # fmt: skip
AVOIDED = Family(
    "graduand_avoided_dollars", "counter", "What the teacher would have cost for the tokens that the student answered.",
    ("route",),
)  # fmt: skip
SAVED = Family(
    "graduand_saved_dollars", "gauge",
    "Avoided dollars minus the cost of student, copies, audits and judge, since the gateway started.", ("route",),
)  # fmt: skip
GPU_DOLLARS = Family(
    "graduand_gpu_dollars", "counter", "Cost of upstreams that are paid by the hour, busy or idle.",
    ("upstream",),
)  # fmt: skip
GPU_USED = Family(
    "graduand_gpu_used_dollars",
    "counter",
    "The part of graduand_gpu_dollars that was charged to requests.",
    ("upstream",),
)

# What the leading controller knows about routes and rollouts.
SHARE = Family("graduand_share", "gauge", "Share of units that an arm is asked for first, 0 to 1.", ("route", "arm"))
AGREEMENT = Family(
    "graduand_agreement", "gauge", "Share of compared pairs in which student and teacher agree.", ("route", "adapter")
)
AGREEMENT_LOWER = Family(
    "graduand_agreement_lower", "gauge", "Lower end of the anytime-valid 95% band of the agreement.",
    ("route", "adapter"),
)  # fmt: skip
AGREEMENT_UPPER = Family(
    "graduand_agreement_upper", "gauge", "Upper end of the anytime-valid 95% band of the agreement.",
    ("route", "adapter"),
)  # fmt: skip
ROLLOUT_PHASE = Family(
    "graduand_rollout_phase", "gauge", "1 for the current phase of the route's newest rollout.", ("route", "phase")
)
ROLLOUT_EVIDENCE = Family(
    "graduand_rollout_evidence", "gauge",
    "Evidence of a gate as its decimal logarithm; harm:NAME speaks against the student.", ("route", "gate"),
)  # fmt: skip
ROLLOUT_THRESHOLD = Family(
    "graduand_rollout_evidence_threshold", "gauge", "Decimal logarithm of the evidence at which a gate decides.",
    ("route", "gate"),
)  # fmt: skip
ROLLOUT_STEP_AGE = Family(
    "graduand_rollout_step_age_seconds", "gauge", "Time since the newest rollout entered its step, or went on hold.",
    ("route",),
)  # fmt: skip

# Adapters and engines as they were found at the last look, under the same names for every kind of upstream.
ADAPTER_WANTED = Family(
    "graduand_adapter_wanted", "gauge", "Replicas on which an adapter should be loaded.", ("adapter", "upstream")
)
ADAPTER_RESIDENT = Family(
    "graduand_adapter_resident", "gauge", "Replicas that list an adapter which should be loaded.",
    ("adapter", "upstream"),
)  # fmt: skip
ADAPTER_READY = Family(
    "graduand_adapter_ready",
    "gauge",
    "Replicas on which a managed adapter passed its proof and serves.",
    ("adapter", "upstream"),
)
FLEET_PLACES = Family(
    "graduand_fleet_places", "gauge", "Places of adapters on replicas, by state.", ("upstream", "state")
)
FLEET_ACTIONS = Family(
    "graduand_fleet_actions", "counter", "What the fleet manager did with adapters: loaded, failed, unloaded, lost.",
    ("upstream", "outcome"),
)  # fmt: skip
FLEET_SLOTS = Family(
    "graduand_fleet_slots",
    "gauge",
    "Adapters that all replicas together may hold, where `slots` is set.",
    ("upstream",),
)
ENGINE_REPLICAS = Family("graduand_engine_replicas", "gauge", "Replicas configured.", ("upstream",))
ENGINE_UP = Family("graduand_engine_up", "gauge", "Replicas whose metrics could be read.", ("upstream",))
ENGINE_RUNNING = Family("graduand_engine_requests_running", "gauge", "Requests in the engines' batches.", ("upstream",))
ENGINE_WAITING = Family(
    "graduand_engine_requests_waiting", "gauge", "Requests that wait for room in a batch.", ("upstream",)
)
ENGINE_CACHE = Family(
    "graduand_engine_cache_usage_ratio", "gauge", "Key-value cache in use on the fullest replica, 0 to 1.",
    ("upstream",),
)  # fmt: skip
ENGINE_ADAPTERS = Family(
    "graduand_engine_adapters_loaded", "gauge", "Different adapters listed by any replica.", ("upstream",)
)
ENGINE_ADAPTERS_BUSY = Family(
    "graduand_engine_adapters_busy", "gauge", "Different adapters with a request running or waiting.", ("upstream",)
)
ENGINE_ADAPTER_SLOTS = Family(
    "graduand_engine_adapter_slots",
    "gauge",
    "Adapters that fit into one batch, on the replica with the fewest.",
    ("upstream",),
)
ENGINE_TOKENS = Family("graduand_engine_output_tokens", "counter", "Tokens that the engines generated.", ("upstream",))
ENGINE_FIRST_TOKEN = Family(
    "graduand_engine_first_token_seconds", "histogram", "From arrival at the engine to the first token.",
    ("upstream",), FIRST_TOKEN_BUCKETS_S,
)  # fmt: skip
ENGINE_PER_TOKEN = Family(
    "graduand_engine_time_per_output_token_seconds", "histogram", "Between two tokens, as the engine measures it.",
    ("upstream",), PER_TOKEN_BUCKETS_S,
)  # fmt: skip
TRACES = Family(
    "graduand_traces", "counter", "Log records turned into spans, by outcome: exported, failed, dropped.",
    ("outcome",),
)  # fmt: skip

FAMILIES = (
    REQUESTS, DURATION, FIRST_TOKEN, OVERHEAD, INPUT_TOKENS, OUTPUT_TOKENS, FALLBACKS, ATTEMPTS, SHADOWS, UNIT_MISSING,
    UNIT_HEAVY,
    REJECTED, LOG_RECORDS, CHECK_VERDICTS, CHECK_ACTIONS, CHECK_SECONDS, IN_FLIGHT, SHADOW_QUEUE, BREAKER_OPEN, LOG_PENDING,
    STATE_UP, STATE_AGE, JUDGED, DRIFT_VALUE, DRIFT_THRESHOLD, DRIFT_ACTIVE, DRIFT_ALARMS, DRIFT_EVALUATED, DRIFT_MISSING,
    MONITOR_LAG, MONITOR_SHED, VERDICT_ACTIONS,
    ERRORS, PER_TOKEN, COST, AVOIDED, SAVED, GPU_DOLLARS, GPU_USED,
    SHARE, AGREEMENT, AGREEMENT_LOWER, AGREEMENT_UPPER, ROLLOUT_PHASE, ROLLOUT_EVIDENCE, ROLLOUT_THRESHOLD,
    ROLLOUT_STEP_AGE, ADAPTER_WANTED, ADAPTER_RESIDENT, ADAPTER_READY, FLEET_PLACES, FLEET_SLOTS, FLEET_ACTIONS,
    ENGINE_REPLICAS, ENGINE_UP, ENGINE_RUNNING, ENGINE_WAITING,
    ENGINE_CACHE, ENGINE_ADAPTERS, ENGINE_ADAPTERS_BUSY, ENGINE_ADAPTER_SLOTS, ENGINE_TOKENS, ENGINE_FIRST_TOKEN,
    ENGINE_PER_TOKEN, TRACES,
    LOG_LAG, LOG_PARTS, LOG_WAITING, REDACTIONS, FEEDBACK, DRIFT_RECORDS,
)  # fmt: skip


class Metrics:
    """The worker's side: each count costs one addition. Beyond a bound, new series are counted as `other`."""

    def __init__(self, file: SeriesFile) -> None:
        self._file = file
        self._values = self.values = file.values
        self._cells: dict[tuple[Family, tuple[str, ...]], int] = {}
        self._sizes: dict[str, int] = {}
        gauges = {family.name for family in FAMILIES if family.kind == "gauge"}
        for (name, _), cell in file.known.items():
            self._sizes[name] = self._sizes.get(name, 0) + 1
            if name in gauges:
                self._values[cell] = ABSENT  # the dead process no longer does what its gauges say

    def add(self, family: Family, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Count `amount` more."""
        cell = self._cells.get((family, labels))
        if cell is None:
            cell = self._reserve(family, labels)
        self._values[cell] += amount

    def cell(self, family: Family, labels: tuple[str, ...]) -> int:
        """The index of a series' first cell in `values`, for a caller that counts the same series again and again."""
        cell = self._cells.get((family, labels))
        return self._reserve(family, labels) if cell is None else cell

    def set(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
        cell = self._cells.get((family, labels))
        if cell is None:
            cell = self._reserve(family, labels)
        self._values[cell] = value

    def merge(self, family: Family, labels: tuple[str, ...], counts: Sequence[float], total: float) -> None:
        """Put a whole histogram's increase in: a count for each bucket and one for +Inf (not cumulated), and the sum."""
        cell = self.cell(family, labels)
        for index, count in enumerate((*counts, total)):
            self._values[cell + index] += count

    def keep(self, family: Family, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge's series to exactly these; all others of this gauge are no longer exported."""
        gone = {labels for name, labels in self._file.known if name == family.name} - values.keys()
        for labels in gone:
            self._values[self._file.known[family.name, labels]] = ABSENT
        for labels, value in values.items():
            self.set(family, labels, value)

    def observe(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        """Put one value into a histogram: cells are one a bucket, one for +Inf, and the sum."""
        cell = self._cells.get((family, labels))
        if cell is None:
            cell = self._reserve(family, labels)
        buckets = family.buckets
        self._values[cell + bisect_left(buckets, value)] += 1
        self._values[cell + len(buckets) + 1] += value

    def _reserve(self, family: Family, labels: tuple[str, ...]) -> int:
        before = self._file.known.get((family.name, labels))
        if before is not None:  # counted by this worker's predecessor
            self._cells[family, labels] = before
            return before
        size = self._sizes.get(family.name, 0)
        if size >= MAX_SERIES_PER_FAMILY:
            # Not remembered under its own labels: that memory would grow without bound.
            labels = (OTHER,) * len(labels)
            known = self._cells.get((family, labels))
            if known is not None:
                return known
        self._sizes[family.name] = size + 1
        cells = len(family.buckets) + 2 if family.kind == "histogram" else 1
        cell = self._cells[family, labels] = self._file.cells(family.name, labels, cells)
        return cell


class Totals:
    """The scraped side: the sum of all workers' files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sums(self) -> dict[Key, list[float]]:
        """Every series' cells, summed over the workers."""
        sums: dict[Key, list[float]] = {}
        for path in sorted(self._folder.glob("*.series")):
            for key, values in series.read(path):
                if math.isnan(values[0]):
                    continue
                known = sums.setdefault(key, [0.0] * len(values))
                for index, value in enumerate(values):
                    known[index] += value
        return sums

    def collect(self) -> Iterator[Metric]:
        """All families with their sums, in prometheus_client's form."""
        by_name: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
        sums = self.sums()
        sums.update({(SAVED.name, (route,)): [dollars] for route, dollars in saved(sums).items()})
        for (name, labels), values in sorted(sums.items()):
            by_name.setdefault(name, []).append((labels, values))
        for family in FAMILIES:
            yield _metric(family, by_name.get(family.name, []))


def saved(sums: Mapping[Key, Sequence[float]]) -> dict[str, float]:
    """By route, what the teacher would have cost, minus all that is spent because there is a student."""
    dollars = {labels[0]: values[0] for (name, labels), values in sums.items() if name == AVOIDED.name}
    for (name, labels), values in sums.items():
        # The teacher's own answers to clients would have been paid for without a student too.
        if name == COST.name and (labels[1], labels[3]) != ("teacher", "served"):
            dollars[labels[0]] = dollars.get(labels[0], 0.0) - values[0]
    return dollars


def exposition(totals: Totals) -> bytes:
    """The page that Prometheus scrapes, in its text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(totals)
    return generate_latest(registry)


def _metric(family: Family, rows: list[tuple[tuple[str, ...], list[float]]]) -> Metric:
    if family.kind == "counter":
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for labels, values in rows:
            counter.add_metric(labels, values[0])
        return counter
    if family.kind == "gauge":
        gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for labels, values in rows:
            gauge.add_metric(labels, values[0])
        return gauge
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, values in rows:
        bounds = [*(f"{bound:g}" for bound in family.buckets), "+Inf"]
        total, buckets = 0.0, []
        for bound, value in zip(bounds, values, strict=False):
            total += value
            buckets.append((bound, total))
        histogram.add_metric(labels, buckets, sum_value=values[len(bounds)])
    return histogram
