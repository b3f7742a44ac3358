"""`graduand check`: check a configuration and explain what it does."""

import argparse
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from graduand.gateway.adapters.reachability import Finding, find_out
from graduand.gateway.client.options import Subparsers
from graduand.gateway.config import read
from graduand.gateway.config.explain import explained, warnings
from graduand.gateway.logs import places
from graduand.gateway.logs.heavy import heavy_units
from graduand.gateway.logs.reading import Source
from graduand.gateway.model.routes import Settings

AT_ONCE = 8
NOT_USABLE = 1


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `check`."""
    check = commands.add_parser(
        "check", help="check a configuration", description="Check a configuration and explain what it does."
    )
    check.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration file")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--online", action="store_true",
        help="also ask each upstream for its models, and say what it answers; exit code 1 if one cannot be used",
    )  # fmt: skip
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    settings = read.load(arguments.config)
    minded = [*warnings(settings), *_heavy(settings, online=arguments.online)]
    found = _ask_upstreams(settings) if arguments.online else []
    if arguments.json:
        names = {"routes": list(settings.routes), "upstreams": list(settings.upstreams)}
        asked = {"online": [asdict(one) for one in found]} if arguments.online else {}
        print(json.dumps({"valid": True, **names, "warnings": minded, **asked}))
    else:
        print(f"{arguments.config} is valid.")
        online = [f"upstream {one.upstream}: {one.replica} {one.said}" for one in found]
        for line in (*explained(settings, os.environ), *(f"warning: {one}" for one in minded), *online):
            print(line)
    return 0 if all(one.usable for one in found) else NOT_USABLE


def _heavy(settings: Settings, *, online: bool) -> list[str]:
    """What to mind of the traffic that the log has seen; a log in a bucket is only read when that is asked for."""
    by_unit = {name for name, route in settings.routes.items() if route.unit.order}
    if not by_unit or not (online or settings.logs.startswith("file:")):
        return []
    found = heavy_units(Source(settings.logs, places.spool(settings)))
    return [
        f"route {one.route}: one unit sent {one.requests} of the last day's {one.of} requests; wherever it falls, it decides "
        "a comparison alone; name a finer unit, such as header:NAME"
        for one in found
        if one.route in by_unit
    ]


def _ask_upstreams(settings: Settings) -> list[Finding]:
    wanted = _models(settings)
    pairs = [(upstream, replica) for upstream in settings.upstreams.values() for replica in upstream.replicas]
    with ThreadPoolExecutor(AT_ONCE, "online") as pool:
        return list(pool.map(lambda pair: find_out(pair[0], pair[1], sorted(wanted[pair[0].name])), pairs))


def _models(settings: Settings) -> Mapping[str, set[str]]:
    """The models that routes ask each upstream for, by the file. A student's adapter may be loaded later."""
    wanted: dict[str, set[str]] = {name: set() for name in settings.upstreams}
    for route in settings.routes.values():
        wanted[route.teacher.upstream].add(route.teacher.model)
    return wanted
