"""`graduand adapters`: see and change the adapters of a running gateway."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Column, Table

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.errors import ConfigError

Json = dict[str, Any]


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `adapters`."""
    adapters = commands.add_parser("adapters", help="see and change adapters on upstreams")
    of_adapters = adapters.add_subparsers(metavar="ACTION", required=True)
    leaf_of(of_adapters, "list", "list the adapters and where they are", _adapters_list)
    add = leaf_of(of_adapters, "add", "load an adapter on every replica and verify it", _adapters_add)
    add.add_argument(
        "adapter", metavar="NAME=SOURCE",
        help="its name, and the folder it is in, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or hub:OWNER/NAME[@REVISION]",
    )  # fmt: skip
    add.add_argument("--digest", default="", help="what its digest begins with; needed for what is not a folder")
    add.add_argument("--upstream", required=True, help="the upstream to load it on")
    for name, text, run in (
        ("remove", "unload an adapter", _adapters_remove),
        ("verify", "prove that an adapter is applied on every replica", _adapters_verify),
    ):
        leaf = leaf_of(of_adapters, name, text, run)
        leaf.add_argument("name", help="the adapter's name, digest included")


def _adapters_list(arguments: argparse.Namespace) -> int:
    return out(arguments, admin_of(arguments).call("GET", "/v1/adapters"), _show_list)


def _show_list(data: Json) -> None:
    # Folded, never cut: names are there to be copied.
    table = Table(*(Column(name, overflow="fold") for name in ("adapter", "upstream", "replica", "state", "path")))
    for one in data["adapters"]:
        for place in one["replicas"] or [{"replica": "-", "state": "no place"}]:
            problem = f": {place['problem']}" if "problem" in place else ""
            table.add_row(one["name"], one["upstream"], place["replica"], place["state"] + problem, one["path"])
    Console().print(table)


def _adapters_add(arguments: argparse.Namespace) -> int:
    from graduand.gateway.fleet.artifacts import is_remote  # brings what talks to buckets, which no other command needs

    name, equals, folder = arguments.adapter.partition("=")
    if not equals or not name or not folder:
        raise ConfigError(f"{arguments.adapter!r} is not NAME=SOURCE, such as support-triage=./adapters/support-triage")
    path = folder if is_remote(folder) else str(Path(folder).resolve())
    body = {"name": name, "path": path, "upstream": arguments.upstream, "digest": arguments.digest}
    return out(arguments, admin_of(arguments).call("POST", "/v1/adapters", body), _show_added)


def _show_added(added: Json) -> None:
    if not added["replicas"]:
        print(
            f"{added['name']} is registered; where it gets a place on {added['upstream']}, graduand adapters list says"
        )
    else:
        print(f"{added['name']} is loaded and applied on {len(added['replicas'])} replica(s) of {added['upstream']}")


def _adapters_remove(arguments: argparse.Namespace) -> int:
    removed = admin_of(arguments).call("DELETE", f"/v1/adapters/{quote(arguments.name, safe='')}")
    return out(arguments, removed, lambda _: print(f"{removed['removed']} was removed"))


def _adapters_verify(arguments: argparse.Namespace) -> int:
    data = admin_of(arguments).call("GET", f"/v1/adapters/{quote(arguments.name, safe='')}/verify")
    out(arguments, data, _show_proofs)
    return 0 if data["applied"] else 1


def _show_proofs(data: Json) -> None:
    for replica in data["replicas"]:
        text = "applied" if replica["applied"] else replica["problem"]
        apart = replica["largest_logprob_difference"]
        print(
            f"{replica['replica']}: {text}" + ("" if apart is None else f" (log probabilities differ by {apart:.3g})")
        )
