"""`graduand monitors`: where the detectors stand, and the end of what an alarm has brought about."""

import argparse
import json
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `monitors`."""
    monitors = commands.add_parser("monitors", help="see drift detectors and end what their alarms brought about")
    actions = monitors.add_subparsers(metavar="ACTION", required=True)
    listing = leaf_of(actions, "list", "where every detector stands, and which verdicts stand", _list)
    listing.add_argument("--json", action="store_true", help="print JSON")
    release = leaf_of(
        actions, "release", "end a verdict: a held rollout goes on, the student gets its share back", _release
    )
    release.add_argument("route", help="the route's name")
    release.add_argument("monitor", help="novelty, mix, descriptors, check_failures or outputs")
    release.add_argument("--why", default="", help="a reason, kept with the decision")
    release.add_argument("--json", action="store_true", help="print JSON")


def _list(arguments: argparse.Namespace) -> int:
    data: dict[str, Any] = admin_of(arguments).call("GET", "/v1/monitors")
    if arguments.json:
        print(json.dumps(data, indent=2))
        return 0
    console = Console(highlight=False)
    table = Table("route", "adapter", "monitor", "seen", "value", "alarm at", "alarms")
    for one in data["monitors"]:
        if not one["problem"]:
            numbers = (f"{one['n']:,}", f"{one['value']:.4g}", f"{one['threshold']:.4g}", str(one["alarms"]))
            table.add_row(one["route"], one["adapter"], one["monitor"], *numbers)
    console.print(table if data["monitors"] else "no route is watched yet")
    for one in data["monitors"]:
        if one["problem"]:
            console.print(f"{one['route']}: inputs are not watched: {one['problem']}", markup=False, soft_wrap=True)
    for one in data["verdicts"]:
        console.print(f"{one['route']}: {one['text']}", markup=False, soft_wrap=True)
    return 0


def _release(arguments: argparse.Namespace) -> int:
    path = f"/v1/monitors/{quote(arguments.route)}/{quote(arguments.monitor, safe='')}/release"
    data = admin_of(arguments).call("POST", path, {"why": arguments.why})
    print(json.dumps(data) if arguments.json else f"{arguments.route}: the verdict of {arguments.monitor} has ended")
    return 0
