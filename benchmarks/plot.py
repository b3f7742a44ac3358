"""The report's picture: one panel a scenario, one bar a row, Graduand set off by its colour."""

from pathlib import Path
from typing import Any

from benchmarks.peers import DIRECT, GRADUAND, SHADOWING
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS, Scenario

OURS, THEIRS, REFERENCE = "#0b6e4f", "#9aa5b1", "#d9dee3"


def write(results: Results, path: Path) -> None:
    """Write a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = [scenario for scenario in SCENARIOS if scenario.key in results.cells]
    figure, panels = pyplot.subplots(1, len(measured), figsize=(5.2 * len(measured), 4.2), squeeze=False)
    for panel, scenario in zip(panels[0], measured, strict=True):
        _panel(panel, results, scenario)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _panel(panel: Any, results: Results, scenario: Scenario) -> None:
    rows = [row for row in reversed(scenario.rows) if results.median(scenario.key, row, scenario.headline)]
    colours = [OURS if row in (GRADUAND, SHADOWING) else REFERENCE if row == DIRECT else THEIRS for row in rows]
    values = [results.median(scenario.key, row, scenario.headline) or 0.0 for row in rows]
    bars = panel.barh(rows, values, color=colours)
    panel.bar_label(bars, [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values], padding=3)
    panel.set_xscale("log")  # the slowest and the fastest are three orders of magnitude apart
    panel.set_xlim(right=max(values, default=1.0) * 6)
    panel.set_title(scenario.title, fontsize=10)
    panel.set_xlabel(
        f"{scenario.unit} (log scale; {'more' if scenario.more_is_better else 'less'} is better)", fontsize=9
    )
    panel.tick_params(labelsize=9)
    panel.spines[["top", "right"]].set_visible(False)
