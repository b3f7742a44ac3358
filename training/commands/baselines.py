"""`graduand train baselines`: what a student must beat, on every frozen test set."""

import argparse
from pathlib import Path

from graduand.gateway.errors import ConfigError
from graduand.training.commands import options
from graduand.training.commands.options import Commands

ZERO_SHOT_ROWS = 10


def add_parser(steps: Commands) -> None:
    """Register `train baselines`."""
    parser = steps.add_parser("baselines", help="majority, TF-IDF, zero-shot student and recorded teachers")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="ROWS.jsonl", help="rows to train on")
    parser.add_argument("--tests", type=Path, required=True, metavar="DIR", help="a folder with frozen test sets")
    options.add_task(parser)
    parser.add_argument(
        "--labels-from", type=options.words, default=["completion"], metavar="A,B",
        help="completion (the default), gold, or a teacher's name; several make a row each",
    )  # fmt: skip
    parser.add_argument("--about", default="", metavar="TEXT", help="what the labels mean, for the zero-shot student")
    parser.add_argument("--base", default="smollm2-135m", help="the student's base (%(default)s)")
    parser.add_argument(
        "--zero-shot", type=options.counted, default=ZERO_SHOT_ROWS, metavar="N",
        help="test rows the untrained base is asked about (%(default)s a set; it is slow; 0: not asked)",
    )  # fmt: skip
    options.add_threshold(parser)
    options.add_stage(parser, "baselines")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training import baselines
    from graduand.training.baselines import baselines_stage, tfidf
    from graduand.training.data import frozen, labels, leaks, scores
    from graduand.training.teacher import prompts

    settings = baselines_stage.BaselineSettings(
        task=labels.read_task(arguments.task),
        sources=tuple(arguments.labels_from),
        about=arguments.about,
        base=arguments.base,
        zero_shot=arguments.zero_shot,
        threshold=arguments.threshold,
    )
    files = {_name(path): path for path in arguments.data}
    if len(files) < len(arguments.data):
        raise ConfigError(f"--data: two files have the name {', '.join(files)}; rename one, since the table names them")
    inputs = {"tests": arguments.tests} | {f"data {name}": path for name, path in files.items()}
    code = (baselines, labels, scores, frozen, leaks, prompts)
    work = baselines_stage.work(files, arguments.tests, settings)
    made = options.made_by(arguments, work, inputs, settings.as_json(), code, tfidf.PACKAGES)
    lines = [
        f"{row['accuracy']:.4f} [{row['low']:.3f}, {row['high']:.3f}] {row['test_set']:14} {row['what']}"
        f"{' (' + row['trained_on'] + ')' if row['trained_on'] else ''}"
        if "accuracy" in row
        else f"not measured           {row['test_set']:14} {row['what']}: {row['missing']}"
        for row in made.figures["rows"]
    ]
    return options.tell(made, arguments, lines)


def _name(path: Path) -> str:
    """What the table calls a file of rows: a stage's folder says more than `rows`."""
    return path.stem if path.is_file() and path.stem != "rows" else (path.parent if path.is_file() else path).name
