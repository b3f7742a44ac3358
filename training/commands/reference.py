"""`graduand train reference`: an adapter's reference set, by which drift of its traffic is seen."""

import argparse
import json
from pathlib import Path

from graduand.training.commands.options import Commands


def add_parser(steps: Commands) -> None:
    """Register `train reference`."""
    text = "make an adapter's reference set, by which drift of its traffic is seen"
    reference = steps.add_parser("reference", help=text, description=f"{text}. `fit` leaves one by itself.")
    reference.add_argument("--data", type=Path, required=True, metavar="FILE.jsonl", help="the rows it was trained on")
    reference.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="where DIR/reference is made")
    reference.add_argument(
        "--embedder", default="static", help="static (the default) or minilm: finer, 100 times slower"
    )
    reference.add_argument("--false-alarm-every", type=float, default=10_000, metavar="N", help="promise to report on")
    reference.add_argument("--seed", type=int, default=0, help="of the split into references and calibration rows")
    reference.add_argument("--json", action="store_true", help="print the calibration report as JSON")
    reference.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from graduand.gateway.errors import ConfigError
    from graduand.training.data.reference import markdown, prompts_of, write
    from graduand.training.data.rows import read_rows

    if not arguments.adapter.is_dir():
        raise ConfigError(f"--adapter: there is no folder {arguments.adapter}")
    prompts = prompts_of(read_rows(arguments.data))
    path, report = write(
        prompts, arguments.adapter, embedder=arguments.embedder, seed=arguments.seed,
        false_alarm_every=arguments.false_alarm_every,
    )  # fmt: skip
    print(json.dumps({"path": str(path), **report}, indent=2) if arguments.json else f"{path}\n\n{markdown(report)}")
    return 0
