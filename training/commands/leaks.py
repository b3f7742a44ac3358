"""`graduand train leaks`: does a test set leak into the rows to train on? Exits 1 and names the rows if so."""

import argparse
import sys
from pathlib import Path

from graduand.training.commands import options
from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train leaks`."""
    parser = steps.add_parser("leaks", help="check that no test row, nor its like, is in the training rows")
    parser.add_argument("--data", type=Path, required=True, metavar="ROWS.jsonl", help="the rows to train on")
    parser.add_argument("--tests", type=Path, required=True, metavar="DIR", help="a folder with frozen test sets")
    options.add_threshold(parser)
    parser.add_argument("--json", action="store_true", help="print the leaks as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.training.data.frozen import read_frozen
    from graduand.training.data.leaks import all_leaks, summary
    from graduand.training.data.samples import read_samples

    samples, tests = read_samples(arguments.data), read_frozen(arguments.tests)
    found = all_leaks(samples, tests, arguments.threshold)
    if arguments.json:
        entries = [{"train": leak.train, "test": leak.test, "set": leak.set, "why": leak.why} for leak in found]
        options.tell_json({"rows": len(samples), "leaks": entries})
    elif found:
        print("\n".join(map(str, found)))
    else:
        print(f"no leaks: {len(samples)} training rows against {', '.join(tests)}")
    if found:
        sys.stderr.write(f"graduand: {summary(found)}\n")
    return 1 if found else 0
