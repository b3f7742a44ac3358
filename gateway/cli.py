"""The `graduand` command: one sub-command a noun, each in the module that owns it.

Exit codes: 0 success, 1 failure, 2 bad usage or configuration. Sub-command modules import nothing heavy until they run.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from graduand import __version__
from graduand.gateway.errors import GraduandError

# Each module owns one command and has `add_parser(commands)`.
COMMANDS: tuple[str, ...] = (
    "graduand.gateway.processes.supervisor",
    "graduand.gateway.commands.check",
    "graduand.gateway.commands.routes",
    "graduand.gateway.commands.adapters",
    "graduand.gateway.commands.state",
    "graduand.gateway.commands.rollout",
    "graduand.gateway.commands.review",
    "graduand.gateway.commands.monitor",
    "graduand.gateway.engine.cli",
    "graduand.gateway.commands.logs",
    "graduand.gateway.recorded.server",
    "graduand.training.commands.cli",
)


def parser() -> argparse.ArgumentParser:
    """The whole command line; every leaf sets `run`, a function from its arguments to an exit code."""
    root = argparse.ArgumentParser(prog="graduand", description=__doc__.splitlines()[0])
    root.add_argument("--version", action="version", version=f"graduand {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        importlib.import_module(module).add_parser(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors raised on purpose become one line on standard error."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except GraduandError as error:
        print(f"graduand: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
