"""`graduand train teacher`: which teacher, prompt and temperature, measured against gold."""

import argparse
from pathlib import Path

from graduand.training.commands import asking, options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train teacher`."""
    parser = steps.add_parser("teacher", help="a grid of teachers, prompts and temperatures against gold")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="rows with gold")
    options.add_task(parser)
    parser.add_argument("--prompts", type=options.words, default=["simple"], metavar="A,B", help="simple, cot, as-is")
    parser.add_argument(
        "--temperatures", type=options.words, default=[], metavar="T,T", help="default: each teacher's own"
    )
    parser.add_argument("--limit", type=options.count, metavar="N", help="only the first N rows with gold")
    asking.add_teacher(parser)
    options.add_stage(parser, "teacher")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.data import labels, scores
    from graduand.training.teacher import grid, labelling, ledger, prompts

    task = labels.read_task(arguments.task)
    settings = grid.GridSettings(
        task=task,
        teachers=tuple(asking.teachers_of(arguments)),
        prompts=tuple(prompts.prompt(name, task, arguments.about) for name in arguments.prompts),
        temperatures=tuple(map(_temperature, arguments.temperatures)),
        limit=arguments.limit,
    )
    code = (grid, labelling, ledger, prompts, labels, scores)
    work = grid.work(arguments.data, settings, asking.purse_of(arguments))
    made = options.made_by(arguments, work, {"data": arguments.data}, settings.as_json(), code)
    lines = [
        f"{row['accuracy']:.4f} [{row['low']:.3f}, {row['high']:.3f}] {row['teacher']}, {row['prompt']}, "
        f"temperature {row['temperature']}, {row['unread']} unread"
        for row in made.figures["rows"]
    ]
    return options.tell(made, arguments, lines)


def _temperature(text: str) -> float:
    from graduand.gateway.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--temperatures: {text!r} is no number; write e.g. 0,0.3,0.8") from None
