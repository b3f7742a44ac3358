"""`graduand routes`: see and change the routes of a running gateway."""

import argparse
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.errors import ConfigError

Json = dict[str, Any]


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `routes`."""
    routes = commands.add_parser("routes", help="see and change routes of a running gateway")
    of_routes = routes.add_subparsers(metavar="ACTION", required=True)
    leaf_of(of_routes, "list", "list the routes", _routes_list)
    change = leaf_of(of_routes, "set", "change a route's mode, weight or adapter", _routes_set)
    change.add_argument("route", help="the route's name")
    change.add_argument("--mode", help="teacher, shadow, canary, hybrid or student")
    change.add_argument("--weight", type=float, help="percent of units that the student answers, in steps of 0.01")
    change.add_argument("--adapter", help="another adapter for the student arm")
    change.add_argument("--version", type=int, help="refuse unless the route is at this version")
    change.add_argument("--from-file", action="store_true", help="undo what was changed at run time")
    change.add_argument("--why", default="", help="a reason, kept with the change")


def _routes_list(arguments: argparse.Namespace) -> int:
    return out(arguments, admin_of(arguments).call("GET", "/v1/routes"), _show_list)


def _show_list(data: Json) -> None:
    table = Table("route", "mode", "weight", "teacher", "student", "unit", "version")
    for route in data["routes"]:
        student = route["student"]["adapter"] if route["student"] else "-"
        weight = f"{route['weight']:g}%"
        table.add_row(
            route["name"],
            route["mode"],
            weight,
            route["teacher"]["model"],
            student,
            route["unit"],
            str(route["version"]),
        )
    console = Console()
    console.print(table)
    for line in (line for route in data["routes"] for line in _copies(route)):
        console.print(line, soft_wrap=True)
    for route in data["routes"]:
        for verdict in route.get("verdicts", ()):
            console.print(f"{route['name']}: {verdict}", markup=False, highlight=False, soft_wrap=True)


def _copies(route: Json) -> list[str]:
    """What budgeted copies have used of their day."""
    return [
        f"{route['name']}: {kind} copies have used {budget[f'{unit}_today']} of {budget[f'{unit}_per_day']} {unit} today"
        for kind, budget in (("shadow", route["shadow_budget"]), ("audit", route["audit_budget"]))
        for unit in ("requests", "tokens")
        if budget is not None and budget[f"{unit}_per_day"]
    ]


def _routes_set(arguments: argparse.Namespace) -> int:
    change = {
        "mode": arguments.mode, "weight": arguments.weight, "version": arguments.version, "adapter": arguments.adapter,
        "from_file": arguments.from_file or None, "why": arguments.why or None,
    }  # fmt: skip
    given = {key: value for key, value in change.items() if value is not None}
    if not given.keys() & {"mode", "weight", "adapter", "from_file"}:
        raise ConfigError("nothing to change: give --mode, --weight, --adapter or --from-file")
    route = admin_of(arguments).call("PATCH", f"/v1/routes/{quote(arguments.route)}", given)
    now = f"{route['name']}: mode {route['mode']}, weight {route['weight']:g}%, version {route['version']}"
    return out(arguments, route, lambda _: print(now))
