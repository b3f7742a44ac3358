"""`graduand train redistil`: from the log to the next candidate, admitted, and its shadow rollout started.

One command from end to end, so that a timer or a drift alarm can run it; each of its steps finds what it has done.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from graduand.gateway.errors import AdapterError, ConfigError
from graduand.training.commands import asking, options
from graduand.training.commands.admit import key_of
from graduand.training.commands.options import Commands

if TYPE_CHECKING:
    from graduand.rollout.answers.tasks import Task
    from graduand.training.fit.fit import Fitted
    from graduand.training.fit.run_config import FitConfig
    from graduand.training.stages.progress import Progress

MOST, SAMPLED = 2000, 0.2


def add_parser(steps: Commands) -> None:
    """Register `train redistil`."""
    parser = steps.add_parser("redistil", help="from the log to the next candidate and its shadow rollout")
    parser.add_argument(
        "--records", type=Path, required=True, metavar="RAW.jsonl", help="from `graduand logs export --format raw`"
    )
    parser.add_argument("--known", type=Path, required=True, metavar="ROWS.jsonl", help="what the last student learned")
    options.add_task(parser)
    parser.add_argument("--tests", type=Path, metavar="DIR", help="frozen test sets; new rows that leak are left out")
    parser.add_argument("--most", type=options.count, default=MOST, metavar="N", help="new rows (%(default)s)")
    parser.add_argument("--sampled", type=options.share, default=SAMPLED, help="share drawn at random (%(default)s)")
    parser.add_argument("--audit", type=float, default=0.0, metavar="P", help="share of students' answers audited")
    parser.add_argument("--seed", type=options.counted, default=0, help="of what is drawn (%(default)s)")
    parser.add_argument("--fit", type=Path, required=True, metavar="RUN.yaml", help="settings of `train fit`")
    parser.add_argument("--because", default="", metavar="TEXT", help="what set it off, such as a drift alarm")
    asking.add_teacher(parser, required=False)
    live = parser.add_argument_group("its shadow rollout; without --rollout the candidate is admitted and left there")
    live.add_argument("--rollout", type=Path, metavar="SPEC.yaml", help="the rollout; its student is replaced")
    live.add_argument(
        "--on-alarm", action="store_true",
        help="only if an alarm stands on the rollout's route that no rollout has answered yet; its words are the reason",
    )  # fmt: skip
    live.add_argument("--upstream", help="the upstream that serves the student")
    live.add_argument("--engine", metavar="URL", help="the engine to admit on (default: an embedded one is started)")
    live.add_argument("--key-env", metavar="NAME", help="the environment variable with the engine's key")
    live.add_argument("--admin", metavar="URL", help="the gateway's admin plane")
    options.add_threshold(parser)
    options.add_stage(parser, "redistil")
    parser.set_defaults(run=_run, config=None)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.admission.admit import Request, admit
    from graduand.training.data import labels
    from graduand.training.stages.progress import shown

    _settings(arguments, arguments.known)  # read before hours are spent, as the rollout's file is
    task, spec, key = labels.read_task(arguments.task), _spec(arguments), key_of(arguments.key_env)
    if arguments.on_alarm and not _because_of_alarm(arguments, spec):
        return 0
    with shown() as progress:
        data = _data(arguments, task, progress)
        fitted = _fit(arguments, data, progress)
        made = admit(Request(fitted.path, engine=arguments.engine, key=key), progress)
    if not made.admitted:
        failed = next(check for check in made.record["checks"] if not check["passed"])
        raise AdapterError(f"{fitted.path} was refused admission: {failed['name']}: {failed['detail']}")
    figures: dict[str, Any] = {"adapter": str(fitted.path), "data": str(data), "because": arguments.because}
    if spec is not None:
        figures["rollout"] = _start(arguments, spec, fitted.path)
    if arguments.json:
        return options.tell_json(figures)
    print(f"{fitted.path} is admitted")
    print(f"rollout {figures['rollout']} has started in the shadow" if spec else f"next: {_next(fitted.path)}")
    return 0


def _spec(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The rollout's file, read before hours are spent."""
    if arguments.rollout is None:
        return None
    if not arguments.upstream:
        raise ConfigError("--rollout needs --upstream, the upstream that serves the student")
    from graduand.gateway.client.spec import read_spec

    spec: dict[str, Any] = read_spec(arguments.rollout)
    return spec


