"""`graduand check`: check a configuration and explain what it does."""

import argparse
import json
from pathlib import Path

from graduand.gateway.client.options import Subparsers
from graduand.gateway.config import read
from graduand.gateway.config.explain import explained, warnings


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `check`."""
    check = commands.add_parser(
        "check", help="check a configuration", description="Check a configuration and explain what it does."
    )
    check.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration file")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    settings = read.load(arguments.config)
    minded = warnings(settings)
    if arguments.json:
        names = {"routes": list(settings.routes), "upstreams": list(settings.upstreams)}
        print(json.dumps({"valid": True, **names, "warnings": minded}))
        return 0
    print(f"{arguments.config} is valid.")
    for line in (*explained(settings), *(f"warning: {one}" for one in minded)):
        print(line)
    return 0
