"""`graduand routes` and `graduand adapters`: they talk to a running gateway's admin plane."""

import argparse
import getpass
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.table import Column, Table

from graduand.gateway.config import read
from graduand.gateway.errors import ConfigError, GraduandError

DEFAULT_ADMIN = "http://127.0.0.1:8081"
TIMEOUT_S = 300.0

Subparsers = argparse._SubParsersAction


class AdminRefused(GraduandError, RuntimeError):
    """The admin plane refused or could not be reached; the message is its own."""


def _who() -> str:
    """Whoever asks, for the audit trail; the user of a container often has an id only."""
    try:
        return os.environ.get("GRADUAND_WHO") or getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid {os.getuid()}"


class Admin:
    """A client of the admin plane."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call; return its JSON answer or raise AdminRefused with the reason."""
        headers = {"x-graduand-who": _who()}
        try:
            with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
                answer = client.request(method, self._base_url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise AdminRefused(
                f"the admin plane at {self._base_url} cannot be reached ({error}); start `graduand serve`, or name it "
                "with --admin URL or --config FILE"
            ) from error
        try:
            data = answer.json()
        except ValueError as error:
            raise AdminRefused(
                f"{self._base_url} is not Graduand's admin plane (status {answer.status_code})"
            ) from error
        if answer.status_code >= 400:
            raise AdminRefused(data.get("error", {}).get("message", str(data)))
        return data


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `routes` and `adapters`."""
    routes = commands.add_parser("routes", help="see and change routes of a running gateway")
    of_routes = routes.add_subparsers(metavar="ACTION", required=True)
    listing = leaf_of(of_routes, "list", "list the routes", _routes_list)
    listing.add_argument("--json", action="store_true", help="print JSON")
    change = leaf_of(of_routes, "set", "change a route's mode, weight or adapter", _routes_set)
    change.add_argument("route", help="the route's name")
    change.add_argument("--mode", help="teacher, shadow, canary, hybrid or student")
    change.add_argument("--weight", type=float, help="percent of units that the student answers, in steps of 0.01")
    change.add_argument("--adapter", help="another adapter for the student arm")
    change.add_argument("--version", type=int, help="refuse unless the route is at this version")
    change.add_argument("--from-file", action="store_true", help="undo what was changed at run time")
    change.add_argument("--why", default="", help="a reason, kept with the change")
    change.add_argument("--json", action="store_true", help="print JSON")

    adapters = commands.add_parser("adapters", help="see and change adapters on upstreams")
    of_adapters = adapters.add_subparsers(metavar="ACTION", required=True)
    listing = leaf_of(of_adapters, "list", "list the adapters and where they are", _adapters_list)
    listing.add_argument("--json", action="store_true", help="print JSON")
    add = leaf_of(of_adapters, "add", "load an adapter on every replica and verify it", _adapters_add)
    add.add_argument(
        "adapter", metavar="NAME=SOURCE",
        help="its name, and the folder it is in, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or hub:OWNER/NAME[@REVISION]",
    )  # fmt: skip
    add.add_argument("--digest", default="", help="what its digest begins with; needed for what is not a folder")
    add.add_argument("--upstream", required=True, help="the upstream to load it on")
    add.add_argument("--json", action="store_true", help="print JSON")
    for name, text, run in (
        ("remove", "unload an adapter", _adapters_remove),
        ("verify", "prove that an adapter is applied on every replica", _adapters_verify),
    ):
        leaf = leaf_of(of_adapters, name, text, run)
        leaf.add_argument("name", help="the adapter's name, digest included")
        leaf.add_argument("--json", action="store_true", help="print JSON")


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


def _routes_list(arguments: argparse.Namespace) -> int:
    data = admin_of(arguments).call("GET", "/v1/routes")
    if arguments.json:
        print(json.dumps(data, indent=2))
        return 0
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
    return 0


def _copies(route: dict[str, Any]) -> list[str]:
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
    if arguments.json:
        print(json.dumps(route, indent=2))
    else:
        print(f"{route['name']}: mode {route['mode']}, weight {route['weight']:g}%, version {route['version']}")
    return 0


def _adapters_list(arguments: argparse.Namespace) -> int:
    data = admin_of(arguments).call("GET", "/v1/adapters")
    if arguments.json:
        print(json.dumps(data, indent=2))
        return 0
    # Folded, never cut: names are there to be copied.
    table = Table(*(Column(name, overflow="fold") for name in ("adapter", "upstream", "replica", "state", "path")))
    for one in data["adapters"]:
        for place in one["replicas"] or [{"replica": "-", "state": "no place"}]:
            problem = f": {place['problem']}" if "problem" in place else ""
            table.add_row(one["name"], one["upstream"], place["replica"], place["state"] + problem, one["path"])
    Console().print(table)
    return 0


def _adapters_add(arguments: argparse.Namespace) -> int:
    from graduand.gateway.fleet.artifacts import is_remote  # brings what talks to buckets, which no other command needs

    name, equals, folder = arguments.adapter.partition("=")
    if not equals or not name or not folder:
        raise ConfigError(f"{arguments.adapter!r} is not NAME=SOURCE, such as support-triage=./adapters/support-triage")
    path = folder if is_remote(folder) else str(Path(folder).resolve())
    body = {"name": name, "path": path, "upstream": arguments.upstream, "digest": arguments.digest}
    added = admin_of(arguments).call("POST", "/v1/adapters", body)
    if arguments.json:
        print(json.dumps(added, indent=2))
    elif not added["replicas"]:
        print(
            f"{added['name']} is registered; where it gets a place on {added['upstream']}, graduand adapters list says"
        )
    else:
        print(f"{added['name']} is loaded and applied on {len(added['replicas'])} replica(s) of {added['upstream']}")
    return 0


def _adapters_remove(arguments: argparse.Namespace) -> int:
    removed = admin_of(arguments).call("DELETE", f"/v1/adapters/{quote(arguments.name, safe='')}")
    print(json.dumps(removed) if arguments.json else f"{removed['removed']} was removed")
    return 0


def _adapters_verify(arguments: argparse.Namespace) -> int:
    data = admin_of(arguments).call("GET", f"/v1/adapters/{quote(arguments.name, safe='')}/verify")
    if arguments.json:
        print(json.dumps(data, indent=2))
    for replica in [] if arguments.json else data["replicas"]:
        text = "applied" if replica["applied"] else replica["problem"]
        apart = replica["largest_logprob_difference"]
        print(
            f"{replica['replica']}: {text}" + ("" if apart is None else f" (log probabilities differ by {apart:.3g})")
        )
    return 0 if data["applied"] else 1
