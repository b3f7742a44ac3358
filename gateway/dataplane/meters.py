"""What the hot path counts for one (route, arm, adapter, outcome): cells looked up once, then plain additions."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from graduand.monitoring import metrics as m
from graduand.monitoring.checks.judging import Verdict
from graduand.monitoring.metrics import Metrics

_LAST_DURATION: Final = len(m.DURATION.buckets) + 1
_LAST_FIRST_TOKEN: Final = len(m.FIRST_TOKEN.buckets) + 1
_LAST_OVERHEAD: Final = len(m.OVERHEAD.buckets) + 1
_LAST_PER_TOKEN: Final = len(m.PER_TOKEN.buckets) + 1
_LAST_CHECK: Final = len(m.CHECK_SECONDS.buckets) + 1
# Counted from the beginning, as zero: Prometheus sees no increase in a series that begins with its first count.
USUAL = ("ok", "error")


class Meter:
    """Counts requests that ended alike."""

    __slots__ = ("_duration", "_first_token", "_input", "_output", "_overhead", "_per_token", "_requests", "_values")

    def __init__(self, metrics: Metrics, route: str, arm: str, adapter: str, outcome: str) -> None:
        self._values = metrics.values
        self._requests = metrics.cell(m.REQUESTS, (route, arm, outcome))
        self._duration = metrics.cell(m.DURATION, (route, arm))
        self._first_token = metrics.cell(m.FIRST_TOKEN, (route, arm))
        self._per_token = metrics.cell(m.PER_TOKEN, (route, arm))
        self._overhead = metrics.cell(m.OVERHEAD, (route,))
        self._input = metrics.cell(m.INPUT_TOKENS, (route, arm, adapter))
        self._output = metrics.cell(m.OUTPUT_TOKENS, (route, arm, adapter))

    def ended(self, duration_s: float, first_token_s: float | None, overhead_s: float | None) -> None:
        """Count one request and its times."""
        values = self._values
        values[self._requests] += 1
        at = self._duration
        values[at + bisect_left(m.DURATION_BUCKETS_S, duration_s)] += 1
        values[at + _LAST_DURATION] += duration_s
        if first_token_s is not None:
            at = self._first_token
            values[at + bisect_left(m.FIRST_TOKEN_BUCKETS_S, first_token_s)] += 1
            values[at + _LAST_FIRST_TOKEN] += first_token_s
        if overhead_s is not None:
            at = self._overhead
            values[at + bisect_left(m.OVERHEAD_BUCKETS_S, overhead_s)] += 1
            values[at + _LAST_OVERHEAD] += overhead_s

    def paced(self, per_token_s: float) -> None:
        """Count the time between two tokens of one streamed answer."""
        values, at = self._values, self._per_token
        values[at + bisect_left(m.PER_TOKEN_BUCKETS_S, per_token_s)] += 1
        values[at + _LAST_PER_TOKEN] += per_token_s

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count tokens."""
        self._values[self._input] += prompt_tokens
        self._values[self._output] += completion_tokens


class CheckMeter:
    """Counts verdicts alike: of one check, on one arm, with one outcome."""

    __slots__ = ("_action", "_seconds", "_values", "_verdicts")

    def __init__(
        self, metrics: Metrics, route: str, arm: str, adapter: str, check: str, outcome: str, action: str
    ) -> None:
        self._values = metrics.values
        self._verdicts = metrics.cell(m.CHECK_VERDICTS, (route, arm, adapter, check, outcome))
        self._seconds = metrics.cell(m.CHECK_SECONDS, (check,))
        self._action = -1 if outcome == "pass" else metrics.cell(m.CHECK_ACTIONS, (route, arm, check, action))

    def judged(self) -> None:
        """Count one verdict."""
        self._values[self._verdicts] += 1
        if self._action >= 0:
            self._values[self._action] += 1

    def timed(self, took_s: float) -> None:
        """Count one verdict's time."""
        values, at = self._values, self._seconds
        values[at + bisect_left(m.CHECK_BUCKETS_S, took_s)] += 1
        values[at + _LAST_CHECK] += took_s


class Meters:
    """The meters of a worker, made as they are needed."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._meters: dict[tuple[str, str, str, str], Meter] = {}
        self._checks: dict[tuple[str, str, str], dict[str, CheckMeter]] = {}
        self._judged = 0

    def prepare(self, route: str, adapter: str) -> None:
        """Begin to count a route's usual outcomes; without a student `adapter` is empty."""
        for outcome in USUAL:
            self.of(route, "teacher", "", outcome)
            if adapter:
                self.of(route, "student", adapter, outcome)

    def of(self, route: str, arm: str, adapter: str, outcome: str) -> Meter:
        """The meter for requests of a configured route that ended with `outcome`."""
        key = (route, arm, adapter, outcome)
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = Meter(self._metrics, *key)
        return meter

    def judged(self, verdicts: Iterable[Verdict], route: str, arm: str, adapter: str) -> None:
        """Count the verdicts on one answer; of one answer in `m.CHECK_TIMED` their time too, which takes longer to count."""
        timed = self._judged % m.CHECK_TIMED == 0
        self._judged += 1
        meters = self._checks.get((route, arm, adapter))
        if meters is None:
            meters = self._checks[route, arm, adapter] = {}
        for one in verdicts:
            # Nearly all pass; a name alone is quicker to look up than a tuple.
            key = one.name if one.outcome == "pass" else f"{one.name} {one.outcome} {one.action}"
            meter = meters.get(key)
            if meter is None:
                meter = meters[key] = CheckMeter(self._metrics, route, arm, adapter, one.name, one.outcome, one.action)
            meter.judged()
            if timed:
                meter.timed(one.latency_ms / 1000)
