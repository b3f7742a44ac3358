"""The report's picture: one panel a scenario, one point a row, Graduand set off by its colour."""

from pathlib import Path
from typing import Any

from benchmarks.peers import DIRECT, GRADUAND, MONITORED, SHADOWING
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS, Scenario

COLUMNS = 3
OURS, THEIRS, REFERENCE, INK, GRID = "#0b6e4f", "#7b8794", "#c5ccd3", "#1f2933", "#e8ecf0"


def write(results: Results, path: Path) -> None:
    """Write a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = [scenario for scenario in SCENARIOS if scenario.key in results.cells]
    lines = -(-len(measured) // COLUMNS)
    figure, panels = pyplot.subplots(lines, COLUMNS, figsize=(5.4 * COLUMNS, 3.6 * lines), squeeze=False)
    for panel in panels.flat[len(measured) :]:
        panel.set_visible(False)
    for panel, scenario in zip(panels.flat, measured, strict=False):
        _panel(panel, results, scenario)
    figure.tight_layout(w_pad=3, h_pad=2)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _panel(panel: Any, results: Results, scenario: Scenario) -> None:
    """Points, not bars: on a logarithmic scale, which three orders of magnitude need, a length says nothing."""
    rows = list(reversed(scenario.rows))
    values = {row: results.median(scenario.key, row, scenario.headline) for row in rows}
    known = [value for value in values.values() if value] or [1.0]
    panel.set_xscale("log")
    panel.set_xlim(min(known) / 2, max(known) * 6)
    panel.set_ylim(-0.6, len(rows) - 0.4)
    panel.set_yticks(range(len(rows)), rows, fontsize=9)
    for height, row in enumerate(rows):
        value = values[row]
        colour = OURS if row in (GRADUAND, MONITORED, SHADOWING) else REFERENCE if row == DIRECT else THEIRS
        if value:
            panel.plot(value, height, "o", color=colour, markersize=9)
        told = "not measured" if not value else f"   {value:,.0f}" if value >= 100 else f"   {value:.3g}"
        panel.text(value or min(known), height, told, va="center", ha="left", fontsize=9, color=INK, clip_on=False)
    better = "more" if scenario.more_is_better else "less"
    panel.set_title(scenario.title, fontsize=10, loc="left")
    panel.set_xlabel(f"{scenario.unit} ({better} is better)", fontsize=9)
    panel.grid(axis="x", color=GRID)
    panel.set_axisbelow(True)
    panel.tick_params(axis="x", labelsize=9)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
