"""`graduand train review`: disputed rows out to a person, corrections back in as gold."""

import argparse
import time
from pathlib import Path

from graduand.gateway.errors import ConfigError
from graduand.training.commands import options
from graduand.training.commands.options import Commands

MOST = 200


def add_parser(steps: Commands) -> None:
    """Register `train review`."""
    parser = steps.add_parser("review", help="disagreements and doubtful labels out, corrections back in")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="the rows")
    options.add_task(parser)
    parser.add_argument("--evaluation", type=Path, metavar="DIR", help="what a student said to these rows")
    parser.add_argument("--doubts", type=Path, metavar="DOUBTS.jsonl", help="doubtful labels from `train curate`")
    parser.add_argument("--most", type=options.count, default=MOST, metavar="N", help="rows to show (%(default)s)")
    parser.add_argument("--corrections", type=Path, metavar="FILE.csv", help="take these in; needs --who")
    parser.add_argument("--who", metavar="NAME", help="with --corrections: who made them")
    parser.add_argument("--at", metavar="TIME", help="with --corrections: when (default: the file's own time)")
    options.add_stage(parser, "review")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training import review
    from graduand.training.data import labels
    from graduand.training.review import review_stage

    task = labels.read_task(arguments.task)
    code = (review, labels)
    if arguments.corrections is None:
        named = {name: getattr(arguments, name) for name in ("data", "evaluation", "doubts")}
        inputs = {name: path for name, path in named.items() if path is not None}
        work = review_stage.work_out(arguments.data, task, arguments.evaluation, arguments.doubts, arguments.most)
        parameters = {"task": labels.as_json(task), "most": arguments.most}
    else:
        if not arguments.who:
            raise ConfigError("--corrections needs --who, the name of the person who made them")
        at = arguments.at or _time_of(arguments.corrections)
        inputs = {"data": arguments.data, "corrections": arguments.corrections}
        work = review_stage.work_in(arguments.data, task, arguments.corrections, arguments.who, at)
        parameters = {"task": labels.as_json(task), "who": arguments.who, "at": at}
    made = options.made_by(arguments, work, inputs, parameters, code)
    figures = made.figures
    if arguments.corrections is None:
        lines = [f"{figures['disputed']} of {figures['rows']} rows are disputed", f"open {made.path / 'review.html'}"]
    else:
        lines = [
            f"{figures['corrected']} corrections by {figures['who']}, {figures['changed']} rows learn another label"
        ]
    return options.tell(made, arguments, lines)


def _time_of(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime))
    except OSError as error:
        raise ConfigError(f"cannot read the corrections: {error}") from error
