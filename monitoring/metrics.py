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


def counter(name: str, labels: str, help: str) -> Family:
    """A number that only grows; `labels` are words, here and below."""
    return Family(name, "counter", help, tuple(labels.split()))


def gauge(name: str, labels: str, help: str) -> Family:
    """A number that goes up and down."""
    return Family(name, "gauge", help, tuple(labels.split()))


def histogram(name: str, labels: str, help: str, buckets: tuple[float, ...]) -> Family:
    """How many values fell into each bucket, and their sum."""
    return Family(name, "histogram", help, tuple(labels.split()), buckets)


REQUESTS = counter(
    "graduand_requests", "route arm outcome", "Requests answered, by the arm that answered and how they ended."
)
DURATION = histogram(
    "graduand_request_duration_seconds",
    "route arm",
    "From a request's arrival to the end of its answer.",
    DURATION_BUCKETS_S,
)
FIRST_TOKEN = histogram(
    "graduand_time_to_first_token_seconds",
    "route arm",
    "From a request's arrival to the first byte of its answer.",
    FIRST_TOKEN_BUCKETS_S,
)
OVERHEAD = histogram(
    "graduand_overhead_seconds",
    "route",
    "Time the gateway itself added before it asked the upstream.",
    OVERHEAD_BUCKETS_S,
)
INPUT_TOKENS = counter("graduand_input_tokens", "route arm adapter", "Prompt tokens by usage.")
OUTPUT_TOKENS = counter("graduand_output_tokens", "route arm adapter", "Completion tokens by usage.")
FALLBACKS = counter(
    "graduand_fallbacks", "route cause", "Requests that the teacher answered because the student failed, by cause."
)
ATTEMPTS = counter("graduand_upstream_attempts", "upstream outcome", "Attempts at an upstream, by how they ended.")
SHADOWS = counter(
    "graduand_shadow_requests",
    "route outcome",
    "Copies to the other arm, by how they ended; over_budget and dropped were not sent.",
)
UNIT_MISSING = counter(
    "graduand_unit_missing", "route", "Requests that did not name the unit by which the route assigns arms."
)
UNIT_HEAVY = counter(
    "graduand_unit_heavy",
    "route",
    "Requests of a unit that has more than 20% of its worker's traffic on the route: it decides a comparison alone.",
)
REJECTED = counter("graduand_rejected_requests", "cause", "Requests refused before any upstream was asked, by cause.")
LOG_RECORDS = counter("graduand_log_records", "outcome", "Log records by outcome; every outcome but written is a loss.")
CHECK_VERDICTS = counter(
    "graduand_check_verdicts",
    "route arm adapter check outcome",
    "Verdicts of the output checks over served answers and copies.",
)
CHECK_ACTIONS = counter(
    "graduand_check_actions", "route arm check action", "Actions that followed from output checks that triggered."
)
CHECK_TIMED = 8  # one answer in so many
CHECK_SECONDS = histogram(
    "graduand_check_seconds",
    "check",
    f"Time that an output check took, measured on one answer in {CHECK_TIMED}.",
    CHECK_BUCKETS_S,
)
IN_FLIGHT = gauge("graduand_in_flight_requests", "", "Requests being answered now.")
SHADOW_QUEUE = gauge("graduand_shadow_queue", "", "Shadow copies waiting or in flight.")
BREAKER_OPEN = gauge(
    "graduand_breaker_open",
    "upstream",
    "Replicas out of rotation because their circuit breaker is open, summed over workers.",
)
STATE_UP = gauge(
    "graduand_state_up", "", "1 while the state store can be read; at 0 workers go on with the last route table."
)
STATE_AGE = gauge("graduand_state_age_seconds", "", "Time since the state store was last read.")
LOG_PENDING = gauge("graduand_log_pending_bytes", "", "Log bytes not yet handed to the file system.")
LOG_LAG = gauge("graduand_log_lag_seconds", "", "Age of the oldest log record that is not yet at its target.")
LOG_PARTS = counter("graduand_log_parts", "outcome", "Parquet parts of the log, by outcome.")
LOG_WAITING = gauge("graduand_log_waiting_bytes", "", "Bytes of the log's segments that wait for their upload.")
REDACTIONS = counter("graduand_redactions", "route", "Spans taken out of records before they were written.")
FEEDBACK = counter("graduand_feedback", "route outcome", "Feedback received, by outcome.")
DRIFT = "route adapter monitor"
DRIFT_VALUE = gauge("graduand_drift_value", DRIFT, "Current value of a drift detector.")
DRIFT_THRESHOLD = gauge("graduand_drift_threshold", DRIFT, "Value at which a drift detector raises an alarm.")
DRIFT_ACTIVE = gauge("graduand_drift_alarm_active", DRIFT, "1 while the verdict on a drift alarm is active.")
DRIFT_ALARMS = counter("graduand_drift_alarms", DRIFT, "Alarms raised.")
DRIFT_EVALUATED = counter("graduand_drift_evaluated", DRIFT, "Observations that a detector evaluated.")
DRIFT_MISSING = gauge(
    "graduand_drift_reference_missing", "route", "1 if inputs are not watched because there is no reference set."
)
MONITOR_LAG = gauge(
    "graduand_monitor_lag_seconds", "", "Age of the record that the monitor read last, while it is behind."
)
MONITOR_SHED = counter(
    "graduand_monitor_shed", "route", "Records that detectors did not see because the monitor was behind."
)
DRIFT_RECORDS = counter(
    "graduand_drift_records", "outcome", "Results of the novelty detector for the log's table drift: written, lost."
)
VERDICT_ACTIONS = counter("graduand_verdict_actions", "route monitor action", "Actions taken because of drift alarms.")

