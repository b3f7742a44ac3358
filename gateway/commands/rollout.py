"""`graduand rollout`: plan, start, look at and move rollouts of a running gateway, through its admin plane.

`simulate` and `curve` need no gateway. Exit codes: 0 success, 1 refused or failed, 2 bad usage or a
specification that cannot be read; `verify` has two more (gateway.commands.certificate).
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from graduand.gateway.client.admin import Admin
from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.client.spec import read_spec
from graduand.gateway.commands import certificate
from graduand.gateway.config import read
from graduand.gateway.errors import ConfigError

Json = dict[str, Any]
VERBS = {
    "pause": "hold it where it is; nobody is moved, harm still rolls back",
    "resume": "go on after a pause or a hold",
    "approve": "approve the step that waits for it",
    "deny": "deny the step that waits for approval",
    "promote": "go one step further without the evidence (--full: to the end); needs --why",
    "skip": "leave this step out; needs --why",
    "abort": "end it; the teacher answers everything",
    "retry": "start over with fresh evidence and other users first",
    "rollback": "weight 0 now",
}
ENDED = ("promoted", "rolled_back", "aborted", "superseded")


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `rollout`."""
    rollout = commands.add_parser("rollout", help="move a route to its student, step by step, on evidence")
    actions = rollout.add_subparsers(metavar="ACTION", required=True)
    _spec_actions(actions)
    _curve_action(actions)
    _evaluate_action(actions)
    _looking(actions)
    certificate.add_actions(actions, _path)
    for verb, text in VERBS.items():
        leaf = leaf_of(actions, verb, text, lambda arguments, verb=verb: _verb(arguments, verb))
        leaf.add_argument("rollout", help="a rollout's id, or a route: its newest rollout")
        leaf.add_argument("--why", default="", help="a reason, kept with the decision")
        leaf.add_argument("--version", type=int, help="refuse unless the rollout is at this version")
        leaf.add_argument("--key", default="", help="idempotency key: the same one again does nothing more")
        if verb == "promote":
            leaf.add_argument("--full", action="store_true", help="past all steps at once")


def _spec_actions(actions: "Subparsers[argparse.ArgumentParser]") -> None:
    plan = leaf_of(actions, "plan", "what a rollout would take: pairs, time, what holds it up", _plan)
    plan.add_argument("spec", type=Path, metavar="FILE", help="the rollout's specification")
    plan.add_argument("--requests-per-s", type=float, help="traffic to reckon with (default: the log's)")
    plan.add_argument("--agreement", type=float, help="agreement to reckon with, such as 0.98")
    start = leaf_of(actions, "start", "start a rollout", _start)
    start.add_argument("spec", type=Path, metavar="FILE", help="the rollout's specification")
    start.add_argument("--why", default="", help="a reason, kept with the decision")
    start.add_argument("--key", default="", help="idempotency key: the same one again starts nothing new")
    simulate = leaf_of(actions, "simulate", "play a policy against students, made up or logged", _simulate)
    simulate.add_argument("spec", type=Path, metavar="FILE", help="the rollout's specification")
    simulate.add_argument("--agreement", type=float, default=0.98, help="how often the student agrees (default: 0.98)")
    simulate.add_argument(
        "--separation", type=float, default=2.0,
        help="hybrid: how well its confidence tells right from wrong; 0 not at all (default: 2)",
    )  # fmt: skip
    simulate.add_argument("--logs", metavar="URL", help="draw outcomes from the pairs logged here (folder, address)")
    simulate.add_argument("--error-rate", type=float, default=0.01, help="of the teacher (default: 0.01)")
    simulate.add_argument("--error-ratio", type=float, default=1.0, help="the student's rate over it (default: 1)")
    simulate.add_argument("--requests-per-s", type=float, default=1.0, help="traffic (default: 1)")
    simulate.add_argument("--runs", type=int, default=10, help="rollouts to play (default: 10)")
    simulate.add_argument("--seed", type=int, default=7, help="of what is drawn (default: 7)")


