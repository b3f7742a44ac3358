"""`graduand adapters`: see and change the adapters of a running gateway."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Column, Table

from graduand.gateway.client.admin import who_asks
from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.errors import AdapterError, ConfigError

Json = dict[str, Any]
COLUMNS = ("adapter", "base", "rank", "training", "upstream", "replica", "state", "path")
CONVERT = "write an adapter as plain LoRA that every server reads alike, proved equal to PEFT"


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
    add.add_argument(
        "--rows", metavar="ROWS.jsonl",
        help="admit an adapter that was trained elsewhere first, tried on these rows (see `graduand train admit`)",
    )  # fmt: skip
    add.add_argument("--base", help="with --rows: the base (default: the one that the adapter names)")
    add.add_argument("--vouched-by", metavar="WHO", help="with --rows: who answers for it (default: you)")
    convert = of_adapters.add_parser("convert", help=CONVERT, description=CONVERT)
    convert.add_argument("source", metavar="SOURCE", type=Path, help="the folder that PEFT, MLX or a trainer saved")
    convert.add_argument("--out", metavar="DIR", type=Path, required=True, help="the new folder")
    convert.add_argument("--base", help="the base: a folder or a hub id (default: the one that the adapter names)")
    convert.set_defaults(run=_adapters_convert)
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
    table = Table(*(Column(name, overflow="fold") for name in COLUMNS))
    for one in data["adapters"]:
        for place in one["replicas"] or [{"replica": "-", "state": "no place"}]:
            problem = f": {place['problem']}" if "problem" in place else ""
            made = one["base"] or "-", str(one["rank"] or "-"), one["training"] or "-"
            where = one["upstream"], place["replica"], place["state"] + problem, one["path"]
            table.add_row(one["name"], *made, *where)
    Console().print(table)


def _adapters_add(arguments: argparse.Namespace) -> int:
    from graduand.gateway.fleet.artifacts import is_remote  # brings what talks to buckets, which no other command needs

    name, equals, folder = arguments.adapter.partition("=")
    if not equals or not name or not folder:
        raise ConfigError(f"{arguments.adapter!r} is not NAME=SOURCE, such as support-triage=./adapters/support-triage")
    path = folder if is_remote(folder) else str(Path(folder).resolve())
    if arguments.rows is not None:
        _admit(arguments, path)
    body = {"name": name, "path": path, "upstream": arguments.upstream, "digest": arguments.digest}
    return out(arguments, admin_of(arguments).call("POST", "/v1/adapters", body), _show_added)


def _show_added(added: Json) -> None:
    if not added["replicas"]:
        print(
            f"{added['name']} is registered; where it gets a place on {added['upstream']}, graduand adapters list says"
        )
    else:
        print(f"{added['name']} is loaded and applied on {len(added['replicas'])} replica(s) of {added['upstream']}")


def _admit(arguments: argparse.Namespace, path: str) -> None:
    """Have `graduand train admit` try the adapter here, whose record the gateway then asks for; it says why, if not."""
    from graduand.gateway.fleet.artifacts import is_remote

    if is_remote(path):
        raise ConfigError(f"--rows tries the adapter on this machine: fetch {path} into a folder first")
    who = arguments.vouched_by or who_asks()
    command = [sys.executable, "-m", "graduand", "train", "admit", "--adapter", path, "--data", arguments.rows]
    command += ["--vouched-by", who, *(("--base", arguments.base) if arguments.base else ())]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise AdapterError(f"{path} was not admitted, so it was not added; the reason stands above")


def _adapters_convert(arguments: argparse.Namespace) -> int:
    try:
        from graduand.gateway.adapters.convert import convert

        made = convert(arguments.source, arguments.out, arguments.base)
    except ImportError as error:
        raise ConfigError(f"the conversion needs more packages ({error}): pip install 'graduand[training]'") from error
    print(f"{made.path} has the digest {made.digest}: {'; '.join(made.done)}")
    print(
        f"PEFT says the same with it as with {arguments.source}: log probabilities differ by at most {made.apart:.2g}"
    )
    return 0


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
