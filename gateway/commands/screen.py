"""Rollouts on a terminal: bars for evidence, the band of agreement, reasons. Nothing is asked for here."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from graduand.rollout import wording

Json = dict[str, Any]
WIDTH = 24
COLOURS = {
    "promoted": "green", "hold": "yellow", "rolling_back": "red", "rolled_back": "red", "aborted": "red",
    "superseded": "dim",
}  # fmt: skip

console = Console(highlight=False)


def listing(data: Json) -> None:
    """All rollouts."""
    table = Table("rollout", "student", "phase", "step", "weight", "since")
    for one in data["rollouts"]:
        table.add_row(
            one["id"], one["student"], _phase(one), one["step"] or "-", f"{one['weight']:g}%", _ago(one["updated_at"])
        )
    console.print(table if data["rollouts"] else "no rollout yet; start one with: graduand rollout start FILE")


def status(data: Json) -> None:
    """One rollout."""
    console.print(picture(data))


@contextmanager
def live() -> Iterator[Callable[[Json], None]]:
    """A picture that is drawn anew with each call."""
    with Live(console=console, auto_refresh=False) as drawing:
        yield lambda data: drawing.update(picture(data), refresh=True)


def busy(text: str) -> AbstractContextManager[object]:
    """Says that something takes its time, where a person watches; never on standard output."""
    return Console(stderr=True).status(text)


def explain(data: Json) -> None:
    """Reasons."""
    console.print(Text(f"{data['id']} is in {data['phase']}" + f", step {data['step']}" * bool(data["step"])))
    for reason in data["reasons"]:
        console.print(Text(f"  - {reason}"), soft_wrap=True)
    if data["possible"]:
        console.print(Text("possible now: " + ", ".join(one["verb"] for one in data["possible"])))


def history(data: Json) -> None:
    """What happened, in order."""
    table = Table("when", "event", "phase", "who", "reason", show_lines=False)
    for event in data["events"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["at"]))
        table.add_row(when, event["event"], event["phase"], Text(event["who"]), Text(event["reason"] or "-"))
    console.print(table)


def plan(data: Json) -> None:
    """What a rollout would take."""
    rate = data["requests_per_s"]
    traffic = "unknown: the log has no traffic on this route" if rate is None else f"{rate:.3g} requests/s"
    console.print(Text(f"{data['route']} -> {data['student']}   traffic: {traffic}"))
    table = Table("step", "observations", "takes", "waits for")
    for step in data["steps"]:
        took = "?" if step["seconds"] is None else wording.span(step["seconds"])
        table.add_row(step["name"], str(step["observations"]), took, step["waits_for"])
    console.print(table)
    for gate in data["gates"]:
        if gate["assumed"] is not None:
            need = "more than can be waited for" if gate["pairs"] is None else f"{gate['pairs']} pairs (9 in 10)"
            console.print(Text(f"{gate['name']} above {gate['p0']:g}: a student of {gate['assumed']:.3g} needs {need}"))
    if data["seconds"] is not None:
        console.print(Text(f"in all about {wording.span(data['seconds'])}"))
    console.print(Text(f"likely to hold it up: {data['blocker']}"))
    for warning in data["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def simulation(data: Json) -> None:
    """What the policy did to each student."""
    table = Table(
        "student", "agreement", "promoted", "rolled back", "held", "median time", "median pairs", "wrong served"
    )
    for name, one in data["students"].items():
        table.add_row(
            name, f"{one['agreement']:.3g}", f"{one['promoted']:.0%}", f"{one['rolled_back']:.0%}",
            f"{one['held']:.0%}", wording.span(one["median_hours"] * 3600), f"{one['median_pairs']:.0f}",
            f"{one['median_wrong']:,.0f}",
        )  # fmt: skip
    console.print(table)
    students = data["students"]
    for name, one in students.items():
        if one["learnt"] is not None:
            console.print(Text(f"hybrid, {name}: {_hybrid(one)}"), soft_wrap=True)
    false, harmful = students["at the bound"]["promoted"], students["harmful"]["rolled_back"]
    back, missed = students["well above"]["rolled_back"], f"missed harm: {1 - harmful:.0%}"
    console.print(Text(
        f"false promotion (a student exactly at the bound): {false:.0%}; false rollback (well above it): {back:.0%}; {missed}; "
        f"{data['runs']} runs"
    ), soft_wrap=True)  # fmt: skip
    if data.get("traffic"):
        console.print(Text(_habits(data["traffic"])), soft_wrap=True)


def reviews(data: Json) -> None:
    """The rollouts that ask people."""
    table = Table("rollout", "step", "wait", "counted", "right", "drawn")
    for one in data["rollouts"]:
        counts = (str(one[name]) for name in ("waiting", "counted", "right", "drawn"))
        table.add_row(one["rollout"], one["step"] or "-", *counts)
    console.print(table if data["rollouts"] else "no rollout asks for labels")


def question(data: Json) -> None:
    """One request before a person. Nothing here says whose an answer is."""
    asked = data["question"]
    if asked is None:
        console.print("no request waits for a label")
        return
    console.print(Panel(Text(asked["conversation"]), title="request", title_align="left"))
    for answer in asked["answers"]:
        console.print(Panel(Text(answer["text"]), title=f"answer {answer['name']}", title_align="left"))
    words = "right, wrong" if len(asked["answers"]) == 1 else "A, B, both, neither"
    console.print(Text(f"which are right? graduand review label {asked['id']} {{{words}, skip}}"), soft_wrap=True)
    console.print(Text(f"{data['waiting']} wait in {data['rollout']}", style="dim"))


def curve(data: Json) -> None:
    """What share the student could answer, and how much of that would disagree."""
    console.print(Text(
        f"{data['route']}: {data['pairs']} pairs judged by a fit to {data['fitted_on']} others; "
        f"the student agrees in {data['agreement']:.1%}" + (
            f"; {data['without_log_probabilities']} pairs have no log probabilities" * bool(data["without_log_probabilities"])
        )
    ), soft_wrap=True)  # fmt: skip
    table = Table("answered by the student", "disagreement there", "gap recovered (PGR)")
    for at in data["at"]:
        recovered = "-" if at["pgr"] is None else f"{at['pgr']:.0%}"
        table.add_row(f"{at['share']:.0%}", f"{at['disagreement']:.1%}", recovered)
    console.print(table)
    if data["apgr"] is not None:
        half, most = data["teacher_share_for_pgr_50"], data["teacher_share_for_pgr_80"]
        console.print(
            Text(f"APGR {data['apgr']:.3f}; half of the gap takes {half:.0%} of calls to the teacher, 80% {most:.0%}")
        )
    for path in data["written"]:
        console.print(Text(f"written: {path}"), soft_wrap=True)
    if data["not_written"]:
        console.print(Text(data["not_written"], style="yellow"), soft_wrap=True)


def policy_value(data: Json) -> None:
    """What a policy would have earned, by each method."""
    better = "higher is better" if data["higher_is_better"] else "lower is better"
    console.print(Text(
        f"{data['route']}: {data['weight']:g}% of users with the student. Reward: {data['reward']}, {data['means']} ({better})"
    ), soft_wrap=True)  # fmt: skip
    table = Table("method", "value", "95% interval", "as it was")
    for one in data["estimates"]:
        interval = f"{one['low']:.6g} to {one['high']:.6g}"
        table.add_row(one["method"], f"{one['value']:.6g}", interval, f"{one['logged_value']:.6g}")
    console.print(table)
    first = data["estimates"][0]
    left_out = f"; {data['without_reward']} requests have no such reward" * bool(data["without_reward"])
    console.print(Text(
        f"{first['requests']} requests of {first['units']} users (as {first['effective_units']:.0f} that weigh alike){left_out}"
    ), soft_wrap=True)  # fmt: skip


def _habits(known: Json) -> str:
    """What the log's traffic is like."""
    parts = [f"{known['requests']:,} requests of {known['users']:,} users in {wording.span(known['seconds'])}"]
    if known["unknown"]:
        parts.append(f"{known['unknown']:.0%} name no user")
    parts.append(
        f"the busiest user sends {known['top']:.0%}; a user's day has {sum(known['lengths']) / len(known['lengths']):.3g}"
    )
    if known["alike"] is not None:
        parts.append(f"correlation within a user's day {known['alike']:.2f}")
    if known["swing"] is not None:
        parts.append(f"rhythm of ±{100 * known['swing']:.2g} points a day")
    if known["apart"] is not None:
        parts.append(f"days apart by {100 * known['apart']:.2g} points (SD)")
    return "played on hours of the log: " + "; ".join(parts)