def _curve_action(actions: "Subparsers[argparse.ArgumentParser]") -> None:
    curve = leaf_of(actions, "curve", "cost against quality, from a log's pairs: numbers and a picture", _curve)
    curve.add_argument(
        "--from", required=True, dest="logs", metavar="URL", help="the gateway's log: a folder or an address"
    )
    curve.add_argument("--route", required=True, help="whose pairs")
    curve.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where curve.json and curve.png go")
    curve.add_argument(
        "--spec", type=Path, metavar="FILE", help="a rollout with a task: (default: the route's in --config)"
    )


def _evaluate_action(actions: "Subparsers[argparse.ArgumentParser]") -> None:
    leaf = leaf_of(actions, "evaluate-policy", "what another share of users would have earned, from a log", _evaluate)
    leaf.add_argument(
        "--from", required=True, dest="logs", metavar="URL", help="the gateway's log: a folder or an address"
    )
    leaf.add_argument("--route", required=True, help="whose requests")
    leaf.add_argument("--weight", type=float, required=True, help="percent of users that would have the student")
    leaf.add_argument("--reward", required=True, help="what is counted: answered, cost or seconds")
    leaf.add_argument("--since", metavar="TIME", help="only requests from this ISO time on")
    leaf.add_argument("--until", metavar="TIME", help="only requests before this ISO time")


def _looking(actions: "Subparsers[argparse.ArgumentParser]") -> None:
    listing = leaf_of(actions, "list", "list the rollouts", _list)
    listing.add_argument("--route", help="of this route only")
    for name, text, run in (
        ("status", "where a rollout stands", _status),
        ("explain", "why it is where it is, and what is missing", _explain),
        ("history", "what happened, who did it and why", _history),
    ):
        leaf = leaf_of(actions, name, text, run)
        leaf.add_argument("rollout", help="a rollout's id, or a route: its newest rollout")
    watch = leaf_of(actions, "watch", "follow a rollout until it ends; exit code 0 if it is promoted", _watch)
    watch.add_argument("rollout", help="a rollout's id, or a route: its newest rollout")
    watch.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="between two looks (default: 1)")


def _path(admin: Admin, name: str, more: str = "") -> str:
    if "/" in name:  # no part of an address: such a route is found by its list
        found = admin.call("GET", f"/v1/rollouts?{urlencode({'route': name})}")["rollouts"]
        name = found[0]["id"] if found else name
    return f"/v1/rollouts/{quote(name, safe='')}{more}"


