"""Options of every command that asks a teacher, and the teachers and the purse that they describe."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from graduand.gateway.errors import ConfigError
from graduand.training.commands import options

if TYPE_CHECKING:
    from graduand.training.engines.engine import Engine
    from graduand.training.teacher.config import Teacher
    from graduand.training.teacher.labelling import Purse

CONCURRENCY = 8


def add_teacher(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Which teachers, and what may be spent on them."""
    who = parser.add_argument_group("teachers")
    who.add_argument(
        "--teachers", type=Path, required=required, metavar="FILE.yaml", help="teachers by name: base_url, model, …"
    )
    who.add_argument("--use", type=options.words, metavar="A,B", help="only these, in this order")
    who.add_argument("--about", default="", metavar="TEXT", help="what the labels mean, for the prompt")
    add_purse(who)


def add_purse(who: "argparse._ArgumentGroup") -> None:
    """What may be spent, how quickly, and where answers are kept."""
    who.add_argument(
        "--budget-dollars", type=float, metavar="D", help="most that the ledger may cost, all runs together"
    )
    who.add_argument("--budget-tokens", type=int, metavar="N", help="most tokens, all runs together")
    who.add_argument(
        "--concurrency", type=options.count, default=CONCURRENCY, metavar="N", help="requests at once (%(default)s)"
    )
    who.add_argument(
        "--ledger", type=Path, metavar="FILE.jsonl", help="answers paid for (default: OUT/teacher.ledger.jsonl)"
    )


def teachers_of(arguments: argparse.Namespace) -> "list[Teacher]":
    """The teachers that the command line names."""
    from graduand.training.teacher.config import read_teachers

    return _priced(read_teachers(arguments.teachers, arguments.use), arguments)


def judge_of(arguments: argparse.Namespace) -> "Teacher":
    """The judge that the command line names."""
    from graduand.training.teacher.config import read_teachers

    if arguments.teachers is None:
        raise ConfigError("--judge needs --teachers, the file that says where the judge is asked")
    return _priced(read_teachers(arguments.teachers, [arguments.judge]), arguments)[0]


def _priced(found: "list[Teacher]", arguments: argparse.Namespace) -> "list[Teacher]":
    """`found`, each with a price if dollars are limited."""
    unpriced = [teacher.name for teacher in found if teacher.price is None]
    if arguments.budget_dollars is not None and unpriced:
        raise ConfigError(
            f"--budget-dollars needs a price for {', '.join(unpriced)}; add price: {{input: …, output: …}}"
        )
    return found


def purse_of(arguments: argparse.Namespace, engine: "Engine | None" = None) -> "Purse":
    """What may be spent, where it is written down, and who asks (None: this process)."""
    from graduand.training.engines.engine import LOCAL
    from graduand.training.teacher.labelling import Purse

    ledger = arguments.ledger or arguments.out / "teacher.ledger.jsonl"
    return Purse(ledger, arguments.budget_dollars, arguments.budget_tokens, arguments.concurrency, engine or LOCAL)
