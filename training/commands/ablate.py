"""`graduand train ablate`: what fewer rows would have done, and what twice as many would bring."""

import argparse
from pathlib import Path
from typing import Any

from graduand.gateway.errors import ConfigError
from graduand.training.commands import options
from graduand.training.commands.options import Commands

SHARES = "0.05,0.1,0.25,0.5,0.75,1"
SEEDS = 3


def add_parser(steps: Commands) -> None:
    """Register `train ablate`."""
    parser = steps.add_parser("ablate", help="the data-size curve, and the band of the gain from doubling")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="rows to take subsets of")
    parser.add_argument("--tests", type=Path, required=True, metavar="DIR", help="a folder with frozen test sets")
    options.add_task(parser)
    parser.add_argument("--labels-from", default="completion", metavar="SOURCE", help="or gold, or a teacher's name")
    parser.add_argument("--shares", type=_shares, default=SHARES, metavar="A,B", help="of the rows (%(default)s)")
    parser.add_argument("--seeds", type=options.count, default=SEEDS, metavar="N", help="subsets a size (%(default)s)")
    parser.add_argument(
        "--fit", type=Path, metavar="RUN.yaml", help="train an adapter for each point (default: TF-IDF, which is quick)"
    )
    options.add_threshold(parser)
    options.add_stage(parser, "ablate")
    parser.set_defaults(run=_run)


def _shares(text: str) -> tuple[float, ...]:
    return tuple(options.share(word) for word in options.words(text))


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.ablation import ablate_stage, laws, subsets
    from graduand.training.baselines import tfidf
    from graduand.training.data import labels
    from graduand.training.stages import stage
    from graduand.training.stages.progress import shown

    task = labels.read_task(arguments.task)
    if arguments.fit is not None and arguments.labels_from != "completion":
        raise ConfigError("--fit learns completions; make them of the other labels with `train label` or `train data`")
    settings = ablate_stage.AblationSettings(
        task, arguments.labels_from, arguments.shares, arguments.seeds, arguments.threshold
    )
    named = {"labels_from": arguments.labels_from, "shares": list(arguments.shares), "seeds": arguments.seeds}
    parameters = {"task": labels.as_json(task), **named, "fit": _fitted(arguments)}
    inputs = {"data": arguments.data, "tests": arguments.tests}
    plan = stage.Plan(arguments.name, inputs, parameters, (ablate_stage, laws, subsets, labels, tfidf), tfidf.PACKAGES)
    with shown() as progress:
        work = ablate_stage.work(arguments.data, arguments.tests, settings, _learner(arguments, task, progress))
        made = stage.run(plan, arguments.out, work, progress)
    return options.tell(made, arguments, [_line(*each) for each in made.figures["tests"].items()])


def _config(arguments: argparse.Namespace) -> Any:
    from graduand.training.fit.run_config import fit_config

    given = {"data": arguments.data, "out": arguments.out / "ablated", "name": "ablated"}
    return fit_config(arguments.fit, given)


def _fitted(arguments: argparse.Namespace) -> dict[str, Any] | str:
    if arguments.fit is None:
        return "tf-idf"
    settings: dict[str, Any] = _config(arguments).model_dump(mode="json", exclude={"data", "out", "name", "threads"})
    return settings


def _learner(arguments: argparse.Namespace, task: Any, progress: Any) -> Any:
    if arguments.fit is None:
        from graduand.training.ablation.ablate_stage import with_tfidf

        return with_tfidf
    from graduand.training.ablation.with_fit import learner

    return learner(task, _config(arguments), progress)


def _line(name: str, figures: dict[str, Any]) -> str:
    low, gain, high = figures["gain_of_doubling"]
    largest = figures["sizes"][-1]
    return (
        f"{name}: {1 - largest['error']:.4f} with {largest['rows']} rows; doubling them: {gain:+.3f} "
        f"({low:+.3f} to {high:+.3f})"
    )
