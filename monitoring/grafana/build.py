"""From plain data to Grafana's own model, by Grafana's own library; the JSON is what Grafana would export itself."""

from typing import Any

from grafana_foundation_sdk.builders import common as common_of
from grafana_foundation_sdk.builders import dashboard as of
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from graduand.monitoring.grafana.panels import RUNBOOKS, Board, Panel, Query, Variable

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED = "green", "yellow", "red"
COLOURS = {"teacher": "blue", "student": "green"}

AnyPanel = timeseries.Panel | stat.Panel | table.Panel


def encoded(board: Board) -> str:
    """A dashboard's JSON."""
    return str(JSONEncoder(sort_keys=True, indent=2).encode(_built(board))) + "\n"


def _built(board: Board) -> dashboard.Dashboard:
    made = of.Dashboard(board.title).uid(board.uid).description(board.description).tags(list(board.tags))
    made = made.time(board.since, "now").refresh("30s").timezone("browser").readonly()
    made = made.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made = made.link(_links()).annotation(_alerts())
    made = made.with_variable(of.DatasourceVariable("datasource").label("data source").type("prometheus"))
    for variable in board.variables:
        made = made.with_variable(_variable(variable))
    number = 0
    for title, panels in board.rows:
        number += 1
        made = made.with_row(of.Row(title).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(_panel(panel).id(number))
    return made.build()


def _links() -> of.DashboardLink:
    link = of.DashboardLink("Graduand").type(dashboard.DashboardLinkType.DASHBOARDS).tags(["graduand"])
    return link.as_dropdown(True).include_vars(True).keep_time(True)


def _alerts() -> of.AnnotationQuery:
    found = of.AnnotationQuery().name("alerts").datasource(SOURCE).enable(True).icon_color("red")
    return found.expr('ALERTS{alertname=~"Graduand.+", alertstate="firing"}')


def _variable(variable: Variable) -> of.QueryVariable:
    made = of.QueryVariable(variable.name).label(variable.label).query(variable.query).datasource(SOURCE)
    made = made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    if not variable.many:
        return made
    everything = dashboard.VariableOption(text="All", value="$__all", selected=True)
    return made.multi(True).include_all(True).all_value(".+").current(everything)


def _panel(panel: Panel) -> AnyPanel:
    made: AnyPanel = _stat(panel) if panel.kind == "stat" else _table(panel) if panel.kind == "table" else _lines(panel)
    made = made.title(panel.title).description(panel.description).datasource(SOURCE)
    made = made.unit(panel.unit).span(panel.span).height(panel.height)
    if panel.runbooks:
        made = made.links([_runbook(alert) for alert in panel.runbooks])
    if panel.most is not None:
        made = made.max(panel.most)
    if panel.limits is not None:
        made = made.thresholds(_thresholds(panel))
    for at, query in enumerate(panel.queries):
        made = made.with_target(_target(query, "ABCDEFGH"[at], instant=panel.kind == "table"))
    return made


def _target(query: Query, ref: str, *, instant: bool) -> prometheus.Dataquery:
    made = (
        prometheus.Dataquery().expr(query.expr).ref_id(ref).legend_format(query.legend or "__auto").datasource(SOURCE)
    )
    return made.instant().format("table") if instant else made.range()  # type: ignore[arg-type]


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().line_width(1.5).fill_opacity(8)
    if panel.unit not in ("none", "currencyUSD"):  # evidence and savings go below zero
        made = made.min(0)
    made = made.show_points(common.VisibilityMode.NEVER).span_nulls(60_000)
    made = made.legend(
        common_of.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    ).tooltip(common_of.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if panel.kind == "stacked":
        made = made.stacking(common_of.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(30)
    if panel.limits is not None:
        made = made.thresholds_style(
            common_of.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    for arm, colour in COLOURS.items():
        made = made.override_by_regexp(
            f"/^{arm}( (p[0-9]+|in|out))?$/", [_property("color", {"mode": "fixed", "fixedColor": colour})]
        )
    dashed = [_property("custom.lineStyle", {"fill": "dash", "dash": [6, 6]}), _property("custom.fillOpacity", 0)]
    made = made.override_by_regexp("/^target| (p50|in)$|, (lower|upper) end$/", dashed)
    band = [_property("custom.fillBelowTo", "lower end"), _property("custom.lineWidth", 0)]
    made = made.override_by_name("upper end", band)
    return made.override_by_name("lower end", [_property("custom.lineWidth", 0), _property("custom.fillOpacity", 0)])


def _property(key: str, value: Any) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=key, value=value)


def _stat(panel: Panel) -> stat.Panel:
    named = any(query.legend for query in panel.queries)
    made = stat.Panel().graph_mode(common.BigValueGraphMode.AREA).color_mode(common.BigValueColorMode.VALUE)
    made = made.reduce_options(common_of.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    return made.text_mode(common.BigValueTextMode.VALUE_AND_NAME if named else common.BigValueTextMode.VALUE)


def _table(panel: Panel) -> table.Panel:
    organize = dashboard.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True, "__name__": True, "instance": True, "job": True}}
    )
    return table.Panel().with_transformation(organize)


def _thresholds(panel: Panel) -> of.ThresholdsConfig:
    first, second = panel.limits or (0.0, 0.0)
    colours = (RED, YELLOW, GREEN) if panel.falling else (GREEN, YELLOW, RED)
    bounds: tuple[float | None, ...] = (None, first, second)
    steps = [dashboard.Threshold(value=at, color=colour) for at, colour in zip(bounds, colours, strict=True)]
    return of.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _runbook(alert: str) -> of.DashboardLink:
    return (
        of.DashboardLink(f"runbook: {alert.removeprefix('Graduand')}").url(f"{RUNBOOKS}/{alert}.md").target_blank(True)
    )
