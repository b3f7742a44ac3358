"""The steps of the demo: log the teacher, train two students on its answers, and roll them out on evidence.

Each step is a `graduand` command that is printed, so it can be repeated by hand. Nothing here stops a server: whoever
called decides how long they stay.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.demo import report, tickets
from examples.demo.places import Places, write_configuration
from examples.demo.rollouts import Json, Rollout, follow, newest, refresh, write_spec
from examples.demo.servers import Servers
from examples.demo.tickets import TASKS, Task, Ticket
from examples.demo.traffic import Customers, Reply, ask_all

SEED = 7
TRAIN_ROWS = 320
# More than the hundred pairs that a rollout's shadow takes.
HELD_OUT = 150
# Tickets asked before a look at whether the rollouts have seen enough.
BATCH = 24
PROMISED_AGREEMENT = 0.9
SAY_EVERY_S = 15.0
BASE = "smollm2-135m"
LIVE_ROWS = 300
CANARY_SHADOW = 5
WITHIN_S = 300.0
# Within this time a decision has reached every worker.
SETTLED_S = 1.0
# Customers stay on for a while after the promotion.
AFTER_S = 4.0

console = Console()


class Failed(RuntimeError):
    """A step of the demo failed."""


def recorded() -> list[Ticket]:
    """All tickets that the teacher knows the answer to."""
    return tickets.corpus(SEED, TRAIN_ROWS + HELD_OUT + LIVE_ROWS)


def graduate(places: Places, servers: Servers) -> bool:
    """From the teacher alone to both students serving; whether both kept the promise. Raises Failed, DidNotStart, Stopped."""
    corpus = recorded()
    training, rest = corpus[:TRAIN_ROWS], corpus[TRAIN_ROWS:]
    held_out, live = rest[:HELD_OUT], rest[HELD_OUT:]

    _title("1. The teacher")
    console.print(
        "[yellow]The teacher here replays recorded answers to synthetic tickets: it stands where you put OpenAI.[/yellow]"
    )
    tickets.write_answers(places.folder / "answers.jsonl", corpus)
    gateway = _start(places, servers)

    _title("2. Log the teacher's traffic through the gateway")
    replies = _ask(places, [(task, ticket) for ticket in training for task in TASKS], "asking the teacher")
    console.print(report.step_table("logged", replies))

    _title("3. Before training: a rollout of the base model, which is no good, stops by itself")
    before = _stopped(places, held_out)

    _title("4. Train two students on the logged answers")
    adapters = _train(places)

    _title("5. Load them into the engine: each is tried there first, against its base and against what was trained")
    for task, folder in adapters.items():
        _command(places, "train", "admit", "--adapter", str(folder), "--engine", f"http://{places.engine}/v1")
        _command(
            places, "adapters", "add", f"{task.name}={folder}", "--upstream", "engine", "--admin", places.admin_url
        )

    _title("6. A rollout each: shadow, canary 1%, 10%, 50%, everything, on evidence alone")
    after = _rolled_out(places, gateway, {task: adapters[task].name for task in TASKS}, before, held_out, live)

    _title("7. The books")
    written, different, counted = report.books(places.logs, places.admin_url)
    console.print(f"requests in the log: {written}, different ids: {different}, requests by the metrics: {counted}")
    if not written == different == counted:
        raise Failed("the log and the metrics disagree")
    kept = all(share >= PROMISED_AGREEMENT for share in after.values())
    console.print(
        "[green]Both students agree with the teacher on at least 90% of the held-out tickets.[/green]"
        if kept
        else "[red]A student agrees with the teacher on less than 90% of the held-out tickets.[/red]"
    )
    return kept


def _start(places: Places, servers: Servers) -> "subprocess.Popen[bytes]":
    answers = str(places.folder / "answers.jsonl")
    teacher = ("recorded-teacher", "--answers", answers, "--listen", places.teacher)
    servers.start("teacher", *teacher, ready=f"http://{places.teacher}/health")
    console.print("loading the base model into the engine (the first time it is converted, which takes a minute)")
    servers.start(
        "engine", "engine", "--model", BASE, "--listen", places.engine, ready=f"http://{places.engine}/health"
    )
    write_configuration(places, BASE, shadow_sample=100)
    gateway = servers.start("gateway", "serve", "--config", str(places.config), ready=f"http://{places.gateway}/readyz")
    console.print(
        f"teacher {places.teacher}, engine {places.engine}, gateway {places.gateway}, admin plane {places.admin}"
    )
    return gateway


def _train(places: Places) -> dict[Task, Path]:
    """Train both students side by side: a core each is quicker than both cores for one after the other."""
    adapters, runs = places.folder / "adapters", {}
    for task in TASKS:
        rows = str(places.folder / f"{task.name}.jsonl")
        _command(places, "train", "data", "logs", "--from", str(places.logs), "--route", task.name, "--out", rows,
                 "--limit", str(TRAIN_ROWS))  # fmt: skip
        runs[task] = ["train", "fit", "--data", rows, "--out", str(adapters), "--name", task.name, "--seed", str(SEED),
                      "--threads", "1"]  # fmt: skip
    running = {task: _start_fit(places, task, run) for task, run in runs.items()}
    try:
        _follow_fits(places, running)
    finally:
        for fit in running.values():
            fit.terminate()  # of one that has ended, nothing
    for task, fit in running.items():
        if fit.returncode != 0:
            raise Failed(f"training {task.name} failed; {places.folder / f'fit-{task.name}.log'} says why")
        console.print(f"{task.name}: {_last_line(places, task)}", highlight=False)
    return {task: next(adapters.glob(f"{task.name}@*")) for task in TASKS}


def _follow_fits(places: Places, running: Mapping[Task, "subprocess.Popen[bytes]"]) -> None:
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        bars = {task: progress.add_task(f"{task.name}: starting") for task in TASKS}
        said_at = time.monotonic()
        while any(fit.poll() is None for fit in running.values()):
            for task, bar in bars.items():
                progress.update(bar, description=f"{task.name}: {_last_line(places, task)}")
            if not console.is_terminal and time.monotonic() > said_at + SAY_EVERY_S:
                said_at = time.monotonic()
                for task in TASKS:
                    console.print(f"{task.name}: {_last_line(places, task)}", highlight=False)
            time.sleep(0.5)


def _start_fit(places: Places, task: Task, run: list[str]) -> "subprocess.Popen[bytes]":
    _print_command(places, run)
    with (places.folder / f"fit-{task.name}.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "graduand", *run], stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip


def _last_line(places: Places, task: Task) -> str:
    lines = (places.folder / f"fit-{task.name}.log").read_text("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")


def _stopped(places: Places, asked: list[Ticket]) -> dict[Task, float]:
    """The base model put forward as the student: how often it agrees with the teacher, and that nobody ever saw it."""
    rollouts = _started(places, dict.fromkeys(TASKS, BASE), "demo: a student that was never trained")
    replies = _shadowed(places, rollouts, asked, lambda rollout: rollout.phase == "rolled_back")
    if any(reply.arm != "teacher" for reply in replies):
        raise Failed("a customer was answered by a student that had proved nothing")
    return _agreement(places, rollouts)


def _shadowed(
    places: Places, rollouts: list[Rollout], asked: list[Ticket], done: Callable[[Rollout], bool]
) -> list[Reply]:
    """Ask, and have the answers copied to the students, until the rollouts are `done`.

    In batches, since how many pairs a rollout takes is its own affair: a copy that was dropped only means some tickets more.
    """
    replies: list[Reply] = []
    for begin in range(0, len(asked), BATCH):
        batch = [(task, ticket) for ticket in asked[begin : begin + BATCH] for task in TASKS]
        replies += _ask(places, batch, "asking the teacher")
        for rollout in rollouts:
            report.shadow_pairs(places.logs, rollout.id)
        time.sleep(SETTLED_S)
        for rollout in rollouts:
            refresh(places.admin_url, rollout)
        if all(done(rollout) for rollout in rollouts):
            break
    _follow(places, rollouts, done)
    return replies


def _rolled_out(
    places: Places, gateway: "subprocess.Popen[bytes]", adapters: dict[Task, str], before: dict[Task, float],
    held_out: list[Ticket], live: list[Ticket],
) -> dict[Task, float]:  # fmt: skip
    """Both students from the shadow to their promotion; how often each agreed with the teacher on held-out tickets."""
    rollouts = _started(places, adapters, "demo: trained students")
    _shadowed(places, rollouts, held_out, lambda rollout: rollout.phase not in ("precheck", "shadow", "hold"))
    after = _agreement(places, rollouts)
    for task in TASKS:
        console.print(
            f"{task.name}: agreement with the teacher on held-out tickets "
            f"[bold]{before[task]:.1%}[/bold] before training, [bold]{after[task]:.1%}[/bold] after"
        )
    # Every teacher answer copied to a student on a CPU would keep its real requests waiting.
    console.print(
        f"from here on {CANARY_SHADOW}% of the teacher's answers are copied (configuration reloaded by SIGHUP)"
    )
    write_configuration(places, BASE, CANARY_SHADOW)
    gateway.send_signal(signal.SIGHUP)
    with Customers(places.base_url, live, TASKS) as customers:
        _follow(places, rollouts, lambda rollout: rollout.phase == "promoted", customers)
        time.sleep(AFTER_S)
    _check_replies(customers.replies)
    promoted_at = {rollout.task: rollout.events[-1]["at"] for rollout in rollouts}
    since = [reply for reply in customers.replies if reply.at > promoted_at[reply.task] + SETTLED_S]
    console.print(report.step_table("since the promotion", since))
    if any(reply.arm != "student" for reply in since):
        raise Failed("a request was answered by the teacher although its student was promoted")
    return after


def _started(places: Places, adapters: Mapping[Task, str], why: str) -> list[Rollout]:
    for number, (task, adapter) in enumerate(adapters.items()):
        spec = write_spec(places.folder, task, adapter)
        if number == 0:
            console.print(escape(spec.read_text().rstrip()), style="cyan", highlight=False, soft_wrap=True)
            _command(places, "rollout", "plan", str(spec), "--admin", places.admin_url)
        _command(places, "rollout", "start", str(spec), "--why", why, "--admin", places.admin_url)
    rollouts = [newest(places.admin_url, task) for task in adapters]
    _follow(places, rollouts, lambda rollout: rollout.phase == "shadow")
    return rollouts


def _follow(
    places: Places, rollouts: list[Rollout], done: Callable[[Rollout], bool], customers: Customers | None = None
) -> None:
    """Until all are `done`: each decision is printed, and what customers saw in the step that it ends."""

    def told(rollout: Rollout, event: Json) -> None:
        what = f"[bold]{rollout.id}: {event['event']}[/bold], {event['phase']}"
        console.print(f"{what}: {escape(event['reason'])}", highlight=False, soft_wrap=True)
        if customers is not None and event["event"] == "advance":
            name, begun, ended = rollout.left(event)
            seen = customers.between(rollout.task, begun, ended)
            console.print(report.step_table(f"{rollout.task.name}: {name}", seen))

    follow(console, places.admin_url, rollouts, done, WITHIN_S, told)


def _agreement(places: Places, rollouts: list[Rollout]) -> dict[Task, float]:
    """By the log: how often the student agreed in the shadow."""
    shares = {}
    for rollout in rollouts:
        pairs = report.shadow_pairs(places.logs, rollout.id)
        share = shares[rollout.task] = report.share_of(pairs)
        student = rollout.status["student"]
        console.print(f"{rollout.task.name}: {student} agrees with the teacher on {share:.1%} of {len(pairs)}")
    return shares


def _ask(places: Places, pairs: list[tuple[Task, Ticket]], label: str) -> list[Reply]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        replies = ask_all(places.base_url, pairs, label, progress)
    _check_replies(replies)
    return replies


def _check_replies(replies: list[Reply]) -> None:
    errors = [reply.error for reply in replies if reply.error is not None]
    if errors:
        raise Failed(f"{len(errors)} of {len(replies)} requests failed, the first with: {errors[0]}")


def _print_command(places: Places, arguments: Sequence[str]) -> str:
    shown = shlex.join(["graduand", *arguments]).replace(str(places.folder), "$DEMO")
    console.print(f"[dim]$ {shown}[/dim]", highlight=False, soft_wrap=True)
    return shown


def _command(places: Places, *arguments: str) -> None:
    shown = _print_command(places, arguments)
    if subprocess.run([sys.executable, "-m", "graduand", *arguments], check=False).returncode != 0:
        raise Failed(f"the command above failed: {shown}")


def _title(text: str) -> None:
    console.rule(f"[bold]{text}", align="left")
