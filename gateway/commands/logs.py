"""`graduand logs`: query, export and feedback. Imports DuckDB and Arrow only when one runs."""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from graduand.gateway.client.options import Subparsers, admin_of, leaf_of, out
from graduand.gateway.errors import ConfigError

EXPORT_FORMATS = ("chat", "prompt-completion", "raw")
SHOWN = 80


def add_parser(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    """Register `logs` and its sub-commands."""
    logs = commands.add_parser("logs", help="ask the log, export training data, give feedback")
    of_logs = logs.add_subparsers(metavar="ACTION", required=True)
    query = _leaf(of_logs, "query", "run one SELECT over the tables log, feedback, labels, drift and evidence", _query)
    query.add_argument("sql", metavar="SQL", help="for example: SELECT route, arm, count(*) FROM log GROUP BY ALL")
    query.add_argument("--csv", action="store_true", help="print CSV")
    export = _leaf(of_logs, "export", "write answers of a route as training data", _export)
    export.add_argument("--route", required=True, help="the route's name")
    export.add_argument("--format", choices=EXPORT_FORMATS, default="prompt-completion", help="of a line")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="the file to write")
    export.add_argument("--since", metavar="TIME", help="from this day or time on, such as 2026-11-22 (UTC)")
    export.add_argument("--until", metavar="TIME", help="before this day or time")
    export.add_argument("--arm", choices=("teacher", "student", "any"), default="teacher", help="whose answers")
    export.add_argument("--role", action="append", help="served, shadow or audit; may be given again (default: all)")
    export.add_argument("--where", default="", metavar="SQL", help="a condition, such as 'score > 0'")
    say = leaf_of(of_logs, "feedback", "say something about one answer", _feedback)
    say.add_argument("id", metavar="ID", help="the answer's x-graduand-id")
    say.add_argument("--score", type=float, help="a number; larger is better")
    say.add_argument("--label", help="a word, such as thumbs_up")
    say.add_argument("--correction", help="the answer as it should have been")
    say.add_argument("--comment", help="anything else")


def _leaf(commands: "Subparsers[argparse.ArgumentParser]", name: str, text: str, run: Any) -> argparse.ArgumentParser:
    leaf = commands.add_parser(name, help=text, description=text)
    where = leaf.add_mutually_exclusive_group()
    where.add_argument("--config", type=Path, metavar="FILE", help="take the log's place from this configuration")
    where.add_argument("--from", dest="source", metavar="URL", help="a folder, file:///…, s3://… or gs://…")
    leaf.add_argument("--json", action="store_true", help="print JSON")
    leaf.set_defaults(run=run)
    return leaf


def _source(arguments: argparse.Namespace) -> Any:
    from graduand.gateway.config import read
    from graduand.gateway.logs import places
    from graduand.gateway.logs.reading import Source

    if arguments.config is not None:
        settings = read.load(arguments.config)
        return Source(settings.logs, places.spool(settings))
    if arguments.source is None:
        raise ConfigError("where is the log? Give --config FILE or --from URL")
    if "://" in arguments.source and (trouble := places.problem(arguments.source)):
        raise ConfigError(f"--from: {trouble}")
    if "://" not in arguments.source and not Path(arguments.source).is_dir():
        raise ConfigError(f"--from: there is no folder {arguments.source}")
    return Source.of(arguments.source)


def _query(arguments: argparse.Namespace) -> int:
    from graduand.gateway.logs.query import Log

    with Log(_source(arguments)) as log:
        result = log.query(arguments.sql)
        names = [column[0] for column in result.description]
        rows = result.fetchall()
    if arguments.json:
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str, ensure_ascii=False))
    elif arguments.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    else:
        _print_table(names, rows)
    return 0


def _print_table(names: list[str], rows: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*names)
    for row in rows:
        texts = ["-" if value is None else str(value) for value in row]
        table.add_row(*(Text(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…") for text in texts))
    Console().print(table)


def _export(arguments: argparse.Namespace) -> int:
    from graduand.gateway.logs.export import Selection, export, moment
    from graduand.gateway.logs.query import Log

    since = 0.0 if arguments.since is None else moment(arguments.since, "--since")
    until = float("inf") if arguments.until is None else moment(arguments.until, "--until")
    arm = None if arguments.arm == "any" else arguments.arm
    selection = Selection(arguments.route, since, until, arm, tuple(arguments.role or ()), arguments.where)
    with Log(_source(arguments)) as log:
        counts = export(log, selection, arguments.format, arguments.out)
    if arguments.json:
        print(json.dumps(counts.as_json(), indent=2))
        return 0
    print(f"{counts.lines} lines of {counts.records} records, {counts.corrected} with a correction, in {arguments.out}")
    for reason, count in counts.left_out.most_common():
        print(f"  {count:6d} left out: {reason}")
    return 0


def _feedback(arguments: argparse.Namespace) -> int:
    names = ("score", "label", "correction", "comment")
    said = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    answer = admin_of(arguments).call("POST", "/v1/feedback", {"id": arguments.id, **said})
    told = "stored" if answer["stored"] else "known already: it was said before in the same words"
    return out(arguments, answer, lambda _: print(told))