def _plan(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    wanted = {
        "spec": read_spec(arguments.spec),
        "requests_per_s": arguments.requests_per_s,
        "agreement": arguments.agreement,
    }
    data = admin_of(arguments).call("POST", "/v1/rollouts/plan", wanted)
    return out(arguments, data, screen.plan)


def _start(arguments: argparse.Namespace) -> int:
    body = {"spec": read_spec(arguments.spec), "why": arguments.why, "key": arguments.key}
    data = admin_of(arguments).call("POST", "/v1/rollouts", body)
    told = f"{data['id']} has started; follow it with: graduand rollout watch {data['id']}"
    told = "\n".join([*(f"warning: {one}" for one in data["warnings"]), told])
    return out(arguments, data, lambda _: print(told))


def _simulate(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen
    from graduand.gateway.control.study import planning, replay
    from graduand.gateway.logs.reading import Source
    from graduand.rollout.simulate.policy import Scenario
    from graduand.rollout.spec import file as specfile

    spec = specfile.read(read_spec(arguments.spec))
    if arguments.runs < 1 or not 0 < arguments.agreement < 1:
        raise ConfigError("--runs must be at least 1, and --agreement lie between 0 and 1")
    if arguments.separation < 0:
        raise ConfigError("--separation must be 0 or more")
    described = Scenario(
        arguments.agreement, separation=arguments.separation, error_rate=arguments.error_rate,
        error_ratio=arguments.error_ratio, requests_per_s=arguments.requests_per_s,
    )  # fmt: skip
    scenario, known = described, None
    if arguments.logs is not None:
        scenario, known = replay.scenario(Source.of(arguments.logs), spec, described)
    with screen.busy("playing; a student at the bound takes seconds a rollout"):
        students = planning.simulate(spec, scenario, arguments.runs, arguments.seed)
    data = {"runs": arguments.runs, "seed": arguments.seed, "students": students, "traffic": known and asdict(known)}
    return out(arguments, data, screen.simulation)


def _curve(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen
    from graduand.gateway.control.study import tradeoff
    from graduand.gateway.logs.reading import Source
    from graduand.rollout.answers import tasks

    found, data = tradeoff.of_log(Source.of(arguments.logs), arguments.route, tasks.read(_written_task(arguments)))
    data["written"], data["not_written"] = [str(tradeoff.write(arguments.out, data))], ""
    try:
        drawn = tradeoff.Drawn(arguments.route, found, data["pairs"])
        data["written"].append(str(tradeoff.draw([drawn], arguments.out / "curve.png")))
    except tradeoff.CannotDraw as error:
        data["not_written"] = str(error)
    return out(arguments, data, screen.curve)


def _evaluate(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen
    from graduand.gateway.control.study import offpolicy
    from graduand.gateway.logs.reading import Source

    asked = offpolicy.Question(
        arguments.route, arguments.weight, arguments.reward,
        offpolicy.moment(arguments.since) if arguments.since else 0.0,
        offpolicy.moment(arguments.until) if arguments.until else float("inf"),
    )  # fmt: skip
    return out(arguments, offpolicy.evaluate(Source.of(arguments.logs), asked), screen.policy_value)


def _written_task(arguments: argparse.Namespace) -> Json:
    if arguments.spec is not None:
        task = read_spec(arguments.spec).get("task")
    else:
        if arguments.config is None:
            raise ConfigError(
                "answers are compared by a task; give --config (its route has task:) or --spec (a rollout)"
            )
        route = read.load(arguments.config).routes.get(arguments.route)
        task = None if route is None else route.task
    if task is None:
        raise ConfigError(
            f"{arguments.spec or arguments.config} has no task for route {arguments.route!r}, so its answers cannot be "
            "compared; add, say, task: {kind: label, labels: [yes, no]} or task: {kind: json}"
        )
    return dict(task)


def _list(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    query = f"?{urlencode({'route': arguments.route})}" if arguments.route else ""
    data = admin_of(arguments).call("GET", f"/v1/rollouts{query}")
    return out(arguments, data, screen.listing)


def _status(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    return out(arguments, _get(arguments), screen.status)


def _explain(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    return out(arguments, _get(arguments, "/explain"), screen.explain)


def _history(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    return out(arguments, _get(arguments, "/history"), screen.history)


def _get(arguments: argparse.Namespace, more: str = "") -> Json:
    admin = admin_of(arguments)
    data: Json = admin.call("GET", _path(admin, arguments.rollout, more))
    return data


def _verb(arguments: argparse.Namespace, verb: str) -> int:
    body = {"why": arguments.why, "key": arguments.key, "version": arguments.version}
    if getattr(arguments, "full", False):
        body["full"] = True
    admin = admin_of(arguments)
    data = admin.call("POST", _path(admin, arguments.rollout, f"/{verb}"), body)
    where = f"{data['id']}: {data['phase']}" + f" ({data['hold']})" * bool(data["hold"])
    return out(arguments, data, lambda _: print(f"{where}, mode {data['mode']}, weight {data['weight']:g}%"))


def _watch(arguments: argparse.Namespace) -> int:
    from graduand.gateway.commands import screen

    admin = admin_of(arguments)
    path = _path(admin, arguments.rollout)
    if arguments.json:
        return _watch_lines(admin, path, arguments.every)
    with screen.live() as show:
        while True:
            data = admin.call("GET", path)
            show(data)
            if data["phase"] in ENDED:
                return _ended(data)
            time.sleep(arguments.every)


def _watch_lines(admin: Admin, path: str, every_s: float) -> int:
    """One line of JSON whenever the rollout has moved."""
    version = -1
    while True:
        data = admin.call("GET", path)
        if data["version"] != version:
            version = data["version"]
            print(json.dumps(data))
            sys.stdout.flush()
        if data["phase"] in ENDED:
            return _ended(data)
        time.sleep(every_s)


def _ended(data: Json) -> int:
    return 0 if data["phase"] == "promoted" else 1
