"""`graduand review`: label the requests that a rollout has drawn, one at a time, through a running gateway's admin plane."""

import argparse
import json
from typing import Any
from urllib.parse import urlencode

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of

Json = dict[str, Any]
# Of one answer there is no both and neither.
WORDS = {"A": "A", "B": "B", "both": "both", "neither": "neither", "right": "both", "wrong": "neither", "skip": "skip"}


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `review` and its sub-commands."""
    review = commands.add_parser("review", help="label the answers that a rollout asks people about")
    actions = review.add_subparsers(metavar="ACTION", required=True)
    listing = leaf_of(actions, "list", "the rollouts that ask, and how many requests wait", _list)
    following = leaf_of(actions, "next", "the next request and its answers; nobody says whose is which", _next)
    following.add_argument("rollout", nargs="?", default="", help="a rollout's id, or a route (default: any)")
    label = leaf_of(actions, "label", "say which answers are right; the first label of a request counts", _label)
    label.add_argument("id", metavar="ID", help="of the request, as `next` shows it")
    label.add_argument(
        "verdict", choices=tuple(WORDS), help="skip: cannot tell, which counts as wrong; right and wrong: of one answer"
    )
    for leaf in (listing, following, label):
        leaf.add_argument("--json", action="store_true", help="print JSON")


def _list(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    return _out(arguments, admin_of(arguments).call("GET", "/v1/review"), screen.reviews)


def _next(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    query = f"?{urlencode({'rollout': arguments.rollout})}" if arguments.rollout else ""
    return _out(arguments, admin_of(arguments).call("GET", f"/v1/review/next{query}"), screen.question)


def _label(arguments: argparse.Namespace) -> int:
    body = {"id": arguments.id, "verdict": WORDS[arguments.verdict]}
    data = admin_of(arguments).call("POST", "/v1/review/labels", body)
    told = "stored" if data["stored"] else "known already: it was said before"
    return _out(arguments, data, lambda _: print(told))


def _out(arguments: argparse.Namespace, data: Json, show: Any) -> int:
    if arguments.json:
        print(json.dumps(data, indent=2))
    else:
        show(data)
    return 0
