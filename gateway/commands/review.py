"""`graduand review`: label the requests that a rollout has drawn, one at a time, through a running gateway's admin plane."""

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.errors import ConfigError

Json = dict[str, Any]
# Of one answer there is no both and neither.
WORDS = {"A": "A", "B": "B", "both": "both", "neither": "neither", "right": "both", "wrong": "neither", "skip": "skip"}


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `review` and its sub-commands."""
    review = commands.add_parser("review", help="label the answers that a rollout asks people about")
    actions = review.add_subparsers(metavar="ACTION", required=True)
    leaf_of(actions, "list", "the rollouts that ask, and how many requests wait", _list)
    following = leaf_of(actions, "next", "the next request and its answers; nobody says whose is which", _next)
    following.add_argument("rollout", nargs="?", default="", help="a rollout's id, or a route (default: any)")
    label = leaf_of(actions, "label", "say which answers are right; the first label of a request counts", _label)
    label.add_argument("id", metavar="ID", help="of the request, as `next` shows it")
    label.add_argument(
        "verdict", choices=tuple(WORDS), help="skip: cannot tell, which counts as wrong; right and wrong: of one answer"
    )
    export = leaf_of(actions, "export", "write all requests that wait, to be labelled elsewhere", _export)
    export.add_argument("rollout", nargs="?", default="", help="a rollout's id, or a route (default: any)")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="the file to write")
    taken = leaf_of(actions, "import", "take in such a file, all of it or nothing, once verdicts are in it", _import)
    taken.add_argument("file", type=Path, metavar="FILE.jsonl", help="its first line says how the requests were drawn")


def _list(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    return out(arguments, admin_of(arguments).call("GET", "/v1/review"), screen.reviews)


def _next(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    query = f"?{urlencode({'rollout': arguments.rollout})}" if arguments.rollout else ""
    return out(arguments, admin_of(arguments).call("GET", f"/v1/review/next{query}"), screen.question)


def _label(arguments: argparse.Namespace) -> int:
    body = {"id": arguments.id, "verdict": WORDS[arguments.verdict]}
    data = admin_of(arguments).call("POST", "/v1/review/labels", body)
    told = "stored" if data["stored"] else "known already: it was said before"
    return out(arguments, data, lambda _: print(told))


def _export(arguments: argparse.Namespace) -> int:
    query = f"?{urlencode({'rollout': arguments.rollout})}" if arguments.rollout else ""
    data = admin_of(arguments).call("GET", f"/v1/review/export{query}")
    lines = [{"population": data["population"]}, *data["labels"]]
    arguments.out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    told = f"{len(data['labels'])} requests in {arguments.out}; write a verdict into each (A, B, both, neither, skip)"
    return out(arguments, {"population": data["population"], "requests": len(data["labels"])}, lambda _: print(told))


def _import(arguments: argparse.Namespace) -> int:
    population, drawn = read_labels(arguments.file)
    data = admin_of(arguments).call("POST", "/v1/review/import", {"population": population, "labels": drawn})
    told = f"{data['stored']} stored, {data['known']} known already, {data['left']} without a verdict yet"
    return out(arguments, data, lambda _: print(told))


def read_labels(path: Path) -> tuple[Json, list[Json]]:
    """The population of a file of labels and its lines; ConfigError for one that does not say how they were drawn."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not lines or not isinstance(lines[0], dict) or not isinstance(lines[0].get("population"), dict):
        raise ConfigError(
            f"{path}: its first line does not say what the requests were drawn from, so its labels prove nothing; "
            "graduand review export writes such a file"
        )
    drawn: list[Json] = []
    for number, line in enumerate(lines[1:], 2):
        if not isinstance(line, dict) or "id" not in line or "probability" not in line:
            raise ConfigError(f"{path}, line {number}: a label needs the id of its request and its probability")
        verdict = line.get("verdict")
        drawn.append(
            {"id": line["id"], "probability": line["probability"], "verdict": WORDS.get(str(verdict), verdict)}
        )
    return lines[0]["population"], drawn
