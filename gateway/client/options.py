"""What the commands share that talk to an admin plane: how they are told where it is, and how they print what it says."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graduand.gateway.client.admin import Admin
from graduand.gateway.config import read

DEFAULT_ADMIN = "http://127.0.0.1:8081"

Subparsers = argparse._SubParsersAction


def leaf_of(commands: "Subparsers[argparse.ArgumentParser]", name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """A sub-command that talks to an admin plane."""
    leaf = commands.add_parser(name, help=text, description=text)
    where = leaf.add_mutually_exclusive_group()
    where.add_argument("--admin", metavar="URL", help=f"the admin plane (default: {DEFAULT_ADMIN})")
    where.add_argument("--config", type=Path, metavar="FILE", help="take the admin plane's address from this file")
    leaf.add_argument("--json", action="store_true", help="print JSON")
    leaf.set_defaults(run=run)
    return leaf


def admin_of(arguments: argparse.Namespace) -> Admin:
    """The admin plane that the arguments name."""
    if arguments.admin:
        return Admin(arguments.admin)
    if arguments.config:
        host, port = read.load(arguments.config).admin
        return Admin(f"http://{host}:{port}")
    return Admin(os.environ.get("GRADUAND_ADMIN", DEFAULT_ADMIN))


def out(arguments: argparse.Namespace, data: Any, show: Callable[[Any], object]) -> int:
    """Print `data` as JSON if that was asked for, else as `show` prints it; return the exit code 0."""
    if arguments.json:
        print(json.dumps(data, indent=2))
    else:
        show(data)
    return 0
