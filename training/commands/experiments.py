"""`graduand train experiments`: the table of runs, and whether two of them may be compared."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.training.commands import options
from graduand.training.commands.options import Commands

if TYPE_CHECKING:
    from graduand.training.ablation.experiments import Experiment


def add_parser(steps: Commands) -> None:
    """Register `train experiments`."""
    parser = steps.add_parser("experiments", help="runs beside each other, one change at a time")
    parser.add_argument("--adapters", type=Path, required=True, metavar="DIR", help="the --out of `train fit`")
    parser.add_argument("--evaluations", type=Path, metavar="DIR", help="the --out of `train evaluate`")
    parser.add_argument("--baseline", metavar="NAME", help="the run that others are compared with (default: the first)")
    parser.add_argument(
        "--compare", metavar="NAME", help="compare this run with the baseline; refused if two things changed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.ablation import experiments

    found = experiments.read(arguments.adapters, arguments.evaluations)
    baseline = _named(found, arguments.baseline) if arguments.baseline else found[0]
    if arguments.compare:
        other = _named(found, arguments.compare)
        change = experiments.check_one_change(baseline, other)
        return _tell(
            arguments, {"change": change, "scores": {e.name: dict(e.scores) for e in (baseline, other)}}, change
        )
    rows = [
        {"name": e.name, "scores": dict(e.scores), "seconds": e.seconds, "changes": experiments.changes(baseline, e)}
        for e in found
    ]
    return _tell(arguments, {"baseline": baseline.name, "runs": rows}, experiments.table(found, baseline))


def _tell(arguments: argparse.Namespace, figures: dict[str, object], text: str) -> int:
    if arguments.json:
        return options.tell_json(figures)
    print(text)
    return 0


def _named(found: "list[Experiment]", name: str) -> "Experiment":
    """The run of that name; the digest may be left out if one run only has the name."""
    fitting = [each for each in found if name in (each.name, each.name.partition("@")[0])]
    if len(fitting) != 1:
        names = [each.name for each in found]
        hint = did_you_mean(name, names) or f" There are: {', '.join(names)}."
        raise ConfigError(f"{'no' if not fitting else 'more than one'} run is called {name!r}.{hint}")
    return fitting[0]
