"""`graduand train curate`: the steps of one YAML file, with a ledger of what each did."""

import argparse
from pathlib import Path
from typing import Any

from graduand.gateway.errors import ConfigError
from graduand.training.commands import options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train curate`."""
    parser = steps.add_parser("curate", help="rules, duplicates, caps, doubtful labels, balance; with a ledger")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="rows with completions")
    parser.add_argument("--config", type=Path, required=True, metavar="CURATION.yaml", help="task and steps")
    parser.add_argument(
        "--tests", type=Path, metavar="DIR", help="frozen test sets: what is left must not leak into them"
    )
    parser.add_argument(
        "--effect",
        action="store_true",
        help="train the TF-IDF baseline after every step and say what it reaches on --tests",
    )
    options.add_engine(parser)
    options.add_stage(parser, "curate")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training import curation
    from graduand.training.baselines import tfidf
    from graduand.training.curation import pipeline
    from graduand.training.data import arrow, labels, leaks, near, samples, scores
    from graduand.training.stages import stage
    from graduand.training.stages.progress import shown

    if arguments.effect and arguments.tests is None:
        raise ConfigError("--effect needs --tests, a folder with frozen test sets")
    asked = pipeline.read_curation(arguments.config)
    inputs = {"data": arguments.data} | ({"tests": arguments.tests} if arguments.tests else {})
    code = (curation, tfidf, near, leaks, arrow, samples, labels, scores)
    parameters = {**asked.as_json(), "effect": arguments.effect}
    plan = stage.Plan(arguments.name, inputs, parameters, code, (*tfidf.PACKAGES, "datasketch"))
    with shown() as progress, options.engine_of(arguments, plan) as engine:
        work = pipeline.work(arguments.data, asked, arguments.tests, arguments.effect, engine)
        made = stage.run(plan, arguments.out, work, progress)
    return options.tell(made, arguments, [_line(step) for step in made.figures["steps"]])


def _line(step: dict[str, Any]) -> str:
    why = "; ".join(f"{count} {reason}" for reason, count in step["why"].items())
    effect = "".join(
        f"  {name} {found['accuracy']:.4f}" for name, found in (step["effect"] or {}).items() if isinstance(found, dict)
    )
    listed = f"  {step['listed']} listed for review" if step["listed"] else ""
    return f"{step['step']:9} {step['rows_in']:6} -> {step['rows_out']:6}{effect}{listed}{'  ' + why if why else ''}"
