"""A cost-quality curve from any gateway's log: what share the student could answer, and how much of that would disagree.

Scores come from a fit to the pairs of one half of the users, the curve from those of the other, so that it flatters
nobody. Quality is agreement with the teacher, whose own is 1; what the log has no gold labels for cannot be told from it.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graduand.gateway.control.study import replay
from graduand.gateway.errors import ConfigError, GraduandError
from graduand.gateway.logs.reading import Source
from graduand.rollout.answers.tasks import Task
from graduand.rollout.hybrid.calibration import fit_logistic
from graduand.rollout.hybrid.curve import Curve, Point, curve
from graduand.rollout.hybrid.pairs import half

Json = dict[str, Any]
FEWEST = 20
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
OURS, CHANCE, INK, GRID = "#0b6e4f", "#7b8794", "#1f2933", "#e8ecf0"


class CannotDraw(GraduandError, RuntimeError):
    """There is no library to draw with; the numbers are there all the same."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One curve of a picture."""

    title: str
    curve: Curve
    pairs: int


def of_log(source: Source, route: str, task: Task) -> tuple[Curve, Json]:
    """The curve of a route's logged pairs and its numbers; raise ConfigError if there is too little to go by."""
    logged = replay.pairs(source, route, task)
    every = zip(logged.units, logged.vectors, logged.agreed, strict=True)
    known = [(half(unit), one, agreed) for unit, one, agreed in every if one is not None]
    if len(known) < FEWEST:
        raise ConfigError(
            f"of {len(logged.agreed)} pairs of route {route!r} in {source.url} only {len(known)} have log probabilities, and a "
            f"curve needs {FEWEST}; they are asked for while a rollout with a hybrid step runs"
        )
    fitting, judging = ([(one, agreed) for side, one, agreed in known if side == which] for which in ("fit", "prove"))
    if len(fitting) < 2 or not judging:
        raise ConfigError(
            f"the pairs of route {route!r} come from too few users to fit on some and judge by the others"
        )
    fit = fit_logistic([vector for vector, _ in fitting], [agreed for _, agreed in fitting])
    agreed = np.array([same for _, same in judging])
    found = curve(fit([vector for vector, _ in judging]), ~agreed, agreed, np.ones(len(agreed)))
    left_out = len(logged.agreed) - len(known)
    counts = {"pairs": len(judging), "fitted_on": len(fitting), "without_log_probabilities": left_out}
    return found, {"route": route, **counts, **numbers(found)}


def numbers(found: Curve) -> Json:
    """A curve as plain data: its summary, round shares of it, and every point."""
    return {
        "agreement": found.weak,
        "apgr": found.apgr, "teacher_share_for_pgr_50": found.cpt(0.5), "teacher_share_for_pgr_80": found.cpt(0.8),
        "at": [_json(found.at_share(share)) for share in SHARES], "points": [_json(point) for point in found.points],
    }  # fmt: skip


def _json(point: Point) -> Json:
    # The first point lets nothing through; JSON has no number for its cut.
    rounded = {key: None if value is None else round(value, 6) for key, value in asdict(point).items()}
    return rounded if math.isfinite(point.cut) else rounded | {"cut": None}


def write(folder: Path, data: Json) -> Path:
    """Write `curve.json`; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "curve.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


def draw(curves: list[Drawn], path: Path) -> Path:
    """Write a PNG: above, disagreement among what the student answers; below, the gap to the teacher that is recovered."""
    try:
        import matplotlib
    except ImportError as error:
        raise CannotDraw("no picture: matplotlib is not installed; pip install 'graduand[bench]' brings it") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        2, len(curves), figsize=(max(5.0 * len(curves), 6.0), 7.0), squeeze=False, sharex=True, sharey="row"
    )
    for (above, below), one in zip(panels.T, curves, strict=True):
        _disagreement(above, one)
        _recovered(below, one)
    highest = max(point.disagreement for one in curves for point in one.curve.points)
    panels[0][0].set_ylim(0, max(115 * highest, 1.0))
    panels[0][0].set_ylabel("disagreement among them, percent")
    panels[1][0].set_ylabel("gap recovered (PGR), percent")
    figure.tight_layout(h_pad=2.0, w_pad=2.0)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _disagreement(panel: Any, one: Drawn) -> None:
    points = one.curve.points[1:]
    shares, wrong = [100 * point.share for point in points], [100 * point.disagreement for point in points]
    every = 100 * (1 - one.curve.weak)
    panel.axhline(every, color=CHANCE, linestyle="--", linewidth=1)
    panel.text(1, every, f" in any order: {every:.1f}%", color=CHANCE, va="bottom", fontsize=9)
    panel.plot(shares, wrong, color=OURS, linewidth=2)
    for share in (0.4, 0.8):
        at = one.curve.at_share(share)
        panel.plot(100 * at.share, 100 * at.disagreement, "o", color=OURS)
        panel.annotate(
            f"{100 * at.disagreement:.1f}%", (100 * at.share, 100 * at.disagreement), (-6, 5), color=INK, fontsize=9,
            textcoords="offset points", ha="right",
        )  # fmt: skip
    panel.set_title(f"{one.title} ({one.pairs} pairs)", fontsize=11, loc="left", color=INK)
    _plain(panel)


def _recovered(panel: Any, one: Drawn) -> None:
    points = [point for point in one.curve.points if point.pgr is not None]
    panel.plot([0, 100], [100, 0], color=CHANCE, linestyle="--", linewidth=1)
    panel.plot([100 * point.share for point in points], [100 * (point.pgr or 0) for point in points], color=OURS, lw=2)
    told = "none: it always agrees" if one.curve.apgr is None else f"{one.curve.apgr:.3f}"
    panel.text(3, 6, f"APGR {told} (in any order: 0.5)", fontsize=9, color=INK)
    panel.set_xlabel("answered by the student, percent of requests")
    _plain(panel)


def _plain(panel: Any) -> None:
    panel.set_xlim(0, 100)
    panel.grid(color=GRID)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
