"""What every stage's command has in common: `--out`, `--name`, `--json`, and how a finished stage is told."""

import argparse
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from graduand.gateway.errors import ConfigError, did_you_mean
from graduand.training.stages.progress import shown
from graduand.training.stages.stage import Made, Plan, Work, run

if TYPE_CHECKING:
    from graduand.training.engines.engine import Engine

Commands = Any  # argparse's type of a group of sub-commands is private
THRESHOLD = 0.8


def add_stage(parser: argparse.ArgumentParser, name: str) -> None:
    """Options of a command that makes a stage's folder."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="the folder NAME-DIGEST is made in it (%(default)s)",
    )
    parser.add_argument(
        "--name", default=name, help="what the folder and the link to the latest are called (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def add_task(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The label task."""
    parser.add_argument(
        "--task", required=required, metavar="FILE.yaml", help="the task's labels, or YAML such as '{labels: [a, b]}'"
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Where the work on rows runs; it decides nothing about what comes out."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where rows are worked on: this process, or workers of Ray; the same bytes come out (%(default)s)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="with --engine ray: auto or HOST:PORT of a cluster (default: a Ray of this machine's own, for this run)",
    )


@contextlib.contextmanager
def engine_of(arguments: argparse.Namespace, plan: Plan, cpus: int = 1) -> "Iterator[Engine]":
    """The engine that the command line names; its workers have `cpus` processors and all that `plan` is a function of."""
    from graduand.training.engines.engine import LOCAL

    if arguments.engine == "local":
        if arguments.ray_address:
            raise ConfigError("--ray-address is for --engine ray; add that, or leave the address out")
        yield LOCAL
        return
    from graduand.training.engines.ray_data import Kin, RayData

    engine = RayData(arguments.ray_address, cpus, Kin.here(plan.code, plan.packages))
    try:
        yield engine
    finally:
        engine.close()


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """How similar two texts must be to count as near-duplicates."""
    parser.add_argument(
        "--threshold",
        type=share,
        default=THRESHOLD,
        metavar="J",
        help="Jaccard similarity of near-duplicates (%(default)s)",
    )


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return value


def counted(text: str) -> int:
    """A whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be a whole number from 0")
    return value


def words(text: str) -> list[str]:
    """A list with commas between."""
    return [word.strip() for word in text.split(",") if word.strip()]


def known_words(given: Iterable[str], known: Iterable[str], option: str) -> list[str]:
    """`given`, each of which must be known."""
    known = list(known)
    for word in given:
        if word not in known:
            raise ConfigError(f"{option}: {word!r} is not known.{did_you_mean(word, known)} Known: {', '.join(known)}")
    return list(given)


def made_by(
    arguments: argparse.Namespace, work: Work, inputs: Mapping[str, Path], parameters: Mapping[str, Any],
    code: tuple[ModuleType, ...], packages: tuple[str, ...] = (),
) -> Made:  # fmt: skip
    """What the work makes, or made before of the same inputs; the rest as in Plan."""
    with shown() as progress:
        return run(Plan(arguments.name, inputs, parameters, code, packages), arguments.out, work, progress)


def tell(made: Made, arguments: argparse.Namespace, lines: Iterable[str]) -> int:
    """Print the folder and what was done, or the figures as JSON; 0."""
    if arguments.json:
        return tell_json(made.as_json())
    print(made.path)
    for line in lines:
        print(line)
    print(f"report: {made.path / 'report.md'}")
    return 0


def tell_json(figures: Mapping[str, Any]) -> int:
    """Print figures; 0."""
    print(json.dumps(figures, indent=2))
    return 0
