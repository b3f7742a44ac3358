"""The soak's figures, targets and picture.

Growth is judged between two medians, since a single look at the memory catches whatever is under way just then.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.plot import GRID, INK, OURS, THEIRS
from benchmarks.resident import Sample

MAX_GROWTH_MB = 5.0
MAX_TOTAL_MB = 150.0
# Growth is the difference of the medians of these parts of the run: what follows the half, and what comes last.
EDGE = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, and what was found."""

    wanted: str
    found: str
    met: bool


@dataclass(slots=True)
class Soak:
    """What one run saw."""

    requests: int
    clients: int
    users: int
    machine: dict[str, str]
    descriptors_before: int
    seconds: float = 0.0
    connections: int = 0
    series_at_half: int = 0
    pruned: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    rested: Sample | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def targets(self) -> list[Check]:
        """The targets, each with what was measured."""
        total, peak = growth(self, "total_mb"), max(one.total_mb for one in self.samples)
        return [
            Check(
                f"resident memory grows by less than {MAX_GROWTH_MB:g} MB over the second half",
                f"{total:+.2f} MB (anonymous {growth(self, 'anonymous_mb'):+.2f} MB)",
                total < MAX_GROWTH_MB,
            ),
            Check(f"resident memory stays under {MAX_TOTAL_MB:g} MB", f"at most {peak:.1f} MB", peak < MAX_TOTAL_MB),
        ]

    @property
    def met(self) -> bool:
        """Whether all targets and checks hold."""
        return all(one.met for one in [*self.targets, *self.checks])


def part(soak: Soak, start: float, end: float) -> list[Sample]:
    """The samples between two shares of the requests; the nearest one if none was taken there."""
    chosen = [one for one in soak.samples if start * soak.requests <= one.requests <= end * soak.requests]
    return chosen or [min(soak.samples, key=lambda one: abs(one.requests - (start + end) / 2 * soak.requests))]


def growth(soak: Soak, what: str) -> float:
    """By how much memory grew over the second half, in MB."""
    first, last = part(soak, 0.5, 0.5 + EDGE), part(soak, 1 - EDGE, 1.0)
    return statistics.median(getattr(one, what) for one in last) - statistics.median(
        getattr(one, what) for one in first
    )


def write(soak: Soak, folder: Path) -> None:
    """Write soak.json, soak.md and soak.png."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**asdict(soak), "targets": [asdict(one) for one in soak.targets], "met": soak.met}
    for one in [*whole["samples"], whole["rested"] or {}]:
        one.update({name: round(value, 2) for name, value in one.items()})
    # A line a sample: easy to compare, and not half a megabyte of white space.
    samples = ",\n  ".join(json.dumps(one) for one in whole.pop("samples"))
    text = json.dumps(whole, indent=1).removesuffix("\n}")
    (folder / "soak.json").write_text(f'{text},\n "samples": [\n  {samples}\n ]\n}}\n')
    (folder / "soak.md").write_text(markdown(soak))
    plot(soak, folder / "soak.png")


def markdown(soak: Soak) -> str:
    """The report."""
    told = "; ".join(f"{name} {value}" for name, value in soak.machine.items())
    sent = ", ".join(f"{count:,} {kind}" for kind, count in soak.sent.items())
    at = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]
    rows = [
        (f"{one.requests:,}", f"{one.total_mb:.1f}", f"{one.anonymous_mb:.1f}", str(one.descriptors))
        for one in (
            min(soak.samples, key=lambda s, share=share: abs(s.requests - share * soak.requests)) for share in at
        )
    ]
    if soak.rested is not None:
        rest = soak.rested
        rows += [("after the rest", f"{rest.total_mb:.1f}", f"{rest.anonymous_mb:.1f}", str(rest.descriptors))]
    parts = [
        "# Soak: a worker's memory under a million requests" if soak.requests == 1_000_000 else "# Soak",
        f"Made by `make soak` (`python -m benchmarks.soak --requests {soak.requests}`). {told}.",
        f"{soak.requests:,} requests in {soak.seconds:,.0f} s over {soak.clients} connections at a time and "
        f"{soak.connections:,} in all: {sent}. {min(soak.users, soak.requests):,} distinct users; no unknown name was "
        "asked for twice. One worker with everything on: client key and limits, request log, metrics, a sticky canary at "
        f"10% by user, and 10% shadow copies.",
        "## Targets",
        _table(("Target", "Measured", "Met"), [(one.wanted, one.found, _yes(one)) for one in soak.targets]),
        f"Growth is the median over the last {EDGE:.0%} of the requests less the median over the {EDGE:.0%} after the half.",
        "![Memory](soak.png)",
        _table(("Requests", "Resident, MB", "of it anonymous, MB", "File descriptors"), rows),
        "Anonymous memory is the worker's own heap. The rest is mapped: the interpreter and its libraries, and the file "
        "that the metrics are counted in.",
        "## Given back",
        _table(("What must hold", "Found", "Holds"), [(one.wanted, one.found, _yes(one)) for one in soak.checks]),
    ]
    return "\n\n".join(parts) + "\n"


def summary(soak: Soak) -> str:
    """The verdicts, for the terminal."""
    return "\n".join(
        f"{'yes' if one.met else 'NO '}  {one.wanted}: {one.found}" for one in [*soak.targets, *soak.checks]
    )


def _yes(one: Check) -> str:
    return "yes" if one.met else "**no**"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def plot(soak: Soak, path: Path) -> None:
    """Memory against requests, the second half shaded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(9, 4.2))
    done = [one.requests for one in soak.samples]
    panel.axvspan(soak.requests / 2, soak.requests, color=GRID, zorder=0)
    panel.plot(done, [one.total_mb for one in soak.samples], color=OURS, linewidth=1.8)
    panel.plot(done, [one.anonymous_mb for one in soak.samples], color=THEIRS, linewidth=1.8)
    panel.axhline(MAX_TOTAL_MB, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    last = soak.samples[-1]
    for height, text, colour in (
        (last.total_mb, "resident", OURS),
        (last.anonymous_mb, "of it anonymous", THEIRS),
        (MAX_TOTAL_MB, f"target: under {MAX_TOTAL_MB:g} MB", INK),
    ):
        panel.annotate(text, (0, height), (6, 5), textcoords="offset points", color=colour, fontsize=9)
    found = growth(soak, "total_mb")
    panel.annotate(
        f"second half: {found:+.2f} MB", (0.75 * soak.requests, 0), (0, 8), textcoords="offset points", ha="center",
        color=INK, fontsize=9,
    )  # fmt: skip
    panel.set_xlim(0, soak.requests)
    panel.set_ylim(0, max(MAX_TOTAL_MB, *(one.total_mb for one in soak.samples)) * 1.1)
    panel.set_xlabel("requests", fontsize=9)
    panel.set_ylabel("worker's memory, MB", fontsize=9)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.grid(axis="y", color=GRID)
    panel.tick_params(labelsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
