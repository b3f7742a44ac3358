"""`graduand monitors`: where the detectors stand, and the end of what an alarm has brought about."""

import argparse
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `monitors`."""
    monitors = commands.add_parser("monitors", help="see drift detectors and end what their alarms brought about")
    actions = monitors.add_subparsers(metavar="ACTION", required=True)
    leaf_of(actions, "list", "where every detector stands, and which verdicts stand", _list)
    release = leaf_of(
        actions, "release", "end a verdict: a held rollout goes on, the student gets its share back", _release
    )
    release.add_argument("route", help="the route's name")
    release.add_argument("monitor", help="novelty, mix, descriptors, check_failures or outputs")
    release.add_argument("--why", default="", help="a reason, kept with the decision")


def _list(arguments: argparse.Namespace) -> int:
    return out(arguments, admin_of(arguments).call("GET", "/v1/monitors"), _show)


def _show(data: dict[str, Any]) -> None:
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


def _release(arguments: argparse.Namespace) -> int:
    path = f"/v1/monitors/{quote(arguments.route)}/{quote(arguments.monitor, safe='')}/release"
    data = admin_of(arguments).call("POST", path, {"why": arguments.why})
    return out(arguments, data, lambda _: print(f"{arguments.route}: the verdict of {arguments.monitor} has ended"))
