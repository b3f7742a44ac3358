"""What `benchmarks.placement` found, as a table and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OURS, THEIRS = "#0b6e4f", "#7b8794"
TITLES = {"hits": "answered at once by the adapter, %", "loads": "adapters loaded", "spread": "busiest replica / mean"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario by one policy: how many requests, which share found their adapter, how many loads that took, and how
    many times its fair share the busiest replica answered (median of the minutes)."""

    scenario: str
    policy: str
    requests: int
    hits: float
    loads: float
    spread: float

    @classmethod
    def mean(cls, runs: Sequence["Outcome"]) -> "Outcome":
        """Of several seeds."""
        count = len(runs)
        return cls(
            runs[0].scenario, runs[0].policy, sum(one.requests for one in runs), sum(one.hits for one in runs) / count,
            sum(one.loads for one in runs) / count, sum(one.spread for one in runs) / count,
        )  # fmt: skip


def markdown(outcomes: Sequence[Outcome], seeds: int) -> str:
    """The table."""
    lines = [
        "# Placement of adapters, simulated", "",
        f"`python -m benchmarks.placement`: a virtual clock, mean of {seeds} seeds, 30 minutes each at 60 requests a second. "
        "Adapters are asked by Zipf's law (s = 1); a tenth of the ranks is dealt anew three times; 6 replicas join after "
        "10 minutes and leave after 20; every 5 minutes one is killed and is back, empty, a minute later. A load takes 2 s.",
        "",
        "*random*, *round robin* and *hash* (rendezvous hashing of the adapter's name) are balancers in front of engines "
        "that load what they are asked for and put out what was not used for longest: a request that does not find its "
        "adapter waits for the load. With ours it is answered by the teacher at once, and the adapter is loaded.", "",
    ]  # fmt: skip
    for scenario in dict.fromkeys(one.scenario for one in outcomes):
        lines += [f"## {scenario[0].upper()}{scenario[1:]}", "",
                  "| policy | adapter there | loads | loads per 1,000 requests | busiest replica / mean |",
                  "|---|---|---|---|---|"]  # fmt: skip
        for one in outcomes:
            if one.scenario == scenario:
                each = one.requests / seeds
                lines.append(
                    f"| {one.policy} | {one.hits:.2%} | {one.loads:,.0f} | {1000 * one.loads / each:.1f} | {one.spread:.2f} |"
                )
        lines.append("")
    return "\n".join([*lines, "![hit rate, loads and spread](fleet.png)", ""])


def plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """Hit rate, loads and spread by scenario and policy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    scenarios = list(dict.fromkeys(one.scenario for one in outcomes))
    figure, panels = pyplot.subplots(len(scenarios), 3, figsize=(12, 2.3 * len(scenarios)), squeeze=False)
    for line, scenario in zip(panels, scenarios, strict=True):
        rows = [one for one in outcomes if one.scenario == scenario][::-1]
        for panel, (key, title) in zip(line, TITLES.items(), strict=True):
            values = [getattr(one, key) * (100 if key == "hits" else 1) for one in rows]
            colours = [OURS if one.policy == "ours" else THEIRS for one in rows]
            panel.barh([one.policy for one in rows], values, color=colours)
            for at, value in enumerate(values):
                panel.text(value, at, f" {value:,.0f}" if key == "loads" else f" {value:.2f}", va="center", fontsize=8)
            panel.set_xlim(0, max(values) * 1.2)
            panel.set_title(f"{scenario.partition(':')[0]}: {title}", fontsize=9)
            panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