def _hybrid(one: Json) -> str:
    proved = f"a confidence threshold was proved in {one['learnt']:.0%} of runs"
    if one["median_deferred"] is None:
        return f"{proved}; the step was never reached"
    let = one["median_released_disagreement"]
    disagreed = "" if let is None else f", {let:.1%} of the student's answers there disagreed"
    return f"{proved}; {one['median_deferred']:.0%} of the step's requests went on to the teacher{disagreed} (medians)"


def picture(data: Json) -> RenderableType:
    """The whole state of one rollout."""
    parts: list[RenderableType] = [_steps(data), _facts(data)]
    if data["gates"]:
        parts.append(_gates(data))
    known = ("proof: ", "not covered: ")  # these stand above
    shown = [reason for reason in data["reasons"] if not reason.startswith(known)]
    parts += [Text(f"- {reason}", style="dim") for reason in shown[:6]]
    title = Text.assemble((data["id"], "bold"), "  ", _phase(data), f"  version {data['version']}")
    return Panel(Group(*parts), title=title, title_align="left")


def _phase(data: Json) -> Text:
    text = data["phase"] + f" ({data['hold']})" * bool(data.get("hold"))
    return Text(text, style=COLOURS.get(data["phase"], "cyan"))


def _steps(data: Json) -> Text:
    marks = {"done": ("✓ ", "green"), "now": ("▶ ", "bold cyan"), "stopped": ("✗ ", "red"), "ahead": ("· ", "dim")}
    line = Text()
    for step in data["steps"]:
        mark, style = marks[step["place"]]
        line.append(f"{mark}{step['name']}{' (approval)' if step['approval'] else ''}   ", style=style)
    return line


