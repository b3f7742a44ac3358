"""The columns of the report's tables: each is a title and a function from a row to its text."""

from collections.abc import Callable
from functools import partial

from benchmarks.peers import DIRECT, GRADUAND, LITELLM, NGINX, VLLM
from benchmarks.results import Results, Sample
from benchmarks.scenarios import Scenario

RATIOS = (NGINX, VLLM, LITELLM)
NOTHING = "–"
Make = Callable[[Results, Scenario, str], str]
Column = tuple[str, Make]


def columns(scenario: Scenario) -> list[Column]:
    """What is shown of a scenario, from left to right."""
    if scenario.key == "single":
        return [_median("median, ms", "p50_ms", 3), _median("p99, ms", "p99_ms", 3), *_added(), *_cost("request", 0)]
    if scenario.key == "paced":
        return [
            _median("longest gap, ms", "gap_max_ms", 0),
            _median("p99 gap, ms", "gap_p99_ms", 0),
            _worst("streams with a gap over 250 ms, worst round", "stalled"),
            _worst("streams not whole, worst round", "unfinished"),
            _median("first token, ms, median", "first_p50_ms", 1),
            *_cost("chunk", 1),
        ]
    others = [other for other in RATIOS if other in scenario.rows] or [GRADUAND]
    shown = [_median(scenario.unit, scenario.headline, 0), *(_ratio(scenario.headline, other) for other in others)]
    if scenario.streamed:
        return [*shown, _worst("streams broken, worst round", "unfinished"), *_cost("chunk", 1)]
    return [
        *shown,
        _median("median, ms", "p50_ms", 2),
        _median("p99, ms", "p99_ms", 2),
        *_cost("request", 0),
    ]


def _median(title: str, metric: str, digits: int) -> Column:
    def make(results: Results, scenario: Scenario, row: str) -> str:
        value, spread = results.median(scenario.key, row, metric), results.spread(scenario.key, row, metric)
        if value is None or spread is None:
            return NOTHING
        between = f" ({spread[0]:,.{digits}f}–{spread[1]:,.{digits}f})" if spread[0] != spread[1] else ""
        return f"{value:,.{digits}f}{between}"

    return title, make


def _worst(title: str, metric: str) -> Column:
    def make(results: Results, scenario: Scenario, row: str) -> str:
        spread = results.spread(scenario.key, row, metric)
        return NOTHING if spread is None else f"{spread[1]:.0f}"

    return title, make


def _ratio(metric: str, other: str) -> Column:
    def make(results: Results, scenario: Scenario, row: str) -> str:
        return NOTHING if row == other else _number(results.ratio(scenario.key, row, other, metric))

    return f"× {other}", make


def _cost(what: str, digits: int) -> list[Column]:
    # Of one core: a row far below 100% was held up by the load, the upstream, or by what else the machine does.
    columns = (_median(f"CPU a {what}, µs", "cpu_us", digits), _median("core busy, %", "busy_percent", 0))
    return [(title, partial(_gateways_only, make)) for title, make in columns]


def _gateways_only(make: Make, results: Results, scenario: Scenario, row: str) -> str:
    return NOTHING if row == DIRECT else make(results, scenario, row)


def _added() -> list[Column]:
    def column(title: str, metric: str) -> Column:
        def make(results: Results, scenario: Scenario, row: str) -> str:
            added = results.added(scenario.key, row, metric)
            return NOTHING if added is None or row == DIRECT else f"{added * 1000:,.0f}"

        return title, make

    return [column("added median, µs", "p50_ms"), column("added p99, µs", "p99_ms")]


def _number(value: Sample) -> str:
    return NOTHING if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
