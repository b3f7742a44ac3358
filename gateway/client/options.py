"""The options by which a command is told where the admin plane is."""

import argparse
import os
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
