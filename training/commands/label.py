"""`graduand train label`: completions by a teacher, or by several through a vote or a chain."""

import argparse
from pathlib import Path
from typing import Any

from graduand.gateway.errors import ConfigError
from graduand.training.commands import asking, options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train label`."""
    parser = steps.add_parser("label", help="let a teacher answer rows; resumable, within a budget")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="the rows")
    options.add_task(parser, required=False)
    parser.add_argument(
        "--prompt", default="simple", metavar="NAME", help="simple, cot (reasons first) or as-is (%(default)s)"
    )
    parser.add_argument("--combine", choices=("vote", "chain"), default="vote", help="how several teachers become one")
    parser.add_argument(
        "--agree",
        type=options.count,
        default=1,
        metavar="K",
        help="chain: ask the next until K say the same (%(default)s)",
    )
    parser.add_argument("--limit", type=options.count, metavar="N", help="only the first N rows")
    asking.add_teacher(parser)
    options.add_engine(parser)
    options.add_stage(parser, "label")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.data import labels, samples
    from graduand.training.stages import stage
    from graduand.training.stages.progress import shown
    from graduand.training.teacher import labelling, ledger, prompts, vote

    teachers = asking.teachers_of(arguments)
    task = labels.read_task(arguments.task) if arguments.task else None
    if task is None and len(teachers) > 1:
        raise ConfigError("several teachers need --task: only labels can be voted on; choose one with --use")
    how = prompts.prompt(arguments.prompt if task else prompts.AS_IS, task, arguments.about)
    settings = labelling.LabellingSettings(
        task, tuple(teachers), how, arguments.combine, arguments.agree, arguments.limit
    )
    code = (labelling, ledger, prompts, vote, labels, samples)
    plan = stage.Plan(arguments.name, {"data": arguments.data}, settings.as_json(), code)
    with shown() as progress, options.engine_of(arguments, plan) as engine:
        work = labelling.work(arguments.data, settings, asking.purse_of(arguments, engine))
        made = stage.run(plan, arguments.out, work, progress)
    return options.tell(made, arguments, _lines(made.figures))


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"{figures['rows']} rows labelled, {sum(figures['unlabelled'].values())} not"]
    lines += [f"  {count} unlabelled: {reason}" for reason, count in figures["unlabelled"].items()]
    for name, each in figures["teachers"].items():
        dollars = "" if each["dollars"] is None else f", ${each['dollars']:.4f}"
        lines.append(f"{name}: {each['rows']} answers, {each['tokens']} tokens{dollars}")
    if figures["gold"]:
        gold = figures["gold"]
        lines.append(f"against gold: {gold['accuracy']:.4f} [{gold['low']:.3f}, {gold['high']:.3f}] of {gold['rows']}")
    return lines