def _because_of_alarm(arguments: argparse.Namespace, spec: dict[str, Any] | None) -> bool:
    """Whether an alarm asks for a candidate; if so it is the reason, unless another was given."""
    if spec is None:
        raise ConfigError("--on-alarm needs --rollout SPEC.yaml: its route is the one whose alarms are asked for")
    from graduand.gateway.client.options import admin_of
    from graduand.training.redistil.alarms import unanswered

    admin, route = admin_of(arguments), str(spec.get("route", ""))
    listed = admin.call("GET", f"/v1/rollouts?route={quote(route, safe='')}")["rollouts"]
    found = unanswered(admin.call("GET", "/v1/monitors")["verdicts"], listed, route)
    if found is None:
        told = f"no alarm on {route} waits for a candidate: nothing to do"
        print(json.dumps({"alarm": None}) if arguments.json else told)
        return False
    arguments.because = arguments.because or str(found["why"])
    return True


def _data(arguments: argparse.Namespace, task: "Task", progress: "Progress") -> Path:
    """The next student's rows: chosen from the log, labelled where a teacher must, put after the old ones."""
    from graduand.training.data import labels, selection
    from graduand.training.redistil import candidate_stage
    from graduand.training.stages import stage

    inputs = {"records": arguments.records, "known": arguments.known}
    named = {name: getattr(arguments, name) for name in ("audit", "most", "sampled", "seed")}
    plan = stage.Plan(
        f"{arguments.name}-candidates", inputs, {"task": labels.as_json(task), **named}, (candidate_stage, selection)
    )
    work = candidate_stage.select_work(arguments.records, arguments.known, task, *named.values())
    chosen = stage.run(plan, arguments.out, work, progress)
    new = [chosen.path / "rows.jsonl"]
    if chosen.figures["unlabelled"] and arguments.teachers is not None:
        new.append(_labelled(arguments, task, chosen.path / candidate_stage.UNLABELLED, progress) / "rows.jsonl")
    inputs = {"known": arguments.known} | {f"new {place}": path for place, path in enumerate(new)}
    inputs |= {"tests": arguments.tests} if arguments.tests else {}
    parameters = {"threshold": arguments.threshold, "because": arguments.because}
    plan = stage.Plan(f"{arguments.name}-data", inputs, parameters, (candidate_stage,))
    merge = candidate_stage.merge_work(arguments.known, new, arguments.tests, arguments.threshold, arguments.because)
    return stage.run(plan, arguments.out, merge, progress).path / "rows.jsonl"


def _labelled(arguments: argparse.Namespace, task: "Task", rows: Path, progress: "Progress") -> Path:
    from graduand.training.stages import stage
    from graduand.training.teacher import labelling, ledger, prompts, vote

    how = prompts.Prompt(prompts.AS_IS)
    settings = labelling.LabellingSettings(task, tuple(asking.teachers_of(arguments)), how, "vote", 1, None)
    plan = stage.Plan(f"{arguments.name}-label", {"data": rows}, settings.as_json(), (labelling, ledger, prompts, vote))
    return stage.run(plan, arguments.out, labelling.work(rows, settings, asking.purse_of(arguments)), progress).path


def _fit(arguments: argparse.Namespace, data: Path, progress: "Progress") -> "Fitted":
    from graduand.training.fit.fit import fit

    return fit(_settings(arguments, data), progress)


def _settings(arguments: argparse.Namespace, data: Path) -> "FitConfig":
    from graduand.training.fit.run_config import fit_config

    return fit_config(arguments.fit, {"data": data.resolve()})


def _start(arguments: argparse.Namespace, spec: dict[str, Any], adapter: Path) -> str:
    """Load the adapter and start the rollout; the same candidate again starts nothing new."""
    from graduand.gateway.client.options import admin_of

    admin = admin_of(arguments)
    body = {"name": adapter.name, "path": str(adapter.resolve()), "upstream": arguments.upstream}
    admin.call("POST", "/v1/adapters", body)
    why = arguments.because or "re-distilled from the log"
    rollout = {"spec": spec | {"student": adapter.name}, "why": why[:1000], "key": f"redistil {adapter.name}"}
    return str(admin.call("POST", "/v1/rollouts", rollout)["id"])


def _next(adapter: Path) -> str:
    return f"graduand adapters add {json.dumps(f'{adapter.name}={adapter}')} --upstream UPSTREAM, then graduand rollout start"
