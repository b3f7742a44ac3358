"""`graduand state`: the state store as a running gateway sees it, and taking an emptied Redis for it."""

import argparse
from typing import Any

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `state`."""
    state = commands.add_parser("state", help="see the state store; go on after a Redis has lost its data")
    actions = state.add_subparsers(metavar="ACTION", required=True)
    leaf_of(actions, "show", "whether the store is there, and who serves by which version", _show)
    accept = leaf_of(
        actions,
        "accept",
        "take an emptied or another Redis for the store, with the routes that are served now",
        _accept,
    )
    accept.add_argument("--why", default="", help="a reason, kept with the change")


def _show(arguments: argparse.Namespace) -> int:
    data: dict[str, Any] = admin_of(arguments).call("GET", "/v1/state")
    out(arguments, data, _show_store)
    return 0 if data["up"] else 1


def _show_store(data: dict[str, Any]) -> None:
    print(f"state: {data['state']}, " + (f"version {data['version']}" if data["up"] else "not usable"))
    print(f"leader of rollouts: {data['leader'] or 'none'}")
    if data["manager"]:
        print(f"manager of the fleet: {data['manager']}")
    for worker, version in sorted(data["workers"].items()):
        print(f"worker {worker} serves by version {version}")
    if data["problem"]:
        print(f"problem: {data['problem']}")


def _accept(arguments: argparse.Namespace) -> int:
    data = admin_of(arguments).call("POST", "/v1/state/accept", {"why": arguments.why})
    routes = ", ".join(data["routes"]) or "none"
    return out(arguments, data, lambda _: print(f"this Redis is the store now; routes carried over: {routes}"))