JUDGED = counter(
    "graduand_judge_requests",
    "route outcome",
    "Pairs of free text judged, by the verdict on the student, and questions that failed.",
)

# What one request costs, and why it failed.
ERRORS = counter("graduand_request_errors", "route arm cause", "Requests without a whole answer, by cause.")
PER_TOKEN = histogram(
    "graduand_time_per_output_token_seconds",
    "route arm",
    "Between two tokens of a streamed answer, on average.",
    PER_TOKEN_BUCKETS_S,
)
COST = counter(
    "graduand_cost_dollars",
    "route arm adapter purpose",
    "Dollars by the declared prices and by purpose: served, deferred, shadow, audit or judge.",
)
AVOIDED = counter(
    "graduand_avoided_dollars", "route", "What the teacher would have cost for the tokens that the student answered."
)
SAVED = gauge(
    "graduand_saved_dollars",
    "route",
    "Avoided dollars minus the cost of student, copies, audits and judge, since the gateway started.",
)
GPU_DOLLARS = counter("graduand_gpu_dollars", "upstream", "Cost of upstreams that are paid by the hour, busy or idle.")
GPU_USED = counter(
    "graduand_gpu_used_dollars", "upstream", "The part of graduand_gpu_dollars that was charged to requests."
)

# What the leading controller knows about routes and rollouts.
SHARE = gauge("graduand_share", "route arm", "Share of units that an arm is asked for first, 0 to 1.")
AGREEMENT = gauge("graduand_agreement", "route adapter", "Share of compared pairs in which student and teacher agree.")
AGREEMENT_LOWER = gauge(
    "graduand_agreement_lower", "route adapter", "Lower end of the anytime-valid 95% band of the agreement."
)
AGREEMENT_UPPER = gauge(
    "graduand_agreement_upper", "route adapter", "Upper end of the anytime-valid 95% band of the agreement."
)
ROLLOUT_PHASE = gauge("graduand_rollout_phase", "route phase", "1 for the current phase of the route's newest rollout.")
ROLLOUT_EVIDENCE = gauge(
    "graduand_rollout_evidence",
    "route gate",
    "Evidence of a gate as its decimal logarithm; harm:NAME speaks against the student.",
)
ROLLOUT_THRESHOLD = gauge(
    "graduand_rollout_evidence_threshold", "route gate", "Decimal logarithm of the evidence at which a gate decides."
)
ROLLOUT_STEP_AGE = gauge(
    "graduand_rollout_step_age_seconds", "route", "Time since the newest rollout entered its step, or went on hold."
)

