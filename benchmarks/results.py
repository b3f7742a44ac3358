"""What was measured, and what follows from it: medians, spreads, ratios, and whether the targets are met.

Pure: no I/O. Ratios are taken round by round and then their median, since the rounds are interleaved and so share what
else the machine did at that time. Must never state a figure that is not in `cells`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Figures
from benchmarks.peers import DIRECT, GRADUAND, LITELLM, MONITORED, NGINX, VLLM, VLLM_SHIPPED
from benchmarks.scenarios import STREAMS

Sample = float | None


@dataclass(slots=True)
class Cell:
    """One row of one scenario: a round that failed holds None, and `failure` says why."""

    rounds: list[Figures | None] = field(default_factory=list)
    failure: str | None = None

    def values(self, metric: str) -> list[Sample]:
        return [figures.get(metric) if figures else None for figures in self.rounds]


@dataclass(slots=True)
class Results:
    """All figures of one run, by scenario and row."""

    settings: dict[str, str | float]
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    peak_rss_mb: dict[str, float] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    proof: dict[str, str] = field(default_factory=dict)

    def cell(self, scenario: str, row: str) -> Cell:
        return self.cells.setdefault(scenario, {}).setdefault(row, Cell())

    def values(self, scenario: str, row: str, metric: str) -> list[Sample]:
        """One value a round; empty if the row was not measured."""
        return self.cells.get(scenario, {}).get(row, Cell()).values(metric)

    def median(self, scenario: str, row: str, metric: str) -> Sample:
        return middle(self.values(scenario, row, metric))

    def spread(self, scenario: str, row: str, metric: str) -> tuple[float, float] | None:
        """The smallest and the largest value of all rounds."""
        known = [value for value in self.values(scenario, row, metric) if value is not None]
        return (min(known), max(known)) if known else None

    def ratio(self, scenario: str, row: str, other: str, metric: str) -> Sample:
        """`row` divided by `other`: the median of the rounds' ratios."""
        return middle(self._pairs(scenario, row, other, metric, lambda ours, theirs: ours / theirs if theirs else None))

    def added(self, scenario: str, row: str, metric: str) -> Sample:
        """`row` less direct to the upstream: the median of the rounds' differences."""
        return middle(self._pairs(scenario, row, DIRECT, metric, lambda ours, theirs: ours - theirs))

    def _pairs(
        self, scenario: str, row: str, other: str, metric: str, make: Callable[[float, float], Sample]
    ) -> list[Sample]:
        pairs = zip(self.values(scenario, row, metric), self.values(scenario, other, metric), strict=False)
        return [make(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]


def middle(values: list[Sample]) -> Sample:
    """The median of the values that are known, or None if none is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


@dataclass(frozen=True, slots=True)
class Target:
    """One target and what was measured; `met` is None when the run cannot say."""

    wanted: str
    measured: str
    met: bool | None


def targets(results: Results) -> list[Target]:
    """The targets of the data plane, judged by this run."""
    return [
        _at_least(results, "small", "requests_per_s", VLLM_SHIPPED, 1.5),
        _at_least(results, "small", "requests_per_s", VLLM, 1.5),
        _at_least(results, "small", "requests_per_s", LITELLM, 100),
        _at_least(results, "small", "requests_per_s", NGINX, 0.35),
        _added_latency(results),
        _smooth_streams(results),
        _at_least(results, "full", "chunks_per_s", VLLM, 1),
        _monitors(results),
    ]


WORDS = {"requests_per_s": "requests per second", "chunks_per_s": "streamed chunks per second"}


def _at_least(results: Results, scenario: str, metric: str, other: str, wanted: float) -> Target:
    text = f"{WORDS[metric]}: at least {wanted:g} times {other}"
    ratio = results.ratio(scenario, GRADUAND, other, metric)
    if ratio is None:
        return Target(text, _missing(results, scenario, (GRADUAND, other)), None)
    return Target(text, f"{ratio:.2f} times", ratio >= wanted)


def _monitors(results: Results) -> Target:
    text = "requests per second with all monitors on: at least 0.9 of all off"
    ratio = results.ratio("monitors", MONITORED, GRADUAND, "requests_per_s")
    if ratio is None:
        return Target(text, _missing(results, "monitors", (MONITORED, GRADUAND)), None)
    return Target(text, f"{ratio:.2f}", ratio >= 0.9)


def _added_latency(results: Results) -> Target:
    text = f"added median latency, one request at a time: no more than {VLLM}"
    ours, theirs = (results.added("single", row, "p50_ms") for row in (GRADUAND, VLLM))
    if ours is None or theirs is None:
        return Target(text, _missing(results, "single", (DIRECT, GRADUAND, VLLM)), None)
    return Target(text, f"{ours * 1000:.0f} µs to {theirs * 1000:.0f} µs", ours <= theirs)


def _smooth_streams(results: Results) -> Target:
    """Judged by the worst round, since a stall is no less a stall for being rare."""
    text = f"all {STREAMS} streams of 50 tokens/s whole and without a gap over 250 ms"
    stalled = results.spread("paced", GRADUAND, "stalled")
    unfinished = results.spread("paced", GRADUAND, "unfinished")
    if stalled is None or unfinished is None:
        return Target(text, _missing(results, "paced", (GRADUAND,)), None)
    measured = f"worst round: {stalled[1]:.0f} with such a gap, {unfinished[1]:.0f} not whole"
    return Target(text, measured, stalled[1] == 0 and unfinished[1] == 0)


def _missing(results: Results, scenario: str, rows: tuple[str, ...]) -> str:
    for row in rows:
        reason = results.unavailable.get(row) or results.cells.get(scenario, {}).get(row, Cell()).failure
        if reason:
            return f"{row}: {reason}"
    return "not measured in this run"
