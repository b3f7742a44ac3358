"""Pictures for reports, drawn where matplotlib is installed; a report reads well without them."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """A share with its interval, one line of a plot; points of one `series` have one colour."""

    name: str
    value: float
    low: float
    high: float
    series: str = ""


def intervals(path: Path, title: str, points: Sequence[Point]) -> str | None:
    """Draw points with their intervals, one under the other; the file's name, or None where nothing can be drawn."""
    axes = _axes(title, height=1.2 + 0.3 * len(points))
    if axes is None or not points:
        return None
    series = list(dict.fromkeys(point.series for point in points))
    for name in series:
        places = [place for place, point in enumerate(points) if point.series == name]
        values = [points[place].value for place in places]
        # A rounding error must not make a length negative.
        lengths = [
            [max(0.0, points[place].value - points[place].low) for place in places],
            [max(0.0, points[place].high - points[place].value) for place in places],
        ]
        axes.errorbar(values, places, xerr=lengths, fmt="o", capsize=3, label=name or None)
    axes.set_yticks(range(len(points)), [point.name for point in points])
    axes.invert_yaxis()
    return _save(axes, path, legend=len(series) > 1)


def curve(path: Path, title: str, across: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str | None:
    """Draw lines of (x, y) by name, x on a logarithmic axis; the file's name, or None where nothing can be drawn."""
    axes = _axes(title, height=3.5)
    if axes is None:
        return None
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    places = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    axes.set_xlabel(across)
    return _save(axes, path, legend=True)


def _axes(title: str, height: float) -> Any:
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure  # without pyplot: no global state, no window

    figure = Figure(figsize=(7.5, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.3)
    return axes


def _save(axes: Any, path: Path, *, legend: bool) -> str:
    if legend:
        axes.legend()
    # No version or date in the file: the same figures give the same bytes.
    axes.figure.savefig(path, dpi=110, metadata={"Software": None})
    return path.name
