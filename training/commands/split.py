"""`graduand train split`: frozen test sets and the rest, with no conversation, user or near-duplicate in two parts."""

import argparse
from pathlib import Path
from typing import Any

from graduand.training.commands import options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train split`."""
    parser = steps.add_parser("split", help="frozen test sets and the rest; no group in two parts")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="the rows")
    options.add_task(parser)
    parser.add_argument("--labels-from", default="gold", metavar="SOURCE", help="gold, completion, or a teacher's name")
    parser.add_argument(
        "--indist", type=options.counted, default=220, metavar="N", help="rows in distribution (%(default)s)"
    )
    parser.add_argument(
        "--per-label", type=options.counted, default=200, metavar="N", help="balanced rows of each label (%(default)s)"
    )
    parser.add_argument(
        "--valid", type=options.counted, default=0, metavar="N", help="rows for early stopping (%(default)s)"
    )
    parser.add_argument(
        "--join",
        type=options.words,
        default=["conversation", "user", "near"],
        metavar="A,B",
        help="what is never split",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="test sets frozen earlier: only the rest is made anew")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    options.add_threshold(parser)
    options.add_stage(parser, "split")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.data import frozen, labels, leaks, near, samples, split, split_stage

    task = labels.read_task(arguments.task)
    settings = split_stage.SplitSettings(
        task=task,
        labels_from=arguments.labels_from,
        sizes=split.Sizes(arguments.indist, arguments.per_label, arguments.valid),
        seed=arguments.seed,
        joins=tuple(options.known_words(arguments.join, split.JOINS, "--join")),
        threshold=arguments.threshold,
    )
    inputs = {"data": arguments.data} | ({"keep": arguments.keep} if arguments.keep else {})
    code = (frozen, labels, leaks, near, samples, split, split_stage)
    work = split_stage.work(arguments.data, arguments.keep, settings)
    made = options.made_by(arguments, work, inputs, settings.as_json(), code, ("datasketch",))
    return options.tell(made, arguments, _lines(made.figures))


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"{name}: {rows} rows" for name, rows in figures["parts"].items()]
    return [*lines, f"{figures['groups']} groups, the largest of {figures['largest_group']} rows; no leaks"]
