"""`graduand train assess`: is this traffic fit for a student?"""

import argparse
from pathlib import Path

from graduand.gateway.errors import ConfigError
from graduand.training.commands import asking, options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train assess`."""
    parser = steps.add_parser("assess", help="one page: is this traffic fit for a student?")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from", dest="logs", type=Path, metavar="LOGDIR", help="the gateway's log, a folder here; with --route"
    )
    source.add_argument("--data", type=Path, metavar="ROWS.jsonl", help="rows with completions")
    parser.add_argument("--route", help="the route of the log")
    options.add_task(parser, required=False)
    parser.add_argument(
        "--limit", type=options.count, default=5000, metavar="N", help="look at so many rows (%(default)s)"
    )
    parser.add_argument("--twice", type=options.count, default=50, metavar="N", help="rows to ask twice (%(default)s)")
    asking.add_teacher(parser, required=False)
    options.add_stage(parser, "assess")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.assess import card, curve, facts, verdict
    from graduand.training.baselines import tfidf
    from graduand.training.data import labels, logs

    if bool(arguments.logs) != bool(arguments.route):
        raise ConfigError("--from (a log) and --route go together; --data needs neither")
    teachers = asking.teachers_of(arguments) if arguments.teachers else [None]
    if len(teachers) > 1:
        raise ConfigError(f"one teacher is assessed; choose it with --use {teachers[0].name if teachers[0] else ''}")
    task = labels.read_task(arguments.task) if arguments.task else None
    settings = card.CardSettings(arguments.route, task, arguments.limit, teachers[0], arguments.twice)
    source = arguments.logs or arguments.data
    code = (card, curve, facts, verdict, labels, logs, tfidf)
    work = card.work(source, settings, asking.purse_of(arguments))
    packages = (*tfidf.PACKAGES, "datasketch")
    made = options.made_by(arguments, work, {"traffic": source}, settings.as_json(), code, packages)
    lines = [f"{made.figures['verdict']}:"]
    lines += [f"  {each['level']:6} {each['what']}: {each['why']}" for each in made.figures["findings"]]
    return options.tell(made, arguments, lines)