def _facts(data: Json) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("share", f"{data['weight']:g}% of units, mode {data['mode']}")
    found = data["agreement"]
    if found is not None and found["n"]:
        table.add_row("agreement", _band(found))
    step = data["in_step"]
    if step is not None:
        n, dwelt = (
            f"{step['n']} of {step['n_min']}",
            f"{wording.span(step['dwelt_s'])} of {wording.span(step['dwell_s'])}",
        )
        table.add_row("this step", f"{n} observations, {dwelt}")
    if data["claim"]:
        table.add_row("proof", Text(data["claim"]["says"]))
        table.add_row("not covered", Text("; ".join(data["claim"]["not_covered"])))
    if data["incumbent"]:
        table.add_row("incumbent", Text(f"{data['incumbent']} stays in service until this is promoted"))
    judge = data["judge"]
    if judge is not None:
        table.add_row(
            "judge", Text(f"{judge['model']}: {judge['waiting']} pairs wait, {judge['unscored']} unscored, "
                          f"{judge['failed']} failed questions, {judge['not_judged']} not judged")
        )  # fmt: skip
    labels = data["labels"]
    if labels is not None:
        table.add_row(
            "labels", Text(f"{labels['right']} of {labels['counted']} right, {labels['waiting']} wait for a person")
        )
    left = data["seconds_left"]
    if left is not None:
        table.add_row("time left", f"about {wording.span(left)} to the next step")
    elif step is not None and data["phase"] in ("shadow", "canary", "hybrid", "full"):
        table.add_row("time left", "cannot be told yet")
    if not data["controller"]:
        table.add_row("controller", Text("nobody leads: nothing is decided", style="red"))
    return table


def _band(found: Json) -> Text:
    """The share and its band on a scale that begins where it becomes interesting."""
    floor = max(0.0, math.floor((min(found["low"], found["p0"]) - 0.02) * 20) / 20)
    cells = []
    for at in range(WIDTH):
        left, right = floor + (1 - floor) * at / WIDTH, floor + (1 - floor) * (at + 1) / WIDTH
        inside = found["low"] < right and found["high"] > left
        cells.append("●" if left <= found["share"] < right or (at == WIDTH - 1 and found["share"] >= 1) else
                     "━" if inside else "│" if left <= found["p0"] < right else "·")  # fmt: skip
    band = f"[{found['low']:.3f}, {found['high']:.3f}]"
    return Text(
        f"{found['share']:.1%} {band} {floor:.2f} {''.join(cells)} 1   asked {found['p0']:g}, {found['n']} sessions, "
        f"{wording.effective(found['requests'], found['effective'])}"
    )


def _gates(data: Json) -> Table:
    table = Table.grid(padding=(0, 2))
    sides = (("gate", data["gates"], "green", "cyan"), ("harm", data["harm"], "red", "yellow"))
    for side, gates, reached, not_yet in sides:
        for gate in gates:
            table.add_row(side, Text(gate["name"]), _bar(gate, reached, not_yet), Text(_of(gate)), Text(gate["note"]))
    watch = data["watch"]
    if watch is not None:
        table.add_row("watch", "drop", _bar(watch, "red", "yellow"), _of(watch), Text(watch["note"]))
    return table


def _bar(gate: Json, reached: str, not_yet: str) -> Text:
    part = min(1.0, max(0.0, gate["log_e"] / gate["log_threshold"]))
    full = round(part * WIDTH)
    bar = Text("█" * full, style=reached if gate["reached"] else not_yet)
    bar.append("░" * (WIDTH - full), style="dim")
    return bar


def _of(gate: Json) -> str:
    return f"{wording.evidence(gate['log_e'])} of {wording.evidence(gate['log_threshold'])}"


def _ago(at: float) -> str:
    return f"{wording.span(max(0.0, time.time() - at))} ago"
