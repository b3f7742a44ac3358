"""`graduand train synth`: new inputs from a few seeds, or paraphrases of a rare class, through a teacher."""

import argparse
from pathlib import Path

from graduand.gateway.errors import ConfigError
from graduand.training.commands import asking, options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train synth`."""
    parser = steps.add_parser("synth", help="new inputs from a few seeds, or paraphrases of a rare class")
    parser.add_argument("--seeds", type=Path, required=True, metavar="ROWS.jsonl", help="a few real inputs")
    parser.add_argument("--rows", type=options.count, required=True, metavar="N", help="how many to make")
    parser.add_argument("--paraphrase", metavar="LABEL", help="rewrite the rows of this label in place of new ones")
    parser.add_argument(
        "--limit",
        type=options.share,
        default=0.7,
        metavar="R",
        help="ROUGE-L from which a text is not new (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    options.add_task(parser, required=False)
    asking.add_teacher(parser)
    options.add_stage(parser, "synth")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.data import labels, samples
    from graduand.training.synthesis import bootstrap, novelty, prompts

    teachers = asking.teachers_of(arguments)
    if len(teachers) > 1:
        raise ConfigError(f"one teacher writes; choose it with --use, such as --use {teachers[0].name}")
    task = labels.read_task(arguments.task) if arguments.task else None
    if arguments.paraphrase is not None and task is None:
        raise ConfigError("--paraphrase needs --task, which has the labels")
    settings = bootstrap.BootstrapSettings(
        task, teachers[0], arguments.rows, arguments.paraphrase, arguments.about, arguments.limit, arguments.seed
    )
    code = (bootstrap, novelty, prompts, labels, samples)
    work = bootstrap.work(arguments.seeds, settings, asking.purse_of(arguments))
    made = options.made_by(arguments, work, {"seeds": arguments.seeds}, settings.as_json(), code, ("rapidfuzz",))
    figures = made.figures
    lines = [
        f"{figures['rows']} of {figures['wanted']} rows, {figures['new']:.0%} of {figures['offered']} offered were new"
    ]
    if figures["rows"] < figures["wanted"]:
        lines.append("the teacher only repeats itself: give more seeds, or another --about")
    return options.tell(made, arguments, lines)
