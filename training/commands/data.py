"""`graduand train data`: rows from the gateway's log, JSON lines, CSV, or the article's comments."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from graduand.training.commands import options
from graduand.training.commands.options import Commands

if TYPE_CHECKING:
    from graduand.training.data.collapse import Collapse
    from graduand.training.data.samples import Sample
    from graduand.training.stages.stage import Outcome


def add_parser(steps: Commands) -> None:
    """Register `train data` and its sources."""
    data = steps.add_parser("data", help="make rows")
    sources = data.add_subparsers(title="sources", metavar="SOURCE", required=True)
    _add_logs(sources)
    for kind in ("jsonl", "csv"):
        _add_table(sources, kind)
    _add_jigsaw(sources)


def _add_logs(sources: Commands) -> None:
    logs = sources.add_parser("logs", help="rows from the gateway's request log")
    logs.add_argument(
        "--from", dest="logs", required=True, metavar="URL", help="the log: a folder, file:///…, s3://… or gs://…"
    )
    logs.add_argument("--route", required=True, help="the route whose teacher answers are wanted")
    logs.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="the rows")
    logs.add_argument("--limit", type=int, metavar="N", help="at most N rows, the earliest")
    logs.add_argument("--holdout", type=float, default=0.0, metavar="SHARE", help="share kept apart for evaluation")
    logs.add_argument("--json", action="store_true", help="print the counts as JSON")
    logs.set_defaults(run=_run_logs)


def _run_logs(arguments: argparse.Namespace) -> int:
    from graduand.training.data.logs import write_rows

    counts = write_rows(arguments.logs, arguments.route, arguments.out, arguments.limit, arguments.holdout)
    if arguments.json:
        print(json.dumps(counts.as_json(), indent=2))
        return 0
    print(counts.text())
    return 0


def _add_table(sources: Commands, kind: str) -> None:
    table = sources.add_parser(kind, help=f"samples from {'a CSV file' if kind == 'csv' else 'JSON lines'}")
    table.add_argument("--from", dest="file", type=Path, required=True, metavar="FILE", help="the file to read")
    table.add_argument("--text", required=True, metavar="COLUMN", help="what the user said")
    table.add_argument("--system", metavar="TEXT", help="a text that every chat begins with")
    for name, what in (
        ("id", "an id (else the line's number)"),
        ("completion", "the answer to learn"),
        ("user", "who asked: users are not split"),
        ("conversation", "what it is part of: conversations are not split"),
    ):
        table.add_argument(f"--{name}", metavar="COLUMN", help=what)
    table.add_argument(
        "--gold",
        metavar="COLUMN|RULE",
        help="gold: a column, or a rule such as '{any: [toxic, insult]}' that collapses some",
    )
    options.add_stage(table, "data")
    table.set_defaults(run=_run_table, kind=kind)


def _run_table(arguments: argparse.Namespace) -> int:
    from graduand.training.data import collapse, samples, tables
    from graduand.training.stages import stage
    from graduand.training.stages.progress import Progress

    rule = _rule(arguments.gold)
    names = {name: getattr(arguments, name) for name in ("text", "id", "system", "completion", "user", "conversation")}
    columns = tables.Columns(**names, gold=rule)

    def work(folder: Path, progress: Progress) -> stage.Outcome:
        read = tables.csv_records if arguments.kind == "csv" else tables.json_records
        found, left_out = tables.samples_of(read(arguments.file), columns, arguments.file.name)
        return _written(folder, found, left_out)

    parameters = {**names, "kind": arguments.kind, "gold": rule.model_dump() if rule else None}
    made = options.made_by(arguments, work, {"table": arguments.file}, parameters, (tables, collapse, samples))
    return options.tell(made, arguments, [_counts_line(made.figures)])


def _rule(given: str | None) -> "Collapse | None":
    from graduand.rollout.answers.strict import checked
    from graduand.training.data.collapse import Collapse

    if given is None:
        return None
    data = yaml.safe_load(given) if given.lstrip().startswith("{") else {"column": given}
    return checked(Collapse, data, "--gold")


def _written(folder: Path, found: "list[Sample]", left_out: Counter[str]) -> "Outcome":
    from graduand.training.data.rows import DataError
    from graduand.training.data.samples import write_samples
    from graduand.training.stages import markdown, stage

    if not found:
        raise DataError(f"no record makes a sample; left out: {dict(left_out)}")
    write_samples(folder / "rows.jsonl", found)
    gold = Counter(sample.gold for sample in found if sample.gold is not None)
    figures = {"rows": len(found), "gold": dict(gold.most_common(20)), "left_out": dict(left_out)}
    report = [
        "# Data",
        f"{len(found)} samples.",
        markdown.table(("left out because", "rows"), left_out.most_common()) if left_out else "Nothing was left out.",
        markdown.table(("gold", "rows"), gold.most_common(20)) if gold else "No gold.",
    ]
    return stage.Outcome(figures, "\n\n".join(report))


def _counts_line(figures: dict[str, Any]) -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in figures["left_out"].items()) or "none"
    return f"{figures['rows']} rows; left out: {left_out}"


def _add_jigsaw(sources: Commands) -> None:
    jigsaw = sources.add_parser("jigsaw", help="the article's data, as Kaggle's CSV files or with recorded answers")
    jigsaw.add_argument(
        "--from",
        dest="folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder with the article's files or Kaggle's",
    )
    options.add_stage(jigsaw, "jigsaw")
    jigsaw.set_defaults(run=_run_jigsaw)


def _run_jigsaw(arguments: argparse.Namespace) -> int:
    from graduand.training.data import jigsaw, jigsaw_stage, tables

    work, inputs = jigsaw_stage.work(arguments.folder), {"comments": arguments.folder}
    made = options.made_by(arguments, work, inputs, {}, (jigsaw, jigsaw_stage, tables))
    lines = [f"{name}: {figures['rows']} rows" for name, figures in made.figures["files"].items()]
    return options.tell(made, arguments, lines)