# Adapters and engines as they were found at the last look, under the same names for every kind of upstream.
ADAPTER_WANTED = gauge("graduand_adapter_wanted", "adapter upstream", "Replicas on which an adapter should be loaded.")
ADAPTER_RESIDENT = gauge(
    "graduand_adapter_resident", "adapter upstream", "Replicas that list an adapter which should be loaded."
)
ADAPTER_READY = gauge(
    "graduand_adapter_ready", "adapter upstream", "Replicas on which a managed adapter passed its proof and serves."
)
FLEET_PLACES = gauge("graduand_fleet_places", "upstream state", "Places of adapters on replicas, by state.")
FLEET_ACTIONS = counter(
    "graduand_fleet_actions",
    "upstream outcome",
    "What the fleet manager did with adapters: loaded, failed, unloaded, lost.",
)
FLEET_SLOTS = gauge(
    "graduand_fleet_slots", "upstream", "Adapters that all replicas together may hold, where `slots` is set."
)
ENGINE_REPLICAS = gauge("graduand_engine_replicas", "upstream", "Replicas configured.")
ENGINE_UP = gauge("graduand_engine_up", "upstream", "Replicas whose metrics could be read.")
ENGINE_RUNNING = gauge("graduand_engine_requests_running", "upstream", "Requests in the engines' batches.")
ENGINE_WAITING = gauge("graduand_engine_requests_waiting", "upstream", "Requests that wait for room in a batch.")
ENGINE_CACHE = gauge(
    "graduand_engine_cache_usage_ratio", "upstream", "Key-value cache in use on the fullest replica, 0 to 1."
)
ENGINE_ADAPTERS = gauge("graduand_engine_adapters_loaded", "upstream", "Different adapters listed by any replica.")
ENGINE_ADAPTERS_BUSY = gauge(
    "graduand_engine_adapters_busy", "upstream", "Different adapters with a request running or waiting."
)
ENGINE_ADAPTER_SLOTS = gauge(
    "graduand_engine_adapter_slots", "upstream", "Adapters that fit into one batch, on the replica with the fewest."
)
ENGINE_TOKENS = counter("graduand_engine_output_tokens", "upstream", "Tokens that the engines generated.")
ENGINE_FIRST_TOKEN = histogram(
    "graduand_engine_first_token_seconds",
    "upstream",
    "From arrival at the engine to the first token.",
    FIRST_TOKEN_BUCKETS_S,
)
ENGINE_PER_TOKEN = histogram(
    "graduand_engine_time_per_output_token_seconds",
    "upstream",
    "Between two tokens, as the engine measures it.",
    PER_TOKEN_BUCKETS_S,
)
TRACES = counter("graduand_traces", "outcome", "Log records turned into spans, by outcome: exported, failed, dropped.")

FAMILIES = tuple(one for one in list(globals().values()) if isinstance(one, Family))


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
        count = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for labels, values in rows:
            count.add_metric(labels, values[0])
        return count
    if family.kind == "gauge":
        level = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for labels, values in rows:
            level.add_metric(labels, values[0])
        return level
    spread = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, values in rows:
        bounds = [*(f"{bound:g}" for bound in family.buckets), "+Inf"]
        total, buckets = 0.0, []
        for bound, value in zip(bounds, values, strict=False):
            total += value
            buckets.append((bound, total))
        spread.add_metric(labels, buckets, sum_value=values[len(bounds)])
    return spread
