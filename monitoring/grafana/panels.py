"""What a dashboard is made of here, as plain data: panels that each answer one question, and the variables they use.

Colours: the teacher is blue and the student green on every panel. Rates are over $__rate_interval, so that a panel is right
at any zoom; sums over the shown time are over $__range.
"""

from dataclasses import dataclass, field

from graduand.monitoring import runbooks

RUNBOOKS = runbooks.address(runbooks.ALERTS.read_text("utf-8"))
# Good, then from where on it is to be looked at, then from where on it is bad.
Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `kind`: lines, stacked, stat or table. `limits` colour values, `falling` if low is bad; `span` of 24."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "lines"
    span: int = 12
    height: int = 8
    limits: Limits | None = None
    falling: bool = False
    most: float | None = None
    runbooks: tuple[str, ...] = ()  # alerts whose pages the panel links to


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard, filled by a query; `many` lets several be chosen, all at first."""

    name: str
    label: str
    query: str
    many: bool = True


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: rows of panels under a title each."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    since: str = "now-3h"
    tags: tuple[str, ...] = field(default=("graduand",))


ROUTES = Variable("route", "route", "label_values(graduand_requests_total, route)")
ROUTE = Variable("route", "route", "label_values(graduand_requests_total, route)", many=False)
ADAPTERS = Variable("adapter", "adapter", 'label_values(graduand_output_tokens_total{adapter!=""}, adapter)')
UPSTREAMS = Variable("upstream", "upstream", "label_values(graduand_upstream_attempts_total, upstream)")


def quantile(share: float, metric: str, by: str, where: str) -> str:
    """A quantile of a histogram by some labels.

    >>> quantile(0.95, "graduand_overhead_seconds", "route", 'route=~"$route"')
    'histogram_quantile(0.95, sum by (le, route) (rate(graduand_overhead_seconds_bucket{route=~"$route"}[$__rate_interval])))'
    """
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


def rate(metric: str, by: str, where: str) -> str:
    """A counter's rate a second, summed by some labels."""
    return f"sum by ({by}) (rate({metric}_total{{{where}}}[$__rate_interval]))"


def counted(metric: str, by: str, where: str) -> str:
    """A counter's rate; a line at 0 named `none` while nothing was counted: no data would look like a broken panel."""
    nothing = f'label_replace(vector(0), "{by.partition(",")[0]}", "none", "", "")'
    return f"{rate(metric, by, where)} or on () {nothing}"


def drift(where: str) -> str:
    """A detector's value as a share of its threshold, up to 2: evidence may grow a billionfold, and then nothing else is seen."""
    return f"clamp_max(graduand_drift_value{{{where}}} / graduand_drift_threshold{{{where}}}, 2)"


def failing(by: str, where: str) -> str:
    """Share of answers on which a check triggered; 0 where none did, not nothing."""
    verdicts = "rate(graduand_check_verdicts_total{%s}[$__rate_interval])"
    triggered = where + ', outcome="trigger"'
    every = f"sum by ({by}) ({verdicts % where})"
    return f"(sum by ({by}) ({verdicts % triggered}) or 0 * {every}) / {every}"
