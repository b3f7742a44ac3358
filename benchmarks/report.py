"""The report: the run's figures as Markdown and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.columns import NOTHING, columns
from benchmarks.peers import DIRECT, PEERS
from benchmarks.results import Results, Target, targets
from benchmarks.scenarios import LEFT_OUT, SCENARIOS, Scenario


def write(results: Results, folder: Path) -> None:
    """Write `bench.md` and `bench.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    judged = targets(results)
    whole = {**asdict(results), "targets": [asdict(target) for target in judged]}
    (folder / "bench.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "bench.md").write_text(markdown(results, judged))


def markdown(results: Results, judged: Sequence[Target]) -> str:
    """The whole report."""
    parts = ["# Benchmark", _preamble(results), "## Targets", target_table(judged), "![Results](bench.png)"]
    for scenario in SCENARIOS:
        if scenario.key in results.cells:
            parts += [f"## {scenario.title}", scenario_table(results, scenario)]
    parts += ["## Who was measured", _peer_table(results)]
    if results.proof:
        parts += ["## Everything was on", "\n".join(f"- {what}: {told}" for what, told in results.proof.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _preamble(results: Results) -> str:
    told = "; ".join(f"{name} {value}" for name, value in results.settings.items())
    return (
        f"Made by `make bench`. {told}.\n\n"
        "Every gateway is kept to one core, the load and the upstream together to another. All gateways are up at the "
        "same time and measured in turn, round after round, each once the core is idle; figures are medians over the "
        "rounds, with the smallest and the largest in brackets; ratios are medians of the rounds' own ratios. Compare "
        "ratios, not absolute figures: another machine has others."
    )


def target_table(judged: Sequence[Target]) -> str:
    words = {True: "yes", False: "**no**", None: "not known"}
    return _table(("Target", "Measured", "Met"), [(one.wanted, one.measured, words[one.met]) for one in judged])


def scenario_table(results: Results, scenario: Scenario) -> str:
    """One line a row, the reason in place of figures where there are none."""
    shown = columns(scenario)
    lines = []
    for row in scenario.rows:
        reason = results.unavailable.get(row) or results.cell(scenario.key, row).failure
        if reason and not any(results.cell(scenario.key, row).rounds):
            lines.append((row, f"not measured: {_plain(reason)}", *[NOTHING] * (len(shown) - 1)))
        else:
            lines.append((row, *(make(results, scenario, row) for _, make in shown)))
    notes = _notes(results, scenario)
    return _table(("", *(title for title, _ in shown)), lines) + (f"\n\n{notes}" if notes else "")


def _notes(results: Results, scenario: Scenario) -> str:
    left_out = LEFT_OUT if DIRECT in scenario.rows else {}  # two that are compared with each other leave nobody out
    notes = [f"{row}: not measured here; {why}." for row, why in left_out.items() if row not in scenario.rows]
    for row in scenario.rows:
        cell = results.cell(scenario.key, row)
        if cell.failure and any(cell.rounds):
            failed = f"{cell.rounds.count(None)} of {len(cell.rounds)} rounds"
            notes.append(f"{row} failed in {failed}: {_plain(cell.failure)}")
    return "  \n".join(notes)


def _peer_table(results: Results) -> str:
    lines = []
    for peer in PEERS:
        memory = results.peak_rss_mb.get(peer.name)
        state = f"{memory:,.0f}" if memory else _plain(results.unavailable.get(peer.name, "not asked for"))
        lines.append((peer.name, results.versions.get(peer.name, peer.version), peer.does, state))
    return _table(("", "Version", "What it does for a request", "Peak memory, MB"), lines)


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))
